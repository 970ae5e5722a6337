"""What this process runs now and what it has counted: written by the hub's thread, read by the heartbeat's.

No lock is needed: each field is written by one thread alone (those of the loop by `stall`'s), and each read
copies one dict or one number, which the interpreter does without letting another thread in between.

Ruby twin: Sidekiq::Processor::WORK_STATE.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic

from sidekiq_py.claims import UnitOfWork
from sidekiq_py.failpoint import failpoint
from sidekiq_py.payload import Payload
from sidekiq_py.running_table import RunningTable


@dataclass(slots=True)
class Running:
    """One job that is being run."""

    work: UnitOfWork
    job: Payload
    run_at: float  # epoch seconds


@dataclass(slots=True)
class WorkState:
    """The running jobs by thread id, and how many jobs were processed and failed since the start."""

    running: dict[str, Running] = field(default_factory=dict)
    processed: int = 0  # failures and interruptions too, as Sidekiq counts
    failed: int = 0
    interrupted: int = 0  # those of `failed` that the end of the process cut short
    requeued: int = 0
    stalls: int = 0  # times that the event loop stood still for long
    lag: float = 0.0  # seconds that the loop took to turn when it was asked last, or takes until now
    table: RunningTable | None = None  # the supervisor's view of the same
    _slots: dict[str, int] = field(default_factory=dict)

    def take(self, tid: str, raw: bytes) -> None:
        """This job is in hand: should the process die from now on, it may have been the cause."""
        if self.table is not None:
            slot = self._slots.get(tid)
            if slot is None:
                slot = self._slots[tid] = self.table.new_slot()
            self.table.begin(slot, raw, monotonic())

    def begin(self, tid: str, running: Running) -> None:
        """It runs."""
        self.running[tid] = running
        failpoint("job.begun")

    def end(self, tid: str, *, failed: bool | None) -> None:
        """The job is over; `failed` is None when it was none of ours, and is not counted."""
        self.running.pop(tid, None)
        if failed is not None:
            self.processed += 1
            self.failed += failed
        if self.table is not None:
            self.table.end(self._slots[tid])

    def end_if_taken(self, tid: str) -> None:
        """The processor has died; what it may have had in hand is over."""
        if tid in self.running:
            self.end(tid, failed=True)
        elif self.table is not None and tid in self._slots:
            self.table.free(self._slots[tid])

    def keep_taken(self, raw: bytes) -> None:
        """The same as `take`, until the process ends, for a job that no processor has in hand."""
        self.take(f"kept {len(self._slots)}", raw)

    def give_up(self) -> None:
        """Count what still runs as interrupted: the process ends under it."""
        count = len(self.running)
        self.processed += count
        self.failed += count
        self.interrupted += count

    def snapshot(self) -> list[tuple[str, Running]]:
        """The running jobs at this moment, safe to keep."""
        return list(self.running.items())
