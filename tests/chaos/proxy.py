"""Stands between a server and its Redis, and does what networks do: delays, cuts, swallows, starves.

Faults are set and taken away while traffic flows. A cut hits one command that a test names, either before
Redis has seen it (`cut_request`) or after Redis has done it and before anybody learns (`cut_reply`).
"""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import hiredis

from sidekiq_py.scripts import load

Matches = Callable[[list[bytes]], bool]
PATIENCE = 0.01  # seconds between two looks whether a black hole has closed


def command(name: str) -> Matches:
    """Any command of that name."""
    return lambda words: words[0].upper() == name.encode()


def script(name: str) -> Matches:
    """A script of ours, by its hash or in full."""
    wanted = load(name)
    spellings = (wanted.sha.encode(), wanted.text.encode())
    return lambda words: words[0].upper() in {b"EVALSHA", b"EVAL"} and words[1] in spellings


@dataclass
class Cut:
    """One hang-up to come. `holding` is what the answer must hold: a fetch of nothing doesn't count."""

    matches: Matches
    before: bool
    holding: bytes = b""
    left: int = 1
    done: threading.Event = field(default_factory=threading.Event)

    def hit(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.done.set()


class Proxy:
    """Serves on a free port of 127.0.0.1 in threads of its own. All faults may change at any time."""

    def __init__(self, upstream: Path) -> None:
        self._upstream = upstream
        self.latency = self.jitter = 0.0  # seconds that each answer waits, give or take
        self.bandwidth = 0.0  # bytes a second in each direction; 0 for no limit
        self.piece = 65536  # bytes at once; 1 makes answers drip
        self.idle_cut: float | None = None  # seconds of silence after which a connection is cut
        self.is_black_hole = False  # nothing arrives on either side, and nobody hangs up
        self.opened = self.requests = 0  # connections so far, and packets from clients
        self._cuts: list[Cut] = []
        self._lines: set[Line] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def open_lines(self) -> int:
        return len(self._lines)

    def cut_reply(self, matches: Matches, *, holding: bytes = b"", times: int = 1) -> Cut:
        """Let Redis do the command, then hang up instead of giving its answer."""
        return self._plan(Cut(matches, before=False, holding=holding, left=times))

    def cut_request(self, matches: Matches, *, times: int = 1) -> Cut:
        """Hang up when the command comes; Redis never sees it."""
        return self._plan(Cut(matches, before=True, left=times))

    def cut_all(self) -> None:
        for line in list(self._lines):
            line.hang_up()

    def forget_all(self) -> None:
        """Every connection of now is half open: the other side is gone and nobody says so. New ones work."""
        for line in list(self._lines):
            line.is_forgotten = True

    def move_to(self, upstream: Path) -> None:
        """The address now belongs to another Redis, as after a failover."""
        self._upstream = upstream
        self.cut_all()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.is_black_hole = False
        self.cut_all()

    # -- for lines -------------------------------------------------------------------------------------

    def planned(self, words: list[list[bytes]], *, before: bool) -> Cut | None:
        """The cut that these commands of one packet call for."""
        for cut in self._cuts:
            if cut.left > 0 and cut.before == before and any(cut.matches(each) for each in words):
                return cut
        return None

    def carry(self, data: bytes, to: socket.socket) -> None:
        """Pass bytes on, as well as the network does just now."""
        for start in range(0, len(data), self.piece):
            while self.is_black_hole:
                time.sleep(PATIENCE)
            part = data[start : start + self.piece]
            if self.bandwidth:
                time.sleep(len(part) / self.bandwidth)
            to.sendall(part)

    def delay(self) -> None:
        if self.latency:
            time.sleep(max(0.0, random.uniform(self.latency - self.jitter, self.latency + self.jitter)))

    def ended(self, line: Line) -> None:
        self._lines.discard(line)

    def _plan(self, cut: Cut) -> Cut:
        self._cuts.append(cut)
        return cut

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            try:
                server = socket.socket(socket.AF_UNIX)
                server.connect(str(self._upstream))
            except OSError:  # Redis is away
                server.close()
                client.close()
                continue
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.opened += 1
            line = Line(self, client, server)
            self._lines.add(line)
            line.start()


class Line:
    """One connection: a thread for what is asked and one for what is answered."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._cut: Cut | None = None
        self._used_at = time.monotonic()
        self._ends = 0
        self._lock = threading.Lock()
        self.is_forgotten = False

    def start(self) -> None:
        for pump in (self._requests, self._replies):
            threading.Thread(target=self._guarded, args=(pump,), daemon=True).start()

    def hang_up(self) -> None:
        for each in (self._client, self._server):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _guarded(self, pump: Callable[[], None]) -> None:
        with contextlib.suppress(OSError):
            pump()
        self.hang_up()
        with self._lock:
            self._ends += 1
            is_last = self._ends == 2
        if is_last:
            self._client.close()
            self._server.close()
            self._proxy.ended(self)

    def _requests(self) -> None:
        reader = hiredis.Reader()
        while data := self._receive(self._client):
            self._proxy.requests += 1
            reader.feed(data)
            words = list(iter(reader.gets, False))
            if cut := self._proxy.planned(words, before=True):
                cut.hit()
                return
            self._cut = self._proxy.planned(words, before=False) or self._cut
            if not self.is_forgotten:
                self._proxy.carry(data, self._server)

    def _replies(self) -> None:
        while data := self._receive(self._server):
            if self._is_to_be_cut(data):
                return
            self._proxy.delay()
            if not self.is_forgotten:
                self._proxy.carry(data, self._client)

    def _is_to_be_cut(self, answer: bytes) -> bool:
        cut, self._cut = self._cut, None
        if cut is None or cut.left <= 0 or b"-NOSCRIPT" in answer or cut.holding not in answer:
            return False
        cut.hit()
        return True

    def _receive(self, side: socket.socket) -> bytes:
        """What comes next; nothing when the other side, or a firewall that is tired of waiting, hangs up."""
        while True:
            side.settimeout(self._proxy.idle_cut)
            try:
                data = side.recv(65536)
            except TimeoutError:
                silent = time.monotonic() - self._used_at
                if self._proxy.idle_cut is not None and silent >= self._proxy.idle_cut:
                    return b""
                continue
            self._used_at = time.monotonic()
            return data


@contextmanager
def proxy(upstream: Path) -> Iterator[Proxy]:
    """A proxy to the Redis on that unix socket, while the block runs."""
    between = Proxy(upstream)
    try:
        yield between
    finally:
        between.close()
