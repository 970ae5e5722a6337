"""What a process has to add to Sidekiq's counters: each number once, though an answer may be lost."""

from __future__ import annotations

from typing import NamedTuple

from sidekiq_py.work_state import WorkState


class Flush(NamedTuple):
    """Counts on their way to Redis. Kept until their write is known to have succeeded."""

    number: int
    processed: int
    failed: int


class Counts:
    """Ask for the `next` ones with every beat, and say when they are `written`."""

    def __init__(self, work_state: WorkState) -> None:
        self._work_state = work_state
        self._flush = Flush(0, 0, 0)
        self._processed = self._failed = 0  # that Redis has

    def next(self) -> Flush:
        """Those of a beat whose fate is unknown once more, else what came since."""
        number, processed, failed = self._flush
        if number == 0 or not (processed or failed):
            came = self._work_state
            self._flush = Flush(number + 1, came.processed - self._processed, came.failed - self._failed)
        return self._flush

    def written(self) -> None:
        self._processed += self._flush.processed
        self._failed += self._flush.failed
        self._flush = Flush(self._flush.number, 0, 0)
