"""What the system knows of running processes: the CPU they used and the memory they hold."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path

PROC = Path("/proc")
CPU_GROUPS = Path("/sys/fs/cgroup/cpu")
PERIOD = 10_000  # microseconds in which a held process gets its share, short beside a drain
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


def can_hold() -> bool:
    """Whether this system lets us keep a process from using a whole core: control groups v1, as root."""
    return (CPU_GROUPS / "cpu.cfs_quota_us").exists() and os.access(CPU_GROUPS, os.W_OK)


@contextlib.contextmanager
def held(pids: Iterable[int], cores: float) -> Iterator[None]:
    """Each process gets that part of a core and no more, inside the block."""
    with contextlib.ExitStack() as stack:
        for pid in pids:
            group = CPU_GROUPS / f"sidekiq-py-bench-{pid}"
            group.mkdir()
            stack.callback(group.rmdir)
            (group / "cpu.cfs_period_us").write_text(str(PERIOD))
            (group / "cpu.cfs_quota_us").write_text(str(int(PERIOD * cores)))
            (group / "cgroup.procs").write_text(str(pid))
            stack.callback((CPU_GROUPS / "cgroup.procs").write_text, str(pid))
        yield
