"""Raises an exception in a native thread that runs a job, as gevent does in a greenlet.

The thread hears of it between two steps of Python code: a call into C, or one that waits in the system, is
heard out first. Ruby twin: Thread#raise.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from sidekiq_py.errors import JobTimeout

_raise_in: Final = ctypes.pythonapi.PyThreadState_SetAsyncExc


class Interruptible:
    """One call of a function that another thread may interrupt. Outside of it nothing is ever raised."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self._function = function
        self._arguments = arguments
        self._lock = threading.Lock()
        self._thread: int | None = None
        self._wish: type[BaseException] | None = None

    def __call__(self) -> tuple[Any, BaseException | None]:
        """Run here; what the function returned and None, or None and what it or `interrupt` raised."""
        value: Any = None
        error: BaseException | None = None
        try:
            self._begin()
            value = self._function(*self._arguments)
        except BaseException as raised:
            error = raised
        while self._thread is not None:
            try:
                self._end()
            except BaseException as late:  # it came in the last moment
                error = late
        return (value, None) if error is None else (None, error)

    def interrupt(self, kind: type[BaseException]) -> None:
        """Raise this in the call, now or when it begins; nothing once it has ended. From another thread.

        Once: a second one could strike where the first has been caught.
        """
        with self._lock:
            if self._wish is not None:
                return
            self._wish = kind
            if self._thread is not None:
                _raise_in(ctypes.c_ulong(self._thread), ctypes.py_object(kind))

    def _begin(self) -> None:
        with self._lock:
            self._thread = threading.get_ident()
            if self._wish is not None:
                raise self._wish

    def _end(self) -> None:
        with self._lock:
            _raise_in(ctypes.c_ulong(threading.get_ident()), None)  # what was not heard in time is not said
            self._thread = None


@contextmanager
def _timer(seconds: float, action: Callable[[], object]) -> Iterator[None]:
    timer = threading.Timer(seconds, action)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def within(seconds: float, timeout: JobTimeout, function: Callable[..., Any], *arguments: object) -> Any:
    """What the function returns. After so many seconds `timeout` is raised in it."""
    call = Interruptible(function, *arguments)
    with _timer(seconds, lambda: call.interrupt(JobTimeout)):
        value, error = call()
    if isinstance(error, JobTimeout) and not error.args:
        error.args = timeout.args  # a thread is told a class alone
    if error is not None:
        raise error
    return value
