"""A forked worker and the line between it and its supervisor: what each side may say, and what each can see.

The line is a socket pair. The supervisor writes signal names, the worker writes news; when either side dies,
the other reads the end of it. Beside it lies the table of running jobs, in shared memory.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from sidekiq_py import streams
from sidekiq_py.config import Config
from sidekiq_py.running_table import RunningTable
from sidekiq_py.stack_dump import StackDump
from sidekiq_py.suspects import Suspect

NEWS_BYTES: Final = 65536
DRAIN: Final = "DRAIN"  # beside the signals' names: take no more jobs, and end when the last one has


class Settings(msgspec.Struct):
    """What the application may have set in code, and the supervisor goes by too."""

    redis: dict[str, Any]
    timeout: float
    heartbeat_ttl: int
    stall_after: float
    max_memory: int | None
    max_jobs: int | None

    @classmethod
    def of(cls, config: Config) -> Settings:
        return cls(
            redis=config.redis.given(),
            timeout=config.timeout,
            heartbeat_ttl=config.heartbeat_ttl,
            stall_after=config.stall_after,
            max_memory=config.max_memory,
            max_jobs=config.max_jobs,
        )

    def put_into(self, config: Config) -> None:
        """Set on the supervisor's config what differs."""
        for name in self.__struct_fields__:
            mine = config.redis.given() if name == "redis" else getattr(config, name)
            if mine != getattr(self, name):
                setattr(config, name, getattr(self, name))


class News(msgspec.Struct, omit_defaults=True):
    """What a worker tells its supervisor."""

    identity: str = ""  # booted under this identity, and claims from these queues
    queues: list[str] = msgspec.field(default_factory=list)
    settings: Settings | None = None
    stops: bool = False  # somebody told it to stop; don't start another in its place
    is_through: bool = False  # with its suspects: each has run, or was somebody else's


class Line:
    """The worker's end."""

    def __init__(
        self, control: socket.socket, table: RunningTable, suspects: Sequence[Suspect], stack: StackDump
    ) -> None:
        self.control = control
        self.table = table
        self.stack = stack
        self.suspects = suspects  # jobs to run one at a time, instead of fetching; empty for a usual worker

    def tell(self, news: News) -> None:
        """Say it to the supervisor, if there still is one."""
        try:
            os.write(self.control.fileno(), msgspec.json.encode(news) + b"\n")
        except OSError:
            return


class ForkedWorker(BaseException):
    """Raised in the new process, through everything that belongs to the supervisor."""

    def __init__(self, line: Line) -> None:
        super().__init__("this is the worker now")
        self.line = line


class CannotFork(Exception):
    """The system lets no further process be started now."""


@dataclass(frozen=True)
class Death:
    """How a worker ended."""

    code: int  # exit code, or the signal's number below 0
    peak_memory: int  # bytes
    after: float  # seconds since it was started
    at: float  # monotonic seconds

    @classmethod
    def of(cls, worker: WorkerProcess, status: int, peak_kilobytes: int, now: float) -> Death:
        """From what os.wait4 says."""
        code = os.waitstatus_to_exitcode(status)
        return cls(code, peak_memory=peak_kilobytes * 1024, after=now - worker.started_at, at=now)

    @property
    def exit_code(self) -> int:
        """For the supervisor to end with: a signal counts as a crash."""
        return self.code if self.code >= 0 else 1

    @property
    def story(self) -> str:
        """`was killed by SIGKILL after 3.2 s, peak memory 1.9 GB`."""
        return f"{self._how} after {self.after:.1f} s, peak memory {_readable(self.peak_memory)}"

    def story_of_job(self, started_at: float) -> str:
        """The same for a job that ran when it happened: `its process was killed by SIGKILL, 1.2 s after…`."""
        return (
            f"its process {self._how} when the job had run for {self.at - started_at:.1f} s, "
            f"peak memory {_readable(self.peak_memory)}"
        )

    @property
    def _how(self) -> str:
        return f"was killed by {signal_name(-self.code)}" if self.code < 0 else f"ended with code {self.code}"


