"""Raises an exception in a native thread that runs a job, as gevent does in a greenlet.

The thread hears of it between two steps of Python code: a call into C, or one that waits in the system, is
heard out first. Never in code that may just have taken a lock and not yet entered the `try` that frees it:
whoever needs that lock would wait for ever. Ruby twin: Thread#raise.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

TAKE_LOCKS: Final = frozenset(
    ["asyncio", "concurrent", "contextlib", "importlib", "logging", "multiprocessing", "queue"]
    + ["subprocess", "threading", "weakref", "sidekiq_py"]
)

_raise_in: Final = ctypes.pythonapi.PyThreadState_SetAsyncExc
_here: Final = threading.local()


class Interruptible:
    """One call of a function that another thread may interrupt. Outside of it nothing is ever raised."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self._function = function
        self._arguments = arguments
        self._lock = threading.Lock()
        self._thread: int | None = None
        self._has_ended = False
        self._is_told = False
        self.wish: type[BaseException] | None = None  # what is or will be raised in it
        self.cancel: Callable[[], object] | None = None  # how else to tell what runs in it now

    def __call__(self) -> tuple[Any, BaseException | None]:
        """Run here; what the function returned and None, or None and what it or `interrupt` raised."""
        value: Any = None
        error: BaseException | None = None
        try:
            self._begin()
            value = self._function(*self._arguments)
        except BaseException as raised:
            error = raised
        while not self._has_ended:
            try:
                self._end()
            except BaseException as late:  # it came in the last moment
                error = late
        return (value, None) if error is None else (None, error)

    def interrupt(self, kind: type[BaseException]) -> bool:
        """Raise this in the call, now or when it begins; nothing once it has ended. From another thread.

        Once, for a second one could strike where the first has been caught. False when the call is at a
        place where that would do harm: ask again a little later.
        """
        with self._lock:
            if self._has_ended or self._is_told:
                return True
            self.wish = kind
            if self._thread is None:
                self._is_told = True
            elif self.cancel is not None:
                self._is_told = True
                self.cancel()
            else:
                self._is_told = _raised(self._thread, kind)
            return self._is_told

    def _begin(self) -> None:
        _calls().append(self)
        with self._lock:
            self._thread = threading.get_ident()
            if self.wish is not None:
                raise self.wish

    def _end(self) -> None:
        with self._lock:
            _raise_in(ctypes.c_ulong(threading.get_ident()), None)  # what was not heard in time is not said
            if self in _calls():
                _calls().remove(self)
            self._has_ended = True


@contextmanager
def told_by(cancel: Callable[[], object]) -> Iterator[Callable[[], type[BaseException] | None]]:
    """In this block who interrupts a call of this thread does it by `cancel`; what was wished, if it was."""
    calls = list(_calls())
    for call in calls:
        call.cancel = cancel
    try:
        yield lambda: next((call.wish for call in calls if call.wish), None)
    finally:
        for call in calls:
            call.cancel = None


def is_interruptible() -> bool:
    """Whether this thread runs a call that may be interrupted."""
    return bool(_calls())


def _calls() -> list[Interruptible]:
    """Those that run in this thread, the outermost first."""
    calls: list[Interruptible] | None = getattr(_here, "calls", None)
    if calls is None:
        calls = _here.calls = []
    return calls


def _raised(thread: int, kind: type[BaseException]) -> bool:
    """Whether the exception could be raised there; the thread seldom runs between two steps of this one."""
    frame = sys._current_frames().get(thread)
    if frame is None or not _is_harmless(frame):
        return False
    place = frame.f_lasti
    _raise_in(ctypes.c_ulong(thread), ctypes.py_object(kind))
    if sys._current_frames().get(thread) is frame and frame.f_lasti == place:
        return True
    _raise_in(ctypes.c_ulong(thread), None)  # it went on meanwhile: who knows where it is now
    return False


def _is_harmless(frame: FrameType) -> bool:
    module = str(frame.f_globals.get("__name__", ""))
    if module == "threading" and frame.f_code.co_name == "wait":  # for a condition: its lock is in good hands
        return True
    return module.partition(".")[0] not in TAKE_LOCKS
