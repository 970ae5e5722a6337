"""How many jobs to claim beyond the free slots, so that short jobs needn't wait for a round trip."""

from __future__ import annotations

from typing import Final

WORTH: Final = 0.010  # seconds of work that may lie ready
SHORT: Final = (
    10  # round trips; without it, jobs of that length would leave a processor idle a tenth of its time
)
MOST: Final = 1000  # jobs
NEWEST: Final = 0.3  # weight of the newest measurement


class LookAhead:
    """Measures a capsule's speed. What lies ready here can't run elsewhere, so it keeps to little.

    `jobs` is what to claim now beyond the free slots: 0 unless jobs have been short of late.
    """

    def __init__(self, concurrency: int, most: int = MOST) -> None:
        self._concurrency = concurrency
        self._most = most
        self._rate = 0.0  # jobs a second
        self._round_trip = 0.0  # seconds, as the fetch loop sees it
        self.jobs = 0

    def measured(self, *, finished: int, seconds: float, round_trip: float) -> None:
        """So many jobs were finished since the last round trip, which began `seconds` ago."""
        self._round_trip += NEWEST * (round_trip - self._round_trip)
        self._rate += NEWEST * (finished / max(seconds, 1e-6) - self._rate)
        is_short = self._concurrency < SHORT * self._round_trip * self._rate
        self.jobs = min(int(self._rate * WORTH), self._most) if is_short else 0

    def was_wrong(self) -> None:
        """What lay ready was not started: the jobs have become longer."""
        self._rate = 0.0
        self.jobs = 0
