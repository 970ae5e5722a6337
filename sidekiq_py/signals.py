"""Signals, heard by a native thread: at once, even while a handler keeps the hub busy.

The system writes each signal's number into a pipe; the thread reads it and passes it to the hub. After a stop
signal the same thread is the last resort: when the server has not ended in time, it calls `overdue`.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Final

from gevent import get_hub
from gevent.monkey import get_original

STOP: Final = (signal.SIGINT, signal.SIGTERM)
HEARD: Final = (*STOP, signal.SIGTSTP, signal.SIGTTIN)

_start_new_thread = get_original("_thread", "start_new_thread")
_select = get_original("select", "select")


class Signals:
    """Hears INT, TERM, TSTP and TTIN between `start` and `restore`.

    `on_signal` is called on the hub's thread with the signal's name. `overdue` is called on the native thread
    when `stop_within` seconds after the first stop signal the process is still there.
    """

    def __init__(
        self, *, on_signal: Callable[[str], object], overdue: Callable[[], object], stop_within: float
    ) -> None:
        self._on_signal = on_signal
        self._overdue = overdue
        self._stop_within = stop_within
        self._loop = get_hub().loop
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._before: dict[signal.Signals, object] = {}
        self._wakeup_before = -1
        self._keep_waiting = self._loop.async_()

    def start(self) -> None:
        self._before = {number: signal.signal(number, _heard) for number in HEARD}
        self._wakeup_before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._keep_waiting.start(lambda: None)  # a hub where nothing is left but us would give up
        _start_new_thread(self._listen, ())

    def restore(self) -> None:
        """Give the signals back to whoever had them, and end the thread."""
        signal.set_wakeup_fd(self._wakeup_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal gave us
        self._keep_waiting.close()
        os.close(self._write)

    def _listen(self) -> None:
        deadline: float | None = None
        while True:
            timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready, _, _ = _select([self._read], [], [], timeout)
            if not ready:
                self._overdue()
                return
            numbers = os.read(self._read, 64)
            if not numbers:
                os.close(self._read)
                return
            for number in numbers:
                if number in STOP and deadline is None:
                    deadline = time.monotonic() + self._stop_within
                self._loop.run_callback_threadsafe(self._on_signal, signal.Signals(number).name[3:])


def _heard(_number: int, _frame: object) -> None:
    """The wakeup pipe carries the news; a handler must exist for Python to write to it."""
