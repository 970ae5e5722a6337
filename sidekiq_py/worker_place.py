"""A place among the workers that there should be, and who fills it: one worker, then its successor."""

from __future__ import annotations

import logging
from typing import Final

from sidekiq_py.backoff import Backoff
from sidekiq_py.clock import Clock
from sidekiq_py.config import Config
from sidekiq_py.worker_process import DRAIN, WorkerProcess

logger = logging.getLogger("sidekiq")

STEADY_AFTER: Final = 30.0  # seconds; the successor of a worker that lived this long starts at once
GROWN: Final = 1.25  # times what a worker held when it had booted; before that it is hardly its jobs' doing


class WorkerPlace:
    """Filled again 0.1 to 30 s after its worker died, the longer the more often that happens."""

    def __init__(self, number: int, config: Config, clock: Clock) -> None:
        self.number = number
        self.worker: WorkerProcess | None = None
        self.successor: WorkerProcess | None = None  # of a rolling restart, while it boots
        self.wants_renewal = False
        self.start_at = 0.0  # monotonic seconds
        self.is_closed = False  # its worker was told to stop, by a person: another would defy them
        self._config = config
        self._clock = clock
        self._backoff = Backoff(0.1, 30.0)
        self._recycled_at: float | None = None

    @property
    def is_vacant(self) -> bool:
        return self.worker is None and self.successor is None and not self.is_closed

    @property
    def wants_worker(self) -> bool:
        self._replace_if_it_takes_long()
        return self.is_vacant and self._clock.monotonic() >= self.start_at

    @property
    def is_to_be_renewed(self) -> bool:
        return self.wants_renewal and self.worker is not None and self.worker.has_booted

    @property
    def is_recycling(self) -> bool:
        return self.worker is not None and self.worker.drains

    def fill(self, worker: WorkerProcess) -> None:
        """With a worker that has just been forked, so with the code of now."""
        if self.worker is None:
            self.worker = worker
        else:
            self.successor = worker
        self.wants_renewal = False

    def reason_to_recycle(self) -> tuple[int, str] | None:
        """The worker's pid, and what speaks against keeping it."""
        worker, limits = self.worker, self._config
        if worker is None or not worker.has_booted:
            return None
        if (
            limits.max_memory
            and (memory := worker.memory) > limits.max_memory
            and self._helps(worker, memory)
        ):
            return worker.pid, f"holds {memory >> 20} MB, more than {limits.max_memory >> 20}"
        if limits.max_jobs and (count := worker.table.processed) >= limits.max_jobs:
            return worker.pid, f"has run {count} jobs"
        return None

    def _helps(self, worker: WorkerProcess, memory: int) -> bool:
        """Whether another would be smaller. Where it would not, none is left without time to work."""
        is_steady = self._clock.monotonic() - worker.started_at >= STEADY_AFTER
        return is_steady or memory > GROWN * worker.idle_memory

    def recycle(self) -> None:
        """Let the worker finish its jobs and end; the place is filled when it has, or when it takes long."""
        if self.worker is not None:
            self._recycled_at = self._clock.monotonic()
            self.worker.tell(DRAIN)

    def heard(self, worker: WorkerProcess) -> None:
        """There was news of a worker, this place's or another's."""
        if worker is self.worker and worker.news.stops and not worker.drains:
            self.is_closed = True
        if worker is self.successor and worker.has_booted:
            predecessor, self.worker, self.successor = self.worker, worker, None
            if predecessor is not None:
                logger.info("worker %d takes over from %d", worker.pid, predecessor.pid)
                predecessor.tell(DRAIN)

    def ended(self, worker: WorkerProcess) -> None:
        """A worker has ended, this place's or another's."""
        if worker is self.successor:
            self.successor = None
        if worker is self.worker:
            self.worker = None
            now = self._clock.monotonic()
            if worker.drains or now - worker.started_at >= STEADY_AFTER:
                self._backoff.succeeded()
            self.start_at = now if worker.drains else now + self._backoff.next_pause()

    def _replace_if_it_takes_long(self) -> None:
        """A long job must not keep the place empty; the drained worker ends when it can."""
        worker = self.worker
        if worker is None or not worker.drains or self._recycled_at is None:
            return
        if self._clock.monotonic() - self._recycled_at >= self._config.timeout:
            self.worker = self._recycled_at = None
