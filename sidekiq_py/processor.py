"""Runs one job at a time, in a greenlet, and settles it: acknowledged, retried, buried, or interrupted.

Ruby twin: Sidekiq::Processor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import gevent

from sidekiq_py.child_exit import leave
from sidekiq_py.claims import UnitOfWork
from sidekiq_py.clock import Clock
from sidekiq_py.component import ErrorReporter
from sidekiq_py.errors import InvalidPayload, JobTimeout, Shutdown
from sidekiq_py.failures import HANDED_BACK, NOT_OURS, FailureRecorder
from sidekiq_py.fetch import Fetcher
from sidekiq_py.forked import Forks
from sidekiq_py.job_logger import JobLogger
from sidekiq_py.job_retry import Retry
from sidekiq_py.logger import current_tid, new_tid
from sidekiq_py.metrics.execution import ExecutionTracker
from sidekiq_py.middleware import ServerMiddleware, compose
from sidekiq_py.payload import Payload, parse
from sidekiq_py.registry import Handler, Registry
from sidekiq_py.threads import Threads
from sidekiq_py.work_state import Running, WorkState

YIELD_AFTER: Final = 0.001  # seconds of work; then fetch and the other jobs have a turn before the next one
LAG: Final = 0.1  # seconds since gevent last looked at sockets and timers; then they have a turn in any case


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What all processors of a process share."""

    registry: Registry
    server_middleware: tuple[ServerMiddleware, ...]
    forks: Forks
    work_state: WorkState
    failures: FailureRecorder
    tracker: ExecutionTracker
    job_logger: JobLogger
    clock: Clock
    report: ErrorReporter
    threads: Threads | None  # where jobs run; None: here, in the processor's greenlet


