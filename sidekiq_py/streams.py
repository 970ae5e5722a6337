"""Standard streams that may be closed, or whose reader has gone: no reason for a server to stop."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Final

# A broken pipe, a full disk, a dead terminal; "I/O operation on closed file".
GONE: Final = (OSError, ValueError)


def open_closed() -> None:
    """Let what was closed (`>&-`) lead nowhere, before the next file or socket gets its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115


def flush() -> None:
    """Write what is buffered, where that is possible."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(*GONE):
            stream.flush()


def give_up_broken() -> None:
    """At the very end: Python's own last flush would print a traceback and change the exit code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except GONE:
            with suppress(*GONE):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
