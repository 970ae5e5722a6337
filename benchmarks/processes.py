"""What the system knows of running processes: the CPU they used and the memory they hold."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_USER, _SYSTEM = 11, 12  # places in /proc/<pid>/stat, counted behind the command's closing parenthesis


def tree(pid: int) -> Iterator[int]:
    """The process and all that descend from it."""
    yield pid
    for children in PROC.glob(f"{pid}/task/*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread ends while we look
            for child in children.read_text().split():
                yield from tree(int(child))


def kill_tree(pid: int) -> None:
    """End the process and all that descend from it, as `kill -9` does."""
    for each in reversed(list(tree(pid))):
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)


def cpu_seconds(pid: int) -> float:
    """CPU time that the process and its descendants have used so far."""
    return sum(_cpu_of(each) for each in tree(pid))


def _cpu_of(pid: int) -> float:
    words = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return (int(words[_USER]) + int(words[_SYSTEM])) / _TICKS


def rss(pid: int) -> int:
    """Resident memory in bytes."""
    status = (PROC / str(pid) / "status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))