class Processor:
    """One of a capsule's N runners."""

    def __init__(self, fetcher: Fetcher, parts: Parts) -> None:
        self.tid = new_tid()
        self._fetcher = fetcher
        self._parts = parts
        self.is_interrupted = False  # the manager has put this one's job back; a Shutdown comes
        self._yielded_at = 0.0
        self._dropped = False  # whether middleware kept the last job that went well from running
        self._in_hand: UnitOfWork | None = None  # claimed, and not settled yet
        self.has_ended = False  # by itself: the capsule is quiet, or stops

    def run(self) -> None:
        """Take and process jobs until the capsule is quiet. Shutdown, raised from outside, ends it too.

        Anything else that ends it, such as a timeout that a job left behind, is reported; `has_ended` is
        false then, and the manager starts it again.
        """
        current_tid.set(self.tid)
        try:
            while (work := self._fetcher.retrieve_work()) is not None:
                self._in_hand = work
                self.process(work)
            self.has_ended = True
        except BaseException as error:
            self.has_ended = self.is_interrupted
            try:
                self._died(error)
            finally:
                self._parts.work_state.end_if_taken(self.tid)

    def _died(self, error: BaseException) -> None:
        """The job in hand fails, unless it can't, or was put back."""
        work, self._in_hand = self._in_hand, None
        if self.is_interrupted and isinstance(error, Shutdown):
            return
        if work is None:
            self._parts.report.log(error, {"context": "a processor died between two jobs, and is replaced"})
        elif not self._fails_plainly(work, error):
            self._parts.report.log(error, {"context": "internal error, the job stays in its claim list"})
            self._fetcher.keep(work)
            self._parts.work_state.keep_taken(work.raw)  # what made that fail may end the process, too
        else:
            self._parts.report.log(error, {"context": "a processor died with its job, and is replaced"})

    def _fails_plainly(self, work: UnitOfWork, error: BaseException) -> bool:
        """Record the failure once more, but ask no hook again; whether that worked."""
        try:
            handler = self._parts.registry.get(parse(work.raw)["class"])
            plain = handler and replace(handler, retry_in=None, retries_exhausted=None)
            self._parts.failures.failed(work, error, plain)
        except BaseException:
            return False
        self._fetcher.release()
        return True

    def process(self, work: UnitOfWork) -> None:
        parts = self._parts
        parts.work_state.take(self.tid, work.raw)
        job = self._load_or_bury(work)
        if job is None:
            parts.work_state.end(self.tid, failed=None)
            return
        name = job.get("wrapped") or job["class"]  # now: middleware may do with the job what it likes
        token = parts.job_logger.bind(job, work.queue)
        running = Running(work, job, parts.clock.now())
        parts.work_state.begin(self.tid, running)
        try:
            started = parts.clock.monotonic()
            if parts.threads is None:
                error = self._perform(job, work)
            else:
                error = parts.threads.perform(self._perform, job, work)
            if parts.forks.is_child:
                leave(error)
            ended = parts.clock.monotonic()
            elapsed = ended - started
            failed = self._settle(work, name, error, elapsed)
            parts.work_state.end(self.tid, failed=failed)
        finally:  # where that raised, the job is over once `_died` has settled it
            parts.job_logger.release(token)
        if ended - self._yielded_at > YIELD_AFTER:
            give_way(parts.clock, running.run_at)
            self._yielded_at = parts.clock.monotonic()

    def _load_or_bury(self, work: UnitOfWork) -> Payload | None:
        try:
            return parse(work.raw)
        except InvalidPayload as error:
            self._parts.failures.bury_invalid(work, error)
            self._settled_otherwise()
            self._parts.report.log(
                error, {"context": f"an entry of queue {work.queue} is dead", "job": work.raw}
            )
            return None

    def _perform(self, job: Payload, work: UnitOfWork) -> BaseException | None:
        """Run the handler inside the middleware; returns what was raised, whatever it was."""
        parts = self._parts
        try:
            if parts.job_logger.enabled:
                parts.job_logger.start(job)
            handler = parts.registry.lookup(job["class"])
            if parts.server_middleware:
                perform = partial(self._run, handler, job)
                self._dropped = not _ran_inside(parts.server_middleware, job, work.queue, perform)
            else:
                self._run(handler, job)
        except BaseException as error:  # sys.exit, KeyboardInterrupt and kills too: they end the job, not us
            parts.report.pass_on(error)
            return error
        return None

    def _run(self, handler: Handler, job: Payload) -> object:
        """Run the handler, and interrupt it when its time is over: where it waits, for it must give way."""
        seconds = handler.timeout
        if seconds is None:
            return handler.perform(job["args"])
        timeout = JobTimeout(f"{handler.name} ran for longer than its timeout, {seconds:g} s")
        if self._parts.threads is not None:
            return self._parts.threads.within(seconds, timeout, handler.perform, job["args"])
        with gevent.Timeout(seconds, timeout):
            return handler.perform(job["args"])

    def _settle(
        self, work: UnitOfWork, name: str, error: BaseException | None, elapsed: float
    ) -> bool | None:
        """Returns whether the job failed; None when it is not to be counted at all."""
        if error is None:
            self._parts.tracker.count(name, elapsed * 1000)
            self._in_hand = None
            self._fetcher.acknowledge(work)
            if self._parts.job_logger.enabled:
                self._log_end(elapsed)
            return False
        if self.is_interrupted and any(isinstance(cause, Shutdown) for cause in causes(error)):
            self._parts.tracker.count(name, None)
            self._parts.work_state.interrupted += 1
            self._parts.job_logger.interrupted(elapsed)
            raise Shutdown
        is_counted = self._record_failure(work, error, elapsed)
        if is_counted:
            self._parts.tracker.count(name, None)
        return is_counted or None

    def _settled_otherwise(self) -> None:
        self._in_hand = None
        self._fetcher.release()

    def _log_end(self, elapsed: float) -> None:
        if self._dropped:
            self._parts.job_logger.dropped(elapsed, "middleware")
        else:
            self._parts.job_logger.done(elapsed)

    def _record_failure(self, work: UnitOfWork, error: BaseException, elapsed: float) -> bool:
        """Returns whether it counts as a failure; a job that was handed back doesn't."""
        parts = self._parts
        job = parse(work.raw)
        was_interrupted = self.is_interrupted
        outcome = parts.failures.failed(work, error, parts.registry.get(job["class"]))
        self._settled_otherwise()
        verdict = outcome.verdict
        if self.is_interrupted and not was_interrupted and verdict is NOT_OURS:  # in a hook
            parts.work_state.interrupted += 1
        retry_in = verdict.at - parts.clock.now() if isinstance(verdict, Retry) else None
        parts.job_logger.fail(elapsed, error, retry_count=outcome.retry_count, retry_in=retry_in)
        parts.report(error, {"context": "job raised exception", "job": job})
        return outcome.verdict is not HANDED_BACK


def _ran_inside(
    links: Sequence[ServerMiddleware], job: Payload, queue: str, perform: Callable[[], object]
) -> bool:
    """Perform the job inside the middleware; False when a link didn't let it through."""
    ran = False

    def noted() -> object:
        nonlocal ran
        ran = True
        return perform()

    compose(links, (job, queue), noted)()
    return ran


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error and everything that led to it, each once."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def give_way(clock: Clock, since: float) -> bool:
    """Let fetch and other jobs have a turn, unless they had one since that epoch second; whether it did."""
    looked_at = gevent.get_hub().loop.now() + clock.skew  # gevent goes by this machine's clock
    had_a_turn = looked_at > since and abs(clock.now() - looked_at) <= LAG
    if not had_a_turn:
        gevent.sleep(0)
    return not had_a_turn
