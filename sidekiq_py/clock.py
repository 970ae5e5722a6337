"""Time as a part that is handed in, so that tests can hold it still."""

from __future__ import annotations

import time


class Clock:
    """Wall and monotonic time, both in float seconds. Tests pass a subclass that stands still."""

    def now(self) -> float:
        """Seconds since the epoch; what goes on the wire."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since some fixed moment; for durations, deaf to clock changes."""
        return time.monotonic()
