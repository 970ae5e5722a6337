"""Which jobs a worker process runs, in memory it shares with its supervisor: readable after any death.

Writing costs no system call. Only jobs that had started are in it, so those that a dead worker had merely
fetched are known to be innocent.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

SLOTS: Final = 65536  # a megabyte of addresses, of which only what is written takes up memory
HEAD: Final = struct.Struct("<qq")  # jobs processed since the worker began; slots in use
SEEN: Final = struct.Struct("<d")  # monotonic seconds; when a thread of the worker's ran that only looks
SHOW_LIFE_EVERY: Final = 1.0  # seconds between two such moments, at most
SLOT: Final = struct.Struct("<dq")  # monotonic start, seconds, 0 when free; what `fingerprint` gives


_SLOTS_AT: Final = HEAD.size + SEEN.size


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
        self._memory = mmap.mmap(-1, _SLOTS_AT + SLOT.size * SLOTS)
        self._processed = self._used = 0

    @property
    def processed(self) -> int:
        """How many jobs the worker has finished, failures too."""
        return int(HEAD.unpack_from(self._memory)[0])

    @property
    def seen_at(self) -> float:
        """When the worker last showed that its threads can run; 0 before the first time."""
        return float(SEEN.unpack_from(self._memory, HEAD.size)[0])

    def show_life(self, at: float) -> None:
        """Say that the worker's threads can run; 0 when it will not be said any more."""
        SEEN.pack_into(self._memory, HEAD.size, at)

    def new_slot(self) -> int:
        """A slot for a processor. Raises OverflowError when there are more than anyone can want."""
        if self._used == SLOTS:
            raise OverflowError(f"no more than {SLOTS} jobs can run at once in one process")
        self._used += 1
        HEAD.pack_into(self._memory, 0, self._processed, self._used)
        return self._used - 1

    def begin(self, slot: int, raw: bytes, at: float) -> None:
        SLOT.pack_into(self._memory, _SLOTS_AT + slot * SLOT.size, at, hash(raw))

    def end(self, slot: int) -> None:
        SLOT.pack_into(self._memory, _SLOTS_AT + slot * SLOT.size, 0.0, 0)
        self._processed += 1
        HEAD.pack_into(self._memory, 0, self._processed, self._used)

    def running(self) -> Iterator[Started]:
        """The jobs that are running, or were when their process died."""
        for slot in range(HEAD.unpack_from(self._memory)[1]):
            at, print_ = SLOT.unpack_from(self._memory, _SLOTS_AT + slot * SLOT.size)
            if at:
                yield Started(print_, at)

    def close(self) -> None:
        self._memory.close()
