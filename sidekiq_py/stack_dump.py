"""Where a process is that can't speak for itself: asked by a signal, answered below the interpreter.

The answer is written by the C handler of `faulthandler`, in the thread that is stuck, without the
interpreter's lock. Where the system lacks such signals there is none.
"""

from __future__ import annotations

import faulthandler
import os
import re
import signal
from typing import Final

# Applications hardly use the last one.
SIGNAL: Final[int | None] = getattr(signal, "SIGRTMAX", None) if hasattr(os, "memfd_create") else None
MOST_BYTES: Final = 65536
INNERMOST: Final = 20  # lines of a stack: where it hangs is at its end

_LINE = re.compile(r'(  File ".*", line \d+) (in .*)')


class StackDump:
    """A file in memory that a worker and its supervisor share. Made before the worker is forked."""

    def __init__(self) -> None:
        self._file = -1 if SIGNAL is None else os.memfd_create("stack")

    def offer(self) -> None:
        """In the worker: answer from now on."""
        if SIGNAL is not None:
            faulthandler.register(SIGNAL, file=self._file, all_threads=False)

    def request(self, pid: int) -> None:
        """In the supervisor: have the process write where its main thread is. It must have offered to."""
        if SIGNAL is not None:
            os.ftruncate(self._file, 0)
            os.lseek(self._file, 0, os.SEEK_SET)  # the worker writes where we stand: it is one open file
            os.kill(pid, SIGNAL)

    def read(self) -> str:
        """What it answered, in the form of a traceback, innermost last; empty when there is nothing yet."""
        if SIGNAL is None:
            return ""
        lines = _LINE.findall(os.pread(self._file, MOST_BYTES, 0).decode(errors="replace"))
        return "\n".join(f"{place}, {name}" for place, name in reversed(lines[:INNERMOST]))

    def close(self) -> None:
        if SIGNAL is not None:
            os.close(self._file)
