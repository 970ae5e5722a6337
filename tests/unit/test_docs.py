"""What the documents say of the code is so: links, options, variables, modules, keys, commands, files."""

from __future__ import annotations

import importlib.util
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from docs import options
from sidekiq_py import keys, sidekiq_yml
from sidekiq_py.cli import commands as sub_commands
from sidekiq_py.cli import server
from sidekiq_py.config import EVENTS
from sidekiq_py.config_options import OPTIONS
from sidekiq_py.config_sources import resolve
from sidekiq_py.exit_code import ExitCode
from sidekiq_py.file_options import read_mapping
from tests.documents import PAGES, ROOT, anchors, blocks, commands, links

PACKAGE = ROOT / "sidekiq_py"
DOCS = ROOT / "docs"
FLAGS = {flag: option.name for option in OPTIONS for flag in option.flags}
OTHER_PROGRAMS = {
    "bundle",
    "docker",
    "pip",
    "python",
    "python3",
    "redis-server",
    "redis-cli",
    ".",
    "cd",
    "git",
}
OTHER_PROGRAMS |= {"sudo", "systemctl", "cp", "ruby"}


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path):
    for target, anchor in links(page):
        destination = (page.parent / target).resolve() if target else page
        assert destination.exists(), target
        assert not anchor or anchor in anchors(destination), f"{target}{anchor}"


def test_the_option_tables_are_those_of_the_command_line():
    page = options.PAGE.read_text(encoding="utf-8")

    assert options.with_tables(page) == page, "run: python docs/options.py"


def test_every_variable_that_is_read_is_documented():
    read = set()
    for path in PACKAGE.glob("*.py"):
        read |= set(re.findall(r'environ(?:\.get\(|\[)"([A-Z_]+)"', path.read_text(encoding="utf-8")))
    page = text_of("docs/configuration.md")

    assert read
    assert [name for name in read if f"`{name}`" not in page] == []


def test_every_event_and_exit_code_is_documented():
    page = text_of("docs/configuration.md")

    assert [event for event in EVENTS if f"`{event}`" not in page] == []
    assert [code for code in ExitCode if f"\n| {code:d} | " not in page] == []


def test_the_readme_flags_mean_what_the_command_line_says():
    table = text_of("README.md").partition("## Flags used most")[2].partition("\n## ")[0]
    flags = re.findall(r"^\| `(--?[\w-]+)", table, re.MULTILINE)

    assert len(flags) > 5
    assert [flag for flag in flags if flag not in FLAGS] == []


@pytest.mark.parametrize(("page", "command"), commands())
def test_every_command_is_one_that_exists(page: str, command: str):
    words = [word for word in shlex.split(command) if not re.fullmatch(r"[A-Z_]+=.*", word)]
    program, *arguments = words
    if program == "make":
        assert re.search(rf"^{arguments[0]}:", text_of("Makefile"), re.MULTILINE)
    elif program == "sidekiq-py" and arguments[:1] and not arguments[0].startswith("-"):
        name, *rest = arguments
        sub_commands.commands[name].make_context(name, rest)
    elif program == "sidekiq-py":
        given = server.make_context("sidekiq-py", arguments).params
        given.pop("config", None)  # shown files needn't exist
        resolve({name: value for name, value in given.items() if value not in (None, ())}, {})
    else:
        assert program in OTHER_PROGRAMS, command


@pytest.mark.parametrize("block", blocks("yaml"), ids=lambda block: block.file or block.page)
def test_every_config_file_shown_is_read_without_a_complaint(block, tmp_path: Path):
    if not (block.file or "").endswith("sidekiq.yml"):
        pytest.skip("not a config file of ours")
    path = tmp_path / "sidekiq.yml"
    path.write_text(block.text)

    read = sidekiq_yml.load(path, "production", {})

    assert read.notices == []


@pytest.mark.parametrize("block", blocks("toml"), ids=lambda block: block.page)
def test_every_toml_table_shown_is_read_without_a_complaint(block):
    table = tomllib.loads(block.text)["tool"]["sidekiq"]

    assert read_mapping(table, "pyproject.toml", "production").notices == []


def test_every_module_that_is_named_is_there():
    page = text_of("docs/internals.md")
    named = set(re.findall(r"`([a-z_]+(?:/[a-z_]+)*)(?:\.py)?`", page.partition("## The modules")[2]))
    scripts = set(re.findall(r"`scripts/([a-z_]+)\.lua`", page))

    for name in named:
        found = PACKAGE / name
        assert found.is_dir() or found.with_suffix(".py").is_file(), name
    assert [name for name in scripts if not (PACKAGE / "scripts" / f"{name}.lua").is_file()] == []


def test_every_key_in_redis_is_documented():
    page = text_of("docs/protocol.md")
    names = [value for name, value in vars(keys).items() if name.isupper() and isinstance(value, str)]
    functions = [
        name for name, value in vars(keys).items() if callable(value) and value.__module__ == keys.__name__
    ]

    assert [name for name in names if f"`{name}" not in page] == []
    assert [name for name in functions if f"`keys.{name}`" not in page] == []
    assert all(hasattr(keys, name) for name in re.findall(r"`keys\.(\w+)`", page))


def test_the_changelog_knows_this_version():
    assert importlib.util.find_spec("sidekiq_py")
    assert re.search(r"^## \[?(Unreleased|\d+\.\d+\.\d+)", text_of("CHANGELOG.md"), re.MULTILINE)
