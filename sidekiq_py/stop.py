"""A shutdown under way: how long it may still take, the word that ends the waiting, and the very end."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from gevent.event import Event
from gevent.monkey import get_original

from sidekiq_py.clock import Clock

LOOK_EVERY: Final = 0.05  # seconds between two looks whether the last job has ended

_sleep = get_original("time", "sleep")
_start_new_thread = get_original("_thread", "start_new_thread")


class Stop:
    """The deadline of a shutdown, `timeout` seconds from now unless somebody hurries."""

    def __init__(self, clock: Clock, timeout: float) -> None:
        self._clock = clock
        self._deadline = clock.monotonic() + timeout
        self._hurry = Event()

    def hurry(self) -> None:
        """Wait no longer: whatever is unfinished is put back now."""
        self._hurry.set()

    def remaining(self) -> float:
        """Seconds until the deadline, never negative."""
        return 0.0 if self._hurry.is_set() else max(0.0, self._deadline - self._clock.monotonic())

    def wait(self, has_ended: Callable[[], bool]) -> None:
        """Return when it has ended, at the deadline, or when somebody hurries."""
        while not has_ended() and self.remaining() > 0:
            self._hurry.wait(min(LOOK_EVERY, self.remaining()))


def exit_within(seconds: float, code: int) -> None:
    """End the process then, whatever waits for whatever in it."""

    def end() -> None:
        _sleep(seconds)
        os._exit(code)

    with suppress(RuntimeError):  # there are no threads left to start
        _start_new_thread(end, ())
