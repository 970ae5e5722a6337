"""Signals as something to read: the system writes each one's number into a pipe, at once.

Python's own handlers wait until the main thread runs Python code; this doesn't, so that a thread beside a
busy main thread can hear too. Where somebody else has taken the system's pen, as asyncio does for its own
signals, such a handler writes instead.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

logger = logging.getLogger("sidekiq")

HARMLESS: Final = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)  # they kill whom nobody has taught them


class SignalPipe:
    """Hears the given signals between `open` and `restore`. Only in the main thread."""

    def __init__(self, heard: Iterable[signal.Signals]) -> None:
        self._heard = tuple(heard)
        self._before: dict[signal.Signals, object] = {}
        self._wakeup_before = -1
        self._read = self._write = -1

    def open(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._before = {number: signal.signal(number, self._note) for number in self._heard}
        self._wakeup_before = self._take_wakeup()

    def fileno(self) -> int:
        """The end to wait on."""
        return self._read

    def read(self) -> list[signal.Signals] | None:
        """The signals that came, in order; None once nothing is heard any more. Waits for any signal.

        A signal that somebody else handles here (an alarm, a profiler's) comes through the same pipe, and is
        left out: then the list may be empty.
        """
        numbers = os.read(self._read, 64)
        if not numbers:
            os.close(self._read)
            return None
        return [signal.Signals(number) for number in numbers if number in self._heard]

    def wake(self) -> None:
        """Let whoever waits on it look at other things; a `read` finds nothing."""
        with suppress(BlockingIOError):  # full: then there is something to read anyway
            os.write(self._write, b"\0")

    def restore(self) -> None:
        """Give the signals back to whoever had them; a reader gets the end."""
        self._give_back(self._wakeup_before)
        os.close(self._write)

    def abandon(self) -> None:
        """In a forked child: it shares the pipe, so that its signals would be its parent's."""
        self._give_back(wakeup=-1)

    def _note(self, number: int, _frame: object) -> None:
        """Python writes to the pipe only what has a handler; and asyncio leaves it writing nowhere."""
        wakeup = self._take_wakeup()
        if wakeup == self._write:
            return
        if wakeup != -1:
            with suppress(ValueError):  # it has been closed
                signal.set_wakeup_fd(wakeup)
        with suppress(BlockingIOError):
            os.write(self._write, bytes([number]))

    def _take_wakeup(self) -> int:
        return signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    def _give_back(self, wakeup: int) -> None:
        signal.set_wakeup_fd(wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal gave us


def spare(numbers: Iterable[signal.Signals], *, silently: bool = False) -> None:
    """Until somebody hears these signals they are logged and do nothing, instead of killing the process."""
    for number in unclaimed(numbers):
        signal.signal(number, _ignore if silently else _too_early)


def unclaimed(numbers: Iterable[signal.Signals]) -> list[signal.Signals]:
    """Those of the signals that the application doesn't handle itself."""
    usual = (signal.SIG_DFL, signal.default_int_handler, _too_early)
    return [each for each in numbers if signal.getsignal(each) in usual]


def _too_early(number: int, _frame: object) -> None:
    logger.warning("got %s while starting: it is ignored", signal.Signals(number).name[3:])


def _ignore(_number: int, _frame: object) -> None:
    """Unlike SIG_IGN, it isn't passed on to the programs that are started."""
