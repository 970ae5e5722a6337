"""The processors of one capsule: starts them, lets them finish, and puts back what they can't finish in time.

Ruby twin: Sidekiq::Manager.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from typing import Final

import gevent

from sidekiq_py.capsule import Capsule
from sidekiq_py.claims import UnitOfWork
from sidekiq_py.component import ErrorReporter
from sidekiq_py.errors import OUTAGE, Shutdown
from sidekiq_py.fetch import Fetcher
from sidekiq_py.processor import Parts, Processor
from sidekiq_py.stop import Stop
from sidekiq_py.work_state import Running

logger = logging.getLogger("sidekiq")

CLEAN_UP_TIME: Final = 3.0  # seconds an interrupted job gets for its `finally` blocks


class Manager:
    """N processors and the fetcher that supplies them. One capsule's end never touches another's jobs."""

    def __init__(self, capsule: Capsule, fetcher: Fetcher, parts: Parts) -> None:
        self._capsule = capsule
        self._fetcher = fetcher
        self._work_state = parts.work_state
        self._report: ErrorReporter = parts.report
        self._processors = [Processor(fetcher, parts) for _ in range(capsule.concurrency)]
        self._greenlets: dict[str, gevent.Greenlet[[], None]] = {}

    def start(self) -> None:
        for processor in self._processors:
            self._start(processor)
        self._fetcher.start()

    def quiet(self) -> None:
        """Take no new jobs; idle processors end, busy ones end after their job."""
        self._fetcher.quiet()

    def stop(self, stop: Stop) -> int:
        """End every processor by the deadline; returns how many jobs had to be put back.

        Unfinished jobs are at the head of their queues when this returns, or still claimed if Redis is down.
        """
        self.quiet()
        stop.wait(self._has_ended)
        requeued = 0 if self._has_ended() else self._hard_shutdown()
        self._fetcher.stop(timeout=max(stop.remaining(), 1.0))
        return requeued

    def revive(self) -> None:
        """Start again what ended and could tell nobody, for want of memory."""
        for processor in self._processors:
            if processor.tid in self._greenlets:
                self._replace(processor)
        self._fetcher.revive()

    def join(self) -> None:
        """Return when every processor has ended, however long that takes."""
        while not self._has_ended():
            gevent.joinall(list(self._greenlets.values()))
            gevent.sleep(0)  # one that died is replaced meanwhile

    def disconnect(self) -> None:
        self._fetcher.disconnect()

    def holder(self) -> tuple[str, Running] | None:
        """The job that has the interpreter now, and its processor's tid. From any thread."""
        for tid, running in self._work_state.snapshot():
            greenlet = self._greenlets.get(tid)
            if greenlet is not None and greenlet.gr_frame is None:  # those that wait have a frame to go on in
                return tid, running
        return None

    def running_in(self, greenlet: object) -> Running | None:
        """The job that runs in this greenlet."""
        for tid, running in self._work_state.snapshot():
            if self._greenlets.get(tid) is greenlet:
                return running
        return None

    def stacks(self) -> Iterator[str]:
        """Where each running job is: its jid, class, and the stack of its greenlet, innermost last."""
        for tid, running in self._work_state.snapshot():
            greenlet = self._greenlets.get(tid)
            frame = greenlet.gr_frame if greenlet is not None else None
            stack = "".join(traceback.format_stack(frame)) if frame else "  running now\n"
            yield f"tid={tid} jid={running.job.get('jid')} class={running.job.get('class')}\n{stack}"

    def _start(self, processor: Processor) -> None:
        greenlet = gevent.spawn(processor.run)
        self._greenlets[processor.tid] = greenlet
        greenlet.link(lambda _greenlet: self._replace(processor))

    def _replace(self, processor: Processor) -> None:
        """One that died must not leave its slot empty: a capsule without processors is deaf.

        Ruby twin: Sidekiq::Manager#processor_result.
        """
        if self._greenlets[processor.tid].dead and not (processor.has_ended or processor.is_interrupted):
            self._start(processor)

    def _has_ended(self) -> bool:
        greenlets = self._greenlets  # none before the start, and nothing to wait for then
        return all(
            greenlets[each.tid].dead and (each.has_ended or each.is_interrupted)
            for each in self._processors
            if each.tid in greenlets
        )

    def _hard_shutdown(self) -> int:
        """Put unfinished jobs back, then interrupt them: a job run twice is allowed, a job lost is not."""
        unfinished = self._unfinished()
        requeued = 0
        try:
            requeued = self._fetcher.requeue(unfinished)
        except OUTAGE as error:
            logger.error(
                "Redis is down: %d unfinished jobs stay claimed until a rescue: %s", len(unfinished), error
            )
        for processor in self._processors:
            processor.is_interrupted = True
        for greenlet in self._greenlets.values():
            greenlet.kill(Shutdown, block=False)
        gevent.joinall(list(self._greenlets.values()), timeout=CLEAN_UP_TIME)
        return requeued

    def _unfinished(self) -> list[UnitOfWork]:
        """The jobs this capsule still runs, the one that started first first."""
        running = [state for tid, state in self._work_state.snapshot() if tid in self._greenlets]
        return [state.work for state in sorted(running, key=lambda state: state.run_at)]
