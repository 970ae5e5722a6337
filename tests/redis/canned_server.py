"""A server that answers what the test says: for replies that no real server gives on demand."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import hiredis

Answer = Callable[[list[bytes]], bytes]


@contextmanager
def canned_server(path: Path, answer: Answer) -> Iterator[str]:
    """Serve on a unix socket while the block runs; yields its URL. `answer` turns a command into raw RESP."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=_accept, args=(listener, answer), daemon=True)
        thread.start()
        yield f"unix://{path}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def _accept(listener: socket.socket, answer: Answer) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:  # the block has ended
            return
        threading.Thread(target=_serve, args=(client, answer), daemon=True).start()


def _serve(client: socket.socket, answer: Answer) -> None:
    reader = hiredis.Reader()
    with client, contextlib.suppress(OSError):  # the client may hang up while we answer
        while data := client.recv(65536):
            reader.feed(data)
            while command := reader.gets():
                client.sendall(answer(command))