@dataclass
class WorkerProcess:
    """The supervisor's end."""

    number: int  # its place among the workers, from 1; 0 for one that runs suspects
    pid: int
    line: socket.socket
    table: RunningTable
    stack: StackDump
    suspects: Sequence[Suspect] = ()
    started_at: float = field(default_factory=time.monotonic)
    news: News = field(default_factory=News)
    idle_memory: int = 0  # bytes that it held when it had just booted
    drains: bool = False  # told to end when its jobs have
    is_silent: bool = False  # it has hung up
    _unread: bytes = b""

    @property
    def has_booted(self) -> bool:
        return bool(self.news.identity)

    @property
    def may_end(self) -> bool:
        """Somebody wanted it to, or its work was finite."""
        return self.drains or self.news.stops or self.number == 0

    @property
    def is_frozen(self) -> bool:
        """Stopped by a signal or a debugger: its heart must be allowed to stop."""
        return self._state in ("T", "t")

    @property
    def is_computing(self) -> bool:
        """Its main thread is on a CPU or waits for one, and is in no system call that a signal could end."""
        return self._state == "R"

    @property
    def _state(self) -> str:
        """Of the main thread, as the system names it; empty where it doesn't say."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, IndexError):
            return ""

    @property
    def memory(self) -> int:
        """Bytes in RAM; 0 where the system doesn't say."""
        try:
            return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError, IndexError):
            return 0

    def tell(self, word: str) -> None:
        """A signal's name, or DRAIN. A worker that is gone doesn't hear it."""
        self.drains = self.drains or word == DRAIN
        try:
            self.line.send(f"{word}\n".encode())
        except OSError:
            return

    def hear(self) -> None:
        """Read its news, if there are any."""
        try:
            received = self.line.recv(NEWS_BYTES)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        self.is_silent = not received
        *lines, self._unread = (self._unread + received).split(b"\n")
        for each in lines:
            news, known = msgspec.json.decode(each, type=News), self.news
            self.news = msgspec.structs.replace(
                news if news.identity else known,
                stops=news.stops or known.stops,  # it may be told to stop before it has booted
                is_through=news.is_through or known.is_through,
            )
        if self.has_booted and not self.idle_memory:
            self.idle_memory = self.memory

    def terminate(self) -> None:
        """TERM, which ends at once whoever doesn't hear signals yet."""
        os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """`kill -9`. It isn't reaped yet, so the pid is still its own."""
        os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        self.line.close()
        self.table.close()
        self.stack.close()


def fork_worker(
    number: int, *, suspects: Sequence[Suspect] = (), siblings: Iterable[WorkerProcess] = ()
) -> WorkerProcess:
    """Start a worker. Returns in the supervisor; the new process gets ForkedWorker raised.

    Raises CannotFork when the system has no process, memory or file to spare; nothing is left of it then.
    """
    with ExitStack() as undo:
        try:
            undo.callback((table := RunningTable()).close)
            undo.callback((stack := StackDump()).close)
            ours, theirs = socket.socketpair()
            undo.callback(ours.close)
            undo.callback(theirs.close)
            ours.setblocking(False)
            streams.flush()
            pid = os.fork()
        except OSError as error:
            raise CannotFork(error) from error
        undo.pop_all()
    if pid == 0:
        ours.close()
        for sibling in siblings:  # else a sibling would not read the end of the line when the supervisor dies
            sibling.close()
        raise ForkedWorker(Line(theirs, table, suspects, stack))
    theirs.close()
    return WorkerProcess(number, pid, ours, table, stack, suspects)


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _readable(count: int) -> str:
    return f"{count / 2**30:.1f} GB" if count >= 2**30 else f"{count / 2**20:.0f} MB"
