"""Records what became of a failed job: the set it belongs in, the hooks it has.

There is one writer for each set, and each write also ends the claim: the job is in exactly one place.
Ruby twin: the half of Sidekiq::JobRetry that talks to Redis.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from sidekiq_py import keys
from sidekiq_py.api.morgue import DeadLimits
from sidekiq_py.claims import UnitOfWork
from sidekiq_py.clock import Clock
from sidekiq_py.component import ErrorReporter
from sidekiq_py.config import BacktraceCleaner, DeathHandler, UnknownClass
from sidekiq_py.dialect import milliseconds
from sidekiq_py.errors import InvalidPayload, PoisonPill, RedisError, UnknownJobClass
from sidekiq_py.failure_fields import FailureFields
from sidekiq_py.job_retry import (
    Discard,
    Kill,
    Retry,
    RetryIn,
    Verdict,
    Wish,
    decide,
    read_wish,
)
from sidekiq_py.mend import mend, shell_for
from sidekiq_py.payload import (
    Fields,
    Payload,
    parse,
    rebuild,
)
from sidekiq_py.registry import Handler
from sidekiq_py.ruby_json import unreadable_by_ruby
from sidekiq_py.scripts import load
from sidekiq_py.settle import Settle, Settlement
from sidekiq_py.surroundings import Surroundings
from sidekiq_py.user_code import shown

HAND_BACK_AFTER: Final = 10.0  # seconds until another process may meet a job whose class we don't know
MOST_HAND_BACKS: Final = 100  # then it fails like any job of an unknown class
HAND_BACKS_TTL: Final = 24 * 60 * 60

HANDED_BACK: Final = Discard("handed back: another process may know the class")
NOT_OURS: Final = Discard("its claim is gone: it was rescued or put back, and runs again")

logger = logging.getLogger("sidekiq")

_ACKNOWLEDGE = load("acknowledge")
_RESCHEDULE = load("reschedule")
_BURY = load("bury")
_HAND_BACK = load("hand_back")
_TAKE_OUT = load("take_out")
_TOO_OFTEN: Final = -1


@dataclass(frozen=True, kw_only=True)
class FailureOptions:
    """What the configuration says about failures; see `Config` for each."""

    max_retries: int = 25
    dead_limits: DeadLimits = DeadLimits()
    unknown: UnknownClass = "retry"
    backtrace_cleaner: BacktraceCleaner = list
    death_handlers: tuple[DeathHandler, ...] | list[DeathHandler] = ()


@dataclass(frozen=True)
class Outcome:
    """What was done about a failure, for the log: the verdict, and the count of this failure if it counts."""

    verdict: Verdict
    retry_count: int | None = None


class FailureRecorder:
    """Records failures. A job is in its claim list until the record is written, in one step with its removal.

    Redis: LREM on the claim list, ZADD on `retry`, on `dead` (and its trimming) or on `schedule` for a job
    handed back. While Redis is down the failed job waits here, its slot taken. One whose record is refused is
    kept, see `KeptJobs`, and recorded later as was decided now.
    """

    def __init__(
        self,
        *,
        settle: Settle,
        options: FailureOptions,
        clock: Clock,
        report: ErrorReporter,
        surroundings: Surroundings,
    ) -> None:
        self._options = options
        self._clock = clock
        self._settled = settle
        self._report = report
        self._surroundings = surroundings
        self._fields = FailureFields(
            surroundings=surroundings, backtrace_cleaner=options.backtrace_cleaner, report=report
        )

    def failed(self, work: UnitOfWork, error: BaseException, handler: Handler | None) -> Outcome:
        """Record that this job raised `error`. Then it has left its claim list, or is kept."""
        job = parse(work.raw)  # as it was fetched: what middleware or the handler did to it doesn't persist
        if isinstance(error, UnknownJobClass) and self._is_handed_back(work, job, error):
            return Outcome(HANDED_BACK)
        if job.get("retry") is None:
            job["retry"] = handler.options.get("retry", True) if handler else True
        if job["retry"] is False:
            self._drop(work, job, error)
            return Outcome(Discard("retry is false"))
        return self._count_failure(work, job, error, handler)

    def bury_invalid(self, work: UnitOfWork, error: InvalidPayload) -> None:
        """Move bytes that no server could run to the dead set; see `shell_for` for the form they take."""
        now = self._clock.now()
        failed_at = self._surroundings.dialect.timestamp(now)
        self._bury(work, shell_for(work.raw, queue=work.queue, reason=str(error), failed_at=failed_at))

    def convicted(
        self,
        work: UnitOfWork,
        error: PoisonPill,
        handler_of: Callable[[str], Handler | None],
        buried: Callable[[], object],
    ) -> None:
        """Move a job that keeps killing its process to the dead set, whatever its `retry` says.

        At once and as it is, for to note the failure or to ask a hook may be what kills. Then `buried` is
        called, and the entry completed, or taken out again where the handler says so.
        """
        self._bury(work, work.raw, then=partial(self._complete, work, error, handler_of, buried))

    def _count_failure(
        self, work: UnitOfWork, job: Payload, error: BaseException, handler: Handler | None
    ) -> Outcome:
        now = self._clock.now()
        self._fields.note(job, work.queue, error, now)
        retry_count: int = job["retry_count"]
        stored = self._fields.stored_form(work, job)
        verdict = self._decide(job, error, handler, now)
        if handler and handler.retry_in:
            stored = self._fields.with_changes_of_hook(stored, job)
        if isinstance(verdict, Retry) and self._would_be_lost(rebuild(stored)):
            verdict = Kill()
        if isinstance(verdict, Retry):
            args = (work.raw, rebuild(stored), repr(verdict.at))
            retry = Settlement(work, _RESCHEDULE, [keys.RETRY], args, not_ours=0)
            verdict = verdict if self._settled(retry) else NOT_OURS
        elif isinstance(verdict, Kill):
            verdict = self._kill(work, job, stored, error=error, handler=handler)
        else:
            self._discard(work, job, error)
        return Outcome(verdict, retry_count)

    # -- the decision --------------------------------------------------------------------------------

    def _decide(self, job: Payload, error: BaseException, handler: Handler | None, now: float) -> Verdict:
        if isinstance(error, UnknownJobClass) and self._options.unknown == "dead":
            return Kill()
        hook = self._retry_in(job, error, handler) if handler and handler.retry_in else None
        return decide(job, now=now, retry_in=hook, max_retries=self._options.max_retries)

    def _retry_in(self, job: Payload, error: BaseException, handler: Handler) -> RetryIn:
        def ask(count: int) -> Wish:
            answer = self._ask(handler, "retry_in", (count, error, job), job)
            context = {"context": f"what retry_in of {handler.name} said can't be read", "job": job}
            return self._report.guarded(_understood, handler, answer, context=context, otherwise=None)

        return ask

    def _ask(self, handler: Handler, hook: str, arguments: tuple[object, ...], job: Payload) -> object:
        """What a handler's hook says; None when it has none, or when it raises, which is reported."""
        if (function := getattr(handler, hook)) is None:
            return None
        context = {"context": f"{hook} of {handler.name} failed", "job": job}
        return self._report.guarded(function, *arguments, context=context, otherwise=None)

    def _would_be_lost(self, stored: bytes) -> bool:
        """Ruby's poller takes an entry out before it parses it: what it can't parse, it loses."""
        return self._surroundings.ruby_is_here and unreadable_by_ruby(stored) is not None

    # -- the ways a job leaves -------------------------------------------------------------------------

    def _kill(
        self,
        work: UnitOfWork,
        job: Payload,
        stored: Fields,
        *,
        error: BaseException,
        handler: Handler | None,
    ) -> Verdict:
        if reason := self._why_discarded(job, error, handler):
            self._discard(work, job, error)
            return Discard(reason)
        stored = self._fields.with_changes_of_hook(stored, job)
        tell = partial(self._tell_death_handlers, job, error)
        return Kill() if self._bury(work, rebuild(stored), then=tell) else NOT_OURS

    def _why_discarded(self, job: Payload, error: BaseException, handler: Handler | None) -> str:
        """Why the job leaves no trace in the dead set; empty when it does."""
        wish = self._ask(handler, "retries_exhausted", (job, error), job) if handler else None
        if wish == "discard":
            return "retries_exhausted says discard"
        return "dead is false" if job.get("dead") is False else ""

    def _discard(self, work: UnitOfWork, job: Payload, error: BaseException) -> None:
        job["discarded_at"] = milliseconds(self._clock.now())  # only death handlers see it
        self._drop(work, job, error)

    def _drop(self, work: UnitOfWork, job: Payload, error: BaseException) -> None:
        acknowledge = Settlement(work, _ACKNOWLEDGE, [], [1, work.raw], not_ours=1)
        self._settled(acknowledge, then=partial(self._tell_death_handlers, job, error))

    def _bury(self, work: UnitOfWork, stored: bytes, *, then: Callable[[], object] | None = None) -> bool:
        args = self._options.dead_limits.bury_args("list", now=self._clock.now(), jobs=[(work.raw, stored)])
        bury = Settlement(work, _BURY, [keys.DEAD], args, not_ours=[])
        return self._settled(bury, then=then)

    def _complete(
        self,
        work: UnitOfWork,
        error: PoisonPill,
        handler_of: Callable[[str], Handler | None],
        buried: Callable[[], object],
    ) -> None:
        """Do for a convict what is done for other jobs before they are buried."""
        buried()
        now = self._clock.now()
        try:
            job = parse(work.raw)
        except InvalidPayload as problem:
            failed_at = self._surroundings.dialect.timestamp(now)
            shell = shell_for(work.raw, queue=work.queue, reason=str(problem), failed_at=failed_at)
            self._rewrite(work, work.raw, shell)
            return
        self._fields.note(job, work.queue, error, now)
        stored = self._fields.stored_form(work, job)
        noted = rebuild(stored)
        self._rewrite(work, work.raw, noted)
        if self._why_discarded(job, error, handler_of(str(job["class"]))):
            job["discarded_at"] = milliseconds(self._clock.now())
            self._settled(Settlement(work, _TAKE_OUT, [], [noted], not_ours=None, source=keys.DEAD))
        else:
            self._rewrite(work, noted, rebuild(self._fields.with_changes_of_hook(stored, job)))
        self._tell_death_handlers(job, error)
        self._report(error, {"context": "a job keeps killing its process", "job": job})

    def _rewrite(self, work: UnitOfWork, before: bytes, after: bytes) -> None:
        """Replace an entry of the dead set."""
        if after != before:
            args = self._options.dead_limits.bury_args("zset", now=self._clock.now(), jobs=[(before, after)])
            self._settled(Settlement(work, _BURY, [keys.DEAD], args, not_ours=None, source=keys.DEAD))

    def _is_handed_back(self, work: UnitOfWork, job: Payload, error: UnknownJobClass) -> bool:
        """Give a job of an unknown class to the others: uncounted, later, and not for ever."""
        if self._options.unknown != "handback":
            return False
        if not isinstance(queue := job.get("queue"), str) or not queue:
            job["queue"] = work.queue
        mend(job, self._surroundings.dialect)  # whoever promotes it may be a Ruby
        stored = rebuild(self._fields.stored_form(work, job))
        if self._would_be_lost(stored):
            return False
        due = self._clock.now() + HAND_BACK_AFTER
        others = [keys.SCHEDULE, keys.hand_backs(str(job.get("jid")))]
        args = (work.raw, stored, repr(due), MOST_HAND_BACKS, HAND_BACKS_TTL)
        hand_back = Settlement(work, _HAND_BACK, others, args, not_ours=0)
        try:
            return bool(self._settled.reply(hand_back) != _TOO_OFTEN)
        except RedisError as refusal:
            self._settled.keep(hand_back, refusal, partial(self.failed, work, error, None))
            return True

    def _tell_death_handlers(self, job: Payload, error: BaseException) -> None:
        for handler in self._options.death_handlers:
            context = {"context": "a death handler failed", "job": job}
            self._report.guarded(handler, job, error, context=context, otherwise=None)


def _understood(handler: Handler, answer: object) -> Wish:
    wish = read_wish(answer)
    if wish is None and answer is not None:
        logger.warning(
            "retry_in of %s said %s; the usual delay is taken. It may say seconds from 1 on, a timedelta, "
            "'kill', 'discard' or None",
            *(handler.name, shown(answer)),
        )
    return wish
