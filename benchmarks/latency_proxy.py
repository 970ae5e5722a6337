"""A TCP proxy that stands between a server and its Redis and makes the way longer.

    python -m benchmarks.latency_proxy --to PORT --milliseconds 0.5     each way; prints its own port

Bytes keep their order and are passed on when their time has come, all that is due at once. There is one queue
for everything, because every byte waits equally long. It is a process of its own, so that its work and that
of the server don't share an interpreter; scenarios look at the CPU it used, to see that it was no bottleneck.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from benchmarks.processes import cpu_seconds

CHUNK = 256 * 1024  # bytes; a whole pipeline in one read
_SET_TIMER_SLACK = 29  # PR_SET_TIMERSLACK: waits end within a microsecond, not within fifty


Pair: TypeAlias = tuple[socket.socket, socket.socket]  # where bytes come from, where they go


class Proxy:
    """One thread. `select` on the poller's own descriptor gives it waits finer than a millisecond."""

    def __init__(self, to: int, delay: float) -> None:
        self._to = to
        self._delay = delay
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
        self._poller = select.epoll()
        self._poller.register(self._listener, select.EPOLLIN)
        self._pairs: dict[int, Pair] = {}  # by the descriptor of its first
        self._travelling: deque[tuple[float, Pair, bytes]] = deque()  # due at, from and to, what
        self.port = self._listener.getsockname()[1]

    def serve(self) -> None:
        while True:
            self._wait()
            for descriptor, _ in self._poller.poll(0):
                if descriptor == self._listener.fileno():
                    self._accept()
                else:
                    self._read(descriptor)
            self._deliver()

    def _wait(self) -> None:
        timeout = max(0.0, self._travelling[0][0] - time.perf_counter()) if self._travelling else None
        select.select([self._poller], [], [], timeout)

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        far = socket.create_connection(("127.0.0.1", self._to))
        for pair in ((near, far), (far, near)):
            pair[0].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._pairs[pair[0].fileno()] = pair
            self._poller.register(pair[0], select.EPOLLIN)

    def _read(self, descriptor: int) -> None:
        pair = self._pairs[descriptor]
        try:
            data = pair[0].recv(CHUNK)
        except OSError:
            data = b""
        if not data:  # an end travels as long as bytes do
            self._forget(pair[0])
        self._travelling.append((time.perf_counter() + self._delay, pair, data))

    def _deliver(self) -> None:
        now = time.perf_counter()
        while self._travelling and self._travelling[0][0] <= now:
            _, pair, data = self._travelling.popleft()
            try:
                if data:
                    pair[1].sendall(data)
                    continue
            except OSError:
                pass  # the receiver is gone
            for each in pair:
                self._forget(each)
                each.close()

    def _forget(self, end: socket.socket) -> None:
        if self._pairs.pop(end.fileno(), None):
            self._poller.unregister(end)


class ProxyProcess:
    """The proxy, running."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self._process = process
        self.url = f"redis://127.0.0.1:{port}"

    def cpu(self) -> float:
        """Seconds it has used so far."""
        return cpu_seconds(self._process.pid)


@contextlib.contextmanager
def proxy(to: int, milliseconds: float) -> Iterator[ProxyProcess]:
    """A proxy to that port of this machine, so many milliseconds longer each way, until the block ends."""
    command = [sys.executable, "-m", __spec__.name, "--to", str(to), "--milliseconds", str(milliseconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield ProxyProcess(process, int(process.stdout.readline()))
        finally:
            process.kill()


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=int, required=True, help="Redis's port on 127.0.0.1")
    parser.add_argument("--milliseconds", type=float, default=0.5, help="each way")
    told = parser.parse_args(arguments)
    with contextlib.suppress(OSError, AttributeError):  # not on Linux: waits are a little longer
        ctypes.CDLL(None).prctl(_SET_TIMER_SLACK, 1000, 0, 0, 0)
    server = Proxy(told.to, told.milliseconds / 1000)
    print(server.port, flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
