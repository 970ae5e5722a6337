"""Which jobs a worker process runs, in memory it shares with its supervisor: readable after any death.

Writing costs no system call. A job is in it from before it is parsed until it is settled, for all of that may
kill; those that a dead worker had merely fetched are known to be innocent.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Final, NamedTuple

SLOTS: Final = 65536  # a megabyte of addresses, of which only what is written takes up memory
SHOW_LIFE_EVERY: Final = 1.0  # seconds between two moments in which the worker shows life, at most

# Words of eight bytes: jobs processed since the worker began; slots in use; monotonic seconds, when a thread
# of the worker's ran that only looks; then two for each slot: a job's monotonic start in seconds, 0 when
# it is free, and what `fingerprint` gives.
WORD: Final = 8
PROCESSED, USED, SEEN, FIRST_SLOT = range(4)


class Started(NamedTuple):
    """A job that was running, and when it started (monotonic seconds, the same in all processes)."""

    fingerprint: int
    at: float


def fingerprint(raw: bytes) -> int:
    """What stands for a payload in the table: the same in processes forked from one, and cheap."""
    return hash(raw)


class RunningTable:
    """One slot for each processor of a worker. Made before the worker is forked."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, WORD * (FIRST_SLOT + 2 * SLOTS))
        self._integers = memoryview(self._memory).cast("q")
        self._seconds = memoryview(self._memory).cast("d")
        self._processed = 0

    @property
    def processed(self) -> int:
        """How many jobs the worker has finished, failures too."""
        return self._integers[PROCESSED]

    @property
    def seen_at(self) -> float:
        """When the worker last showed that its threads can run; 0 before the first time."""
        return self._seconds[SEEN]

    def show_life(self, at: float) -> None:
        """Say that the worker's threads can run; 0 when it will not be said any more."""
        self._seconds[SEEN] = at

    def new_slot(self) -> int:
        """A slot for a processor. Raises OverflowError when there are more than anyone can want."""
        used = self._integers[USED]
        if used == SLOTS:
            raise OverflowError(f"no more than {SLOTS} jobs can run at once in one process")
        self._integers[USED] = used + 1
        return FIRST_SLOT + 2 * used

    def begin(self, slot: int, raw: bytes, at: float) -> None:
        self._integers[slot + 1] = hash(raw)
        self._seconds[slot] = at  # last: it is what makes the slot count

    def free(self, slot: int) -> None:
        """Nothing is in it, though no job was finished."""
        self._seconds[slot] = 0.0

    def end(self, slot: int) -> None:
        self._seconds[slot] = 0.0
        self._processed += 1
        self._integers[PROCESSED] = self._processed

    def running(self) -> Iterator[Started]:
        """The jobs that are running, or were when their process died."""
        for slot in range(FIRST_SLOT, FIRST_SLOT + 2 * self._integers[USED], 2):
            if at := self._seconds[slot]:
                yield Started(self._integers[slot + 1], at)

    def close(self) -> None:
        self._integers.release()
        self._seconds.release()
        self._memory.close()
