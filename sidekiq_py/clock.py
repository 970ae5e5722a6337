"""Time as a part that is handed in, so that tests can hold it still."""

from __future__ import annotations

import time


class Clock:
    """Wall and monotonic time, both in float seconds. Tests pass a subclass that stands still."""

    skew = 0.0
    """Seconds by which Redis' clock is ahead of this machine's, where that is worth correcting."""

    def now(self) -> float:
        """Seconds since the epoch; what goes on the wire."""
        return time.time() + self.skew

    def monotonic(self) -> float:
        """Seconds since some fixed moment; for durations, deaf to clock changes."""
        return time.monotonic()
