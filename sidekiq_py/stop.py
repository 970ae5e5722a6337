"""A shutdown under way: how long it may still take, and the word that ends the waiting at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gevent.event import Event

from sidekiq_py.clock import Clock

LOOK_EVERY: Final = 0.05  # seconds between two looks whether the last job has ended


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
