"""Who is measured: sidekiq-py and real Sidekiq, started as their users start them, behind one small face."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import redis as redis_py

from benchmarks.processes import cpu_seconds, rss, tree
from compat_tests.interpreters import Interpreter
from compat_tests.roots import RubyUnavailable, Say, build_all
from compat_tests.ruby import interpreter_for
from compat_tests.ruby_server import RubyServer, ServerOptions
from sidekiq_py import keys
from tests.helpers import eventually
from tests.server_process import ServerProcess

HERE = Path(__file__).parent
RELEASE = "8.1"
BOOT_TIMEOUT = 60.0  # seconds


@dataclass
class Process:
    """The process of either contender."""

    server: ServerProcess | RubyServer

    @property
    def pid(self) -> int:
        return self.server.pid

    @property
    def worker_pid(self) -> int:
        """The process that runs the jobs: the largest, where a supervisor stands above it."""
        return max(tree(self.pid), key=rss)

    def cpu(self) -> float:
        return cpu_seconds(self.pid)

    def stop(self) -> None:
        self.server.stop()


class Contender(Protocol):
    name: str

    def start(
        self, redis_url: str, concurrency: int, *, queues: tuple[str, ...] = ("default",), processes: int = 1
    ) -> contextlib.AbstractContextManager[Process]:
        """A server whose heart beats; killed at the block's end if it still runs."""
        ...

    def stamps(self) -> Path:
        """Where its `Stamp` jobs tell how late they started, a line each."""
        ...


def environ(redis_url: str) -> dict[str, str]:
    """The surroundings of a server of ours: nothing of the caller's settings leaks in."""
    inherited = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("REDIS_", "SIDEKIQ_", "RAILS_"))
    }
    return {**inherited, "REDIS_URL": redis_url}


@dataclass
class Ours:
    directory: Path
    handlers: Path = HERE / "handlers.py"
    name: str = "sidekiq-py"

    def command(self, concurrency: int, queues: tuple[str, ...], processes: int) -> list[str]:
        named = [word for queue in queues for word in ("-q", queue)]
        many = ["-p", str(processes)] if processes > 1 else []
        return ["-r", str(self.handlers), "-c", str(concurrency), *named, *many, "--log-level", "error"]

    @contextlib.contextmanager
    def start(
        self, redis_url: str, concurrency: int, *, queues: tuple[str, ...] = ("default",), processes: int = 1
    ) -> Iterator[Process]:
        command = self.command(concurrency, queues, processes)
        server = ServerProcess(command, self.directory / "server.log", environ(redis_url), self.directory)
        try:
            wait_for_beats(redis_url, processes, server)
            yield Process(server)
        finally:
            server.kill()

    def stamps(self) -> Path:
        return self.directory / "stamps.log"


def wait_for_beats(redis_url: str, processes: int, server: ServerProcess) -> None:
    """Until that many worker processes have told Redis of themselves."""

    def beating() -> bool:
        if not server.is_running:
            raise RuntimeError(f"the server ended:\n{server.log}")
        return redis.scard(keys.PROCESSES) >= processes

    with redis_py.Redis.from_url(redis_url) as redis:
        eventually(beating, BOOT_TIMEOUT)


@dataclass
class RealSidekiq:
    interpreter: Interpreter
    name: str = f"Sidekiq {RELEASE}"

    def __post_init__(self) -> None:
        self.interpreter.write("jobs.rb", (HERE / "jobs.rb").read_text())

    @contextlib.contextmanager
    def start(
        self, redis_url: str, concurrency: int, *, queues: tuple[str, ...] = ("default",), processes: int = 1
    ) -> Iterator[Process]:
        # A null for the poll interval leaves Sidekiq's own default in force.
        more = {"poll_interval_average": None}
        options = ServerOptions(queues=queues, concurrency=concurrency, more=more)
        server = RubyServer(self.interpreter, redis_url, options)
        try:
            yield Process(server)
        finally:
            server.kill()

    def stamps(self) -> Path:
        return self.interpreter.home / "stamps.log"


@contextlib.contextmanager
def real_sidekiq(say: Say = print) -> Iterator[RealSidekiq | None]:
    """Real Sidekiq as the compatibility tests have it; None, said once, where it can't be had."""
    try:
        interpreter = interpreter_for(RELEASE, build_all([RELEASE], say)[RELEASE])
    except RubyUnavailable as error:
        say(str(error))
        yield None
        return
    try:
        yield RealSidekiq(interpreter)
    finally:
        interpreter.close()
