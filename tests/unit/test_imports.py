"""What is loaded when, and what is left as it was."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.documents import ROOT
from tests.helpers import run_python

SLOW = ("redis", "gevent", "asyncio")
ALIVE = {"pickle", "marshal", "shelve", "eval", "exec", "compile", "__import__", "import_module", "runpy"}
MAY_IMPORT = {"boot.py", "__init__.py"}  # what the operator named with -r; our own lazy names


@pytest.mark.parametrize(
    "module", ["config", "config_sources", "cli", "api", "testing", "redis_connection", "config_report"]
)
def test_what_does_not_talk_to_redis_does_not_load_redis_py(module: str) -> None:
    loaded = run_python(
        f"""
        import sys
        import sidekiq_py.{module}
        print([name for name in {SLOW} if name in sys.modules])
        """
    )

    assert loaded == "[]\n"


def test_patching_leaves_the_list_of_installed_packages_as_it_was() -> None:
    said = run_python(
        """
        import socket
        from importlib import metadata

        before = metadata.entry_points
        from sidekiq_py.patch import patch
        patch()
        print(metadata.entry_points is before, socket.socket.__module__)
        """
    )

    assert said == "True gevent._socket3\n"


def test_a_pool_brings_what_connecting_needs_before_threads_can_wait_for_each_other_s_imports() -> None:
    said = run_python(
        """
        from sidekiq_py.patch import patch
        patch()
        import sys
        from sidekiq_py.redis_connection import RedisOptions, RedisPool

        wanted = {"redis", "gevent.resolver.thread"}
        before = wanted & sys.modules.keys()
        RedisPool(RedisOptions())
        print(before, wanted <= sys.modules.keys())
        """
    )

    assert said == "set() True\n"


@pytest.mark.row("K11")
@pytest.mark.parametrize(
    "file", sorted((ROOT / "sidekiq_py").rglob("*.py")), ids=lambda file: str(file.relative_to(ROOT))
)
def test_nothing_can_turn_bytes_into_code(file: Path) -> None:
    used = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            used |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            used |= {str(node.module).partition(".")[0], *(alias.name for alias in node.names)}
        elif isinstance(node, ast.Call):
            used.add(ast.unparse(node.func).removeprefix("importlib."))

    allowed = {"import_module"} if file.name in MAY_IMPORT else set()
    assert used & ALIVE <= allowed
