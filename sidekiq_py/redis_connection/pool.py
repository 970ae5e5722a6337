"""A few connections for many borrowers: threads, greenlets, and both in one process."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from sidekiq_py.errors import PoolExhausted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sidekiq_py.redis_connection.connection import RedisConnection
    from sidekiq_py.redis_connection.options import RedisOptions
    from sidekiq_py.redis_connection.verbs import Arg, Command, Reply
    from sidekiq_py.scripts import Script


class RedisPool:
    """Up to `size` connections, made when needed; the one used last is lent first.

    A borrower waits up to `timeout` seconds for a free one, then gets PoolExhausted. After a fork the
    child starts with an empty pool. Under gevent each OS thread has `size` connections of its own.

    Ruby twin: ConnectionPool.
    """

    def __init__(self, options: RedisOptions, *, size: int = 10, timeout: float = 5.0) -> None:
        self.options = options
        self.size = size
        self.timeout = timeout
        self._pid = 0
        self._place: Any = None
        _import_what_connecting_needs()

    @contextmanager
    def connection(self) -> Iterator[RedisConnection]:
        """Borrow a connection for a while. It comes back whatever happens, disconnected if a call failed."""
        shelf = self._shelf()
        if not shelf.permits.acquire(timeout=self.timeout):
            raise PoolExhausted(self._exhausted())
        try:
            connection = shelf.take() or self._connect()
            try:
                yield connection
            finally:
                shelf.take_back(connection)
        finally:
            shelf.permits.release()

    def call(self, *command: Arg) -> Reply:
        """One command, one reply."""
        with self.connection() as connection:
            return connection.call(*command)

    def pipeline(self, commands: Sequence[Command]) -> list[Reply]:
        """Many commands in one round trip; an error reply stands in its slot as an exception."""
        with self.connection() as connection:
            return connection.pipeline(commands)

    def run_script(self, script: Script, keys: Sequence[str], args: Sequence[Arg] = ()) -> Reply:
        """EVALSHA; EVAL when the server doesn't know the script."""
        with self.connection() as connection:
            return connection.run_script(script, keys, args)

    def close(self) -> None:
        """Close the idle connections now and the lent ones as they come back. The pool may be used again."""
        if self._pid == os.getpid():
            self._shelf().close()
        self._pid = 0

    def _shelf(self) -> _Shelf:
        if self._pid != os.getpid():
            self._place, self._pid = _place_for_shelf(), os.getpid()
        found: _Shelf | None = vars(self._place).get("shelf")
        # setdefault is one step: two threads that come first together get the same shelf.
        return found or vars(self._place).setdefault("shelf", _Shelf(self._permits()))

    def _connect(self) -> RedisConnection:
        return self.options.connect()

    def _permits(self) -> Any:
        """A semaphore on which borrowers wait."""
        if _under_gevent():
            from gevent.lock import Semaphore  # only where gevent is at work already

            # Python's own loses a wake-up when the greenlet that was to get it is killed at that moment.
            return Semaphore(self.size)
        return threading.BoundedSemaphore(self.size)

    def _exhausted(self) -> str:
        return (
            f"all {self.size} Redis connections of the pool were busy for {self.timeout:g} s: "
            "make the pool larger, or hold connections for less long"
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.size} to {self.options.masked_url}>"


class _Shelf:
    """The connections of one process, or under gevent of one OS thread."""

    def __init__(self, permits: Any) -> None:
        self.permits = permits
        self.idle: list[RedisConnection] = []
        self.closed = False

    def take(self) -> RedisConnection | None:
        try:
            return self.idle.pop()
        except IndexError:  # asked this way because another thread may take the last one any time
            return None

    def take_back(self, connection: RedisConnection) -> None:
        if self.closed:
            connection.disconnect()
        else:
            self.idle.append(connection)

    def close(self) -> None:
        self.closed = True
        while self.idle:
            self.idle.pop().disconnect()


def _under_gevent() -> bool:
    """Asked without importing gevent, which clients in threads or without concurrency don't need."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("socket"))


def _import_what_connecting_needs() -> None:
    """Now, while one thread is here: the first calls may come from many at once.

    Under gevent up to 26.7 a thread that waits for a module which another one imports may wait for ever.
    """
    import sidekiq_py.redis_connection.connection  # noqa: F401

    if _under_gevent():
        _ = sys.modules["gevent"].config.resolver  # imported at the first look-up of a name otherwise


def _place_for_shelf() -> Any:
    """Where the shelf is kept: one for all threads, unless gevent ties sockets to their threads."""
    if _under_gevent():
        return sys.modules["gevent.monkey"].get_original("threading", "local")()
    return SimpleNamespace()
