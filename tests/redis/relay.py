"""Stands between a part and a real server, and can lose the answer to a command that the server has done."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hiredis

from tests.redis.canned_server import canned_server


class Relay:
    """Passes commands on, one at a time. The answer to the next `lose` is never given: the line breaks."""

    def __init__(self, upstream: Path) -> None:
        self.lose: str | None = None
        self._lock = threading.Lock()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(upstream))

    def __call__(self, command: list[bytes]) -> bytes:
        with self._lock:
            self._socket.sendall(hiredis.pack_command(tuple(command)))  # type: ignore[arg-type]
            answer = self._whole_answer()
        if command[0].decode() == self.lose:
            self.lose = None
            raise ConnectionResetError
        return answer

    def _whole_answer(self) -> bytes:
        reader, answer = hiredis.Reader(), b""
        while reader.gets() is False:
            data = self._socket.recv(65536)
            reader.feed(data)
            answer += data
        return answer

    def close(self) -> None:
        self._socket.close()


@contextmanager
def relay(directory: Path, upstream: Path) -> Iterator[tuple[Relay, str]]:
    """A relay while the block runs, and its URL."""
    between = Relay(upstream)
    try:
        with canned_server(directory / "relay.sock", between) as url:
            yield between, url
    finally:
        between.close()
