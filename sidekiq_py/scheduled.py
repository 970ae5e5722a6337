"""Moves due jobs from the schedule and retry sets to their queues.

A job is in its set until the very step that puts it on its queue, so that a crash in between loses nothing
and any number of pollers, Ruby's too, may race. Ruby twin: Sidekiq::Scheduled::Poller.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from sidekiq_py import keys
from sidekiq_py.api.morgue import DeadLimits
from sidekiq_py.clock import Clock
from sidekiq_py.component import Component, ErrorReporter, RedisState
from sidekiq_py.config import Config
from sidekiq_py.dialect import timestamp_like
from sidekiq_py.errors import InvalidPayload, RedisError
from sidekiq_py.failpoint import failpoint
from sidekiq_py.mend import mend, shell_for
from sidekiq_py.middleware import Chain, ClientMiddleware, compose
from sidekiq_py.payload import Payload, fields, parse, rebuild, write_changes
from sidekiq_py.redis_connection import Arg, RedisConnection
from sidekiq_py.scripts import load
from sidekiq_py.surroundings import Surroundings

logger = logging.getLogger("sidekiq")

BATCH: Final = 100  # jobs a script moves at most, so that Redis is never held for long
LOOK_EVERY: Final = 1.0  # seconds between two looks at when the next job is due
PROCESSES_PER_LOOK: Final = 10  # above this many processes each looks less often, up to Ruby's interval
SPREAD: Final = (
    0.005  # seconds per live process, up to 0.25: who knows the same due time must not move as one
)
POSTPONE: Final = 60.0  # seconds until a job that client middleware choked on is tried again

_PROMOTE = load("promote")
_BURY = load("bury")


class Promotion(NamedTuple):
    """What the script needs to move one job; an empty payload drops it."""

    member: bytes
    queue: str
    payload: bytes


class Poller(Component):
    """Looks when the next job is due, and is there when it is. Runs in a greenlet with its own connection.

    Redis: `schedule`, `retry`, `queues`, `queue:*`; `dead` for entries that are no jobs.
    """

    def __init__(
        self,
        *,
        connection: RedisConnection,
        client_middleware: Chain[ClientMiddleware],
        surroundings: Surroundings,
        clock: Clock,
        redis_state: RedisState,
        report: ErrorReporter,
        poll_interval: Callable[[int], float],
        dead_limits: DeadLimits,
    ) -> None:
        super().__init__(redis_state=redis_state, report=report)
        self._connection = connection
        self._client_middleware = client_middleware
        self._surroundings = surroundings
        self._clock = clock
        self._poll_interval = poll_interval
        self._dead_limits = dead_limits
        self._complained: set[str] = set()
        self._has_trouble = False

    def tick(self) -> float:
        """Move what is due; returns the seconds until there is something to do, or to look again."""
        self._has_trouble = False
        self.enqueue_jobs()
        # What is due in a set that can't be polled stays due: looking at once again would only spin.
        return self._pause(None if self._has_trouble else self._next_due())

    def enqueue_jobs(self) -> None:
        """Move every job of both sets that is due now. The sets take turns, none waits for the other."""
        waiting = [keys.RETRY, keys.SCHEDULE]
        while waiting and not self._stopping.is_set():
            waiting = [name for name in waiting if self._enqueue_guarded(name)]

    def disconnect(self) -> None:
        self._connection.disconnect()

    def _enqueue_guarded(self, set_name: str) -> bool:
        try:
            more = self._enqueue_batch(set_name)
        except RedisError as error:  # its key has another type; the other set goes on
            self._has_trouble = True
            self._complain(set_name, f"{set_name} can't be polled: {error}")
            return False
        self._complained.discard(set_name)
        return more

    def _enqueue_batch(self, set_name: str) -> bool:
        """Move up to a hundred due jobs; returns whether there may be more."""
        now = self._clock.now()
        members = self._connection.call("ZRANGEBYSCORE", set_name, "-inf", repr(now), "LIMIT", 0, BATCH)
        found = [self._promotion(set_name, member, now) for member in members]
        promotions = [promotion for promotion in found if promotion is not None]
        words: list[Arg] = [word for promotion in promotions for word in promotion]
        if words:
            failpoint("promote.send")
        moved = self._connection.run_script(_PROMOTE, [set_name, keys.QUEUES], words) if words else 0
        if moved:
            failpoint("promote.reply")
        if moved < len(promotions):
            self._postpone_stuck(set_name, promotions, now)
        # Nothing moved: another poller was faster, and has the rest too.
        return bool(moved) and len(members) == BATCH

    def _promotion(self, set_name: str, member: bytes, now: float) -> Promotion | None:
        """What the script needs to move this member; None when it can't be promoted now."""
        try:
            job = parse(member)
        except InvalidPayload as error:
            self._bury(set_name, member, error, now)
            return None
        before = parse(member)  # not a deep copy of `job`: that gives up on nesting that JSON allows
        try:
            passed = self._prepare(job, now)
            if passed is None:
                return Promotion(member, str(job.get("queue")), b"")
            stored = fields(member)
            write_changes(stored, before, passed)
        except Exception as error:
            self._report.log(error, {"context": "client middleware failed at promotion", "job": before})
            self._postpone(set_name, member, now)
            return None
        return Promotion(member, passed["queue"], rebuild(stored))

    def _prepare(self, job: Payload, now: float) -> Payload | None:
        """The job as it goes onto a queue now; None when client middleware stops it."""
        _name_queue(job)
        job.setdefault("retry", True)
        dialect = self._surroundings.dialect
        mend(job, dialect)
        job.setdefault("created_at", dialect.timestamp(now))
        passed = compose(self._client_middleware, (job["class"], job, job["queue"]), lambda: job)()
        if not passed:
            return None
        job = passed if isinstance(passed, dict) else job  # a link may return another, as at a push
        _name_queue(job)
        job["enqueued_at"] = timestamp_like(job.get("created_at"), now, dialect)
        return job

    def _postpone(self, set_name: str, member: bytes, now: float) -> None:
        self._connection.call("ZADD", set_name, "XX", repr(now + POSTPONE), member)

    def _postpone_stuck(self, set_name: str, promotions: Sequence[Promotion], now: float) -> None:
        """Jobs that are still there did not move because their queue's key is no list: out of the way."""
        looks = self._connection.pipeline([("ZSCORE", set_name, each.member) for each in promotions])
        for promotion, score in zip(promotions, looks, strict=True):
            if isinstance(score, bytes) and float(score) <= now:
                key = keys.queue(promotion.queue)
                self._complain(key, f"jobs of {set_name} can't go to {key!r}, which is not a list")
                self._postpone(set_name, promotion.member, now)

    def _complain(self, key: str, sentence: str) -> None:
        if key not in self._complained:
            self._complained.add(key)
            logger.error("%s", sentence)

    def _bury(self, set_name: str, member: bytes, error: InvalidPayload, now: float) -> None:
        """Ruby would take such an entry out, raise, and lose it."""
        failed_at = self._surroundings.dialect.timestamp(now)
        stored = shell_for(member, queue="default", reason=str(error), failed_at=failed_at)
        args = self._dead_limits.bury_args("zset", now=now, jobs=[(member, stored)])
        try:
            moved = self._connection.run_script(_BURY, [set_name, keys.DEAD], args)
        except RedisError as refused:
            self._complain(keys.DEAD, f"what is no job can't go to {keys.DEAD!r}: {refused}")
            self._postpone(set_name, member, now)
            return
        if moved:
            logger.error("an entry of %s is no job (%s); it is in the dead set now", set_name, error)

    def _next_due(self) -> float | None:
        """The earliest due time in either set, epoch seconds."""
        looks = self._connection.pipeline(
            [("ZRANGE", name, 0, 0, "WITHSCORES") for name in (keys.RETRY, keys.SCHEDULE)]
        )
        for reply in looks:
            if isinstance(reply, Exception):
                raise reply
        return min((float(reply[1]) for reply in looks if reply), default=None)

    def _pause(self, next_due: float | None) -> float:
        processes = self._surroundings.process_count
        rest = LOOK_EVERY * max(1.0, processes / PROCESSES_PER_LOOK) * random.uniform(0.5, 1.5)
        rest = min(rest, self._poll_interval(processes))
        if next_due is None:
            return rest
        spread = random.uniform(0, min(SPREAD * (processes - 1), 0.25))
        return min(max(next_due - self._clock.now(), 0.0) + spread, rest)


def poll_interval(config: Config, process_count: int) -> float:
    """Ruby's average wait between two polls of one process, seconds: never look less often than that."""
    own = config.poll_interval_average
    return config.average_scheduled_poll_interval * max(process_count, 1) if own is None else own


def _name_queue(job: Payload) -> None:
    if not isinstance(queue := job.get("queue"), str) or not queue:
        job["queue"] = "default"
