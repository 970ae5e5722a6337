"""The real command as a process of its own: started, watched, signalled and ended by tests and benchmarks.

    server = start_sidekiq_py(tmp_path, redis_url, HANDLERS, "-c", "2", "-q", "low")
    server.wait_for_log("jid=…")      server.signal("TSTP")      server.stop() → exit code

`HANDLERS` is the text of a handlers file. Needs no pytest.
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests.helpers import eventually

BOOT_TIMEOUT = 30.0  # seconds; the machine may be busy
_IDENTITY = re.compile(r"identity (\S+:\d+:[0-9a-f]{12})")


class ServerProcess:
    """A running `sidekiq-py`, or another `program` with a server in it.

    Its stdout and stderr are in `log` together, as an operator sees them.
    """

    def __init__(
        self,
        arguments: list[str],
        log: Path,
        environ: Mapping[str, str],
        cwd: Path,
        *,
        program: Sequence[str] = ("-m", "sidekiq_py"),
    ) -> None:
        self.log_path = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, *program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environ,
                cwd=cwd,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    @property
    def identity(self) -> str:
        """`<hostname>:<pid>:<nonce>`, from the boot summary."""
        found = _IDENTITY.findall(self.log)
        assert found, f"not booted yet:\n{self.log}"
        return str(found[-1])

    @property
    def worker_pid(self) -> int:
        """The process that runs the jobs: `pid` itself, or a child of it when there is a supervisor."""
        return int(self.identity.rsplit(":", 2)[1])

    @property
    def worker_pids(self) -> list[int]:
        """All its children, as the system sees them."""
        try:
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        except OSError:
            return []
        return [int(pid) for pid in children.split()]

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait_until_booted(self, timeout: float = BOOT_TIMEOUT) -> ServerProcess:
        def booted() -> bool:
            if not self.is_running:
                raise RuntimeError(f"ended with {self._process.returncode}:\n{self.log}")
            return bool(_IDENTITY.search(self.log))

        eventually(booted, timeout)
        return self

    def wait_for_log(self, text: str, timeout: float = BOOT_TIMEOUT) -> str:
        """Until the text stands in the log; returns the whole log."""

        def said() -> str:
            assert text in self.log, f"{text!r} is not in the log:\n{self.log}"
            return self.log

        return eventually(said, timeout)

    def signal(self, name: str) -> None:
        """`"TERM"`, `"TSTP"`…"""
        self._process.send_signal(getattr(signal, f"SIG{name}"))

    def wait(self, timeout: float = BOOT_TIMEOUT) -> int:
        """Until it has ended; returns the exit code, negative for a signal."""
        return self._process.wait(timeout)

    def stop(self, timeout: float = BOOT_TIMEOUT) -> int:
        """TERM, and the exit code."""
        if self.is_running:
            self.signal("TERM")
        return self.wait(timeout)

    def kill(self) -> None:
        """`kill -9` for it and its workers; returns when Redis can serve none of them any more."""
        if self.is_running:
            self.signal("STOP")  # it may be about to start another worker
        with ExitStack() as watched:
            workers = [watched.enter_context(process_handle(pid)) for pid in self.worker_pids]
            for pid in (self.pid, *self.worker_pids):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()
            for worker in workers:  # its first thread may be gone while others still hold the sockets
                select.select([worker], [], [], BOOT_TIMEOUT)


@contextmanager
def process_handle(pid: int) -> Iterator[int]:
    """A file descriptor that becomes readable when the last thread of the process has ended."""
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def is_alive(pid: int) -> bool:
    """Whether its first thread runs; the last one may be ending for some milliseconds more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def run_sidekiq_py(
    directory: Path,
    redis_url: str,
    handlers: str,
    *arguments: str,
    environ: Mapping[str, str] | None = None,
    name: str = "server",
) -> ServerProcess:
    """Start the command on a handlers file written to `directory`; returns at once. Kill what you start."""
    file = directory / f"{name}_handlers.py"
    file.write_text(textwrap.dedent(handlers))
    return ServerProcess(
        ["-r", str(file), *arguments],
        directory / f"{name}.log",
        environ_for(redis_url, environ),
        directory,
    )


def run_program(
    directory: Path,
    redis_url: str,
    text: str,
    *arguments: str,
    environ: Mapping[str, str] | None = None,
    name: str = "program",
) -> ServerProcess:
    """Start a program that embeds a server; returns at once. Kill what you start."""
    file = directory / f"{name}.py"
    file.write_text(textwrap.dedent(text))
    log = directory / f"{name}.log"
    return ServerProcess([*arguments], log, environ_for(redis_url, environ), directory, program=[str(file)])


def environ_for(redis_url: str, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a server on this Redis, with nothing of ours from outside."""
    inherited = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("REDIS_", "SIDEKIQ_", "RAILS_"))
    }
    return {**inherited, "PYTHONUNBUFFERED": "1", "REDIS_URL": redis_url, **(more or {})}


def start_sidekiq_py(
    directory: Path,
    redis_url: str,
    handlers: str,
    *arguments: str,
    environ: Mapping[str, str] | None = None,
    name: str = "server",
) -> ServerProcess:
    """`run_sidekiq_py`, and wait until it takes jobs."""
    server = run_sidekiq_py(directory, redis_url, handlers, *arguments, environ=environ, name=name)
    try:
        return server.wait_until_booted()
    except BaseException:
        server.kill()
        raise


@contextmanager
def server_starter(directory: Path, redis_url: str) -> Iterator[Callable[..., ServerProcess]]:
    """`start(HANDLERS, "-c", "2", environ={…}, name="other", boot=True)` inside the block.

    Several may run; `redis_url=` points one elsewhere. All are killed when the block ends.
    """
    started: list[ServerProcess] = []
    default_url = redis_url

    def start(
        handlers: str, *arguments: str, redis_url: str = default_url, boot: bool = True, **more: object
    ) -> ServerProcess:
        name = str(more.pop("name", f"server{len(started)}"))
        server = run_sidekiq_py(directory, redis_url, handlers, *arguments, name=name, **more)
        started.append(server)
        return server.wait_until_booted() if boot else server

    try:
        yield start
    finally:
        for server in started:
            server.kill()
