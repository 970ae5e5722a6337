"""Which jobs a worker process runs, in memory it shares with its supervisor: readable after any death.

Writing costs no system call. Only jobs that had started are in it, so those that a dead worker had merely
fetched are known to be innocent.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

SLOT: Final = struct.Struct("<d56s")  # monotonic start, seconds, 0 when free; jid, UTF-8, cut to size
JID_BYTES: Final = 56


class Started(NamedTuple):
    """A job that was running: its jid, and when it started (monotonic seconds, the same in all processes)."""

    jid: str
    at: float


class RunningTable:
    """One slot for each processor of a worker. Made before the worker is forked."""

    def __init__(self, slots: int) -> None:
        self._memory = mmap.mmap(-1, SLOT.size * max(slots, 1))
        self._slots = slots

    def begin(self, slot: int, jid: str, at: float) -> None:
        SLOT.pack_into(self._memory, slot * SLOT.size, at, jid.encode("utf-8", "replace")[:JID_BYTES])

    def end(self, slot: int) -> None:
        SLOT.pack_into(self._memory, slot * SLOT.size, 0.0, b"")

    def running(self) -> Iterator[Started]:
        """The jobs that are running, or were when their process died."""
        for slot in range(self._slots):
            at, jid = SLOT.unpack_from(self._memory, slot * SLOT.size)
            if at:
                yield Started(jid.rstrip(b"\0").decode("utf-8", "ignore"), at)

    def clear(self) -> None:
        """Forget everything: another worker takes the table over."""
        self._memory[:] = bytes(len(self._memory))

    def close(self) -> None:
        self._memory.close()
