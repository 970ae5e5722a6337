"""A way into asyncio for handlers: the jobs of a server share a thread, which can run only one event loop."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Coroutine
from contextvars import copy_context
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

from sidekiq_py.child_exit import leave
from sidekiq_py.interrupt import is_interruptible, told_by

T = TypeVar("T")

MOST_THREADS: Final = 10_000  # made when needed: one for each job that is in here
_pools: Final[WeakKeyDictionary[Any, Any]] = WeakKeyDictionary()  # gevent's hub → its pool


def run_async(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, like asyncio.run: returns what it returns, raises what it raises.

    In a server it gets a native thread and an event loop of its own, and other jobs go on meanwhile.
    `current_job()` works in there. When the job is interrupted, by its timeout or a shutdown, the coroutine
    is cancelled. What forks doesn't work there, gevent is in the way: for asyncio's subprocesses use
    `subprocess`; `os.fork` and multiprocessing's method "fork" make the child and then raise here, so call
    them in the handler itself. Such a child ends with its coroutine.
    """
    if not asyncio.iscoroutine(coroutine):
        raise TypeError(f"run_async takes a coroutine, as in run_async(fetch(url)), got {coroutine!r}")
    if _under_gevent():
        result: T = _Run(coroutine).result()
    elif is_interruptible():  # a job in a thread of an embedded server
        result = _Run(coroutine).result_here()
    else:
        result = asyncio.run(coroutine)
    return result


class _Run:
    """One coroutine in its thread. The greenlet that waits for it is on the other side."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._is_cancelled = False

    def result(self) -> Any:
        outcome = _pool().spawn(copy_context().run, self._in_thread)
        try:
            value, error = outcome.get()
        except BaseException:
            self._cancel()
            raise
        if error is not None:
            raise error
        return value

    def result_here(self) -> Any:
        """In a thread that may run an event loop itself."""
        with told_by(self._cancel) as wish:
            value, error = self._in_thread()
        if isinstance(error, asyncio.CancelledError) and (kind := wish()):
            raise kind from error
        if error is not None:
            raise error
        return value

    def _in_thread(self) -> tuple[Any, BaseException | None]:
        try:
            return asyncio.run(self._cancellable()), None
        except BaseException as error:  # as a value: gevent prints what leaves a thread of its pool
            return None, error

    async def _cancellable(self) -> Any:
        self._task, self._loop = asyncio.current_task(), asyncio.get_running_loop()
        if self._is_cancelled:
            self._coroutine.close()
            raise asyncio.CancelledError
        process = os.getpid()
        error: BaseException | None = None
        try:
            return await self._coroutine
        except BaseException as raised:
            error = raised
            raise
        finally:
            if os.getpid() != process:  # before asyncio tidies up: parent and child share its selector
                leave(error)

    def _cancel(self) -> None:
        self._is_cancelled = True
        if self._loop is None or self._task is None:
            return
        try:
            self._loop.call_soon_threadsafe(self._task.cancel)
        except RuntimeError:  # it has ended just now
            return


def _under_gevent() -> bool:
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def _pool() -> Any:
    """Threads beside gevent's own: those are ten, and names are looked up there too."""
    from gevent import get_hub
    from gevent.threadpool import ThreadPool

    hub = get_hub()
    if hub not in _pools:
        _pools[hub] = ThreadPool(MOST_THREADS, hub=hub)
    return _pools[hub]
