"""Moves due jobs from the schedule and retry sets to their queues.

A job is in its set until the very step that puts it on its queue, so that a crash in between loses nothing
and any number of pollers, Ruby's too, may race. Ruby twin: Sidekiq::Scheduled::Poller.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from gevent.event import Event

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
from sidekiq_py.user_code import called

logger = logging.getLogger("sidekiq")

SETS: Final = (keys.RETRY, keys.SCHEDULE)
BATCH: Final = 100  # jobs a script moves at most, so that Redis is never held for long
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
    """Is there when a job is due. Runs in a greenlet with its own connection.

    When that is, it learns from the beat, which looks every second; should that fall silent, the poller looks
    itself as often as Ruby's would.

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
        call: Callable[..., Payload | None] = called,
    ) -> None:
        super().__init__(redis_state=redis_state, report=report)
        self._connection = connection
        self._client_middleware = client_middleware
        self._surroundings = surroundings
        self._clock = clock
        self._poll_interval = poll_interval
        self._dead_limits = dead_limits
        self._call = call
        self._complained: set[str] = set()
        self._healthy: set[str] = set()  # the sets that could be polled in this tick
        self._due = math.inf  # the earliest due time known, epoch seconds
        self._look_at = 0.0  # monotonic seconds
        self._news = Event()

    def hear_of_due(self, due: float) -> None:
        """The beat has just looked: the next job is due then. On the hub's thread."""
        self._due = min(self._due, due)
        if not self._redis_state.is_down:  # else the pauses of an outage go on
            self._look_at = self._clock.monotonic() + self._pause()
            self._news.set()

    def quiet(self) -> None:
        super().quiet()
        self._news.set()

    def tick(self) -> float:
        """Move what is due; returns the seconds until there is something to do, or to look again.

        The sets take turns, a batch each: neither waits for the other, however long that is.
        """
        self._due, self._healthy = math.inf, set(SETS)
        due: dict[str, float] = {}
        has_moved = True
        while has_moved and not self._stopping.is_set():
            due, now = self._look(), self._clock.now()
            ready = [name for name in due if due[name] <= now and name in self._healthy]
            has_moved = any([self._enqueue_guarded(name) for name in ready])
        self._complained -= self._healthy
        # What is due in a set that can't be polled stays due: looking at once again would only spin.
        if len(self._healthy) == len(SETS):
            self._due = min(self._due, *due.values(), math.inf)
        return self._pause()

    def disconnect(self) -> None:
        self._connection.disconnect()

    def _rest(self, seconds: float) -> None:
        """Until it is time to look; what is heard meanwhile may change when that is."""
        self._look_at = self._clock.monotonic() + seconds
        while not self._stopping.is_set() and (left := self._look_at - self._clock.monotonic()) > 0:
            self._news.wait(left)
            self._news.clear()

    def _look(self) -> dict[str, float]:
        """The earliest due time in each set that has one, epoch seconds."""
        looks = self._connection.pipeline([("ZRANGE", name, 0, 0, "WITHSCORES") for name in SETS])
        due = {}
        for name, reply in zip(SETS, looks, strict=True):
            if isinstance(reply, RedisError):  # its key has another type; the other set goes on
                self._has_trouble(name, reply)
            elif isinstance(reply, Exception):
                raise reply
            elif reply:
                due[name] = float(reply[1])
        return due

    def _enqueue_guarded(self, set_name: str) -> bool:
        try:
            return self._enqueue_batch(set_name)
        except RedisError as error:
            self._has_trouble(set_name, error)
            return False

    def _has_trouble(self, set_name: str, error: RedisError) -> None:
        self._healthy.discard(set_name)
        self._complain(set_name, f"{set_name} can't be polled: {error}")

    def _enqueue_batch(self, set_name: str) -> bool:
        """Move up to a hundred due jobs; returns whether any moved: if none, another poller was faster."""
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
        return bool(moved)

    def _promotion(self, set_name: str, member: bytes, now: float) -> Promotion | None:
        """What the script needs to move this member; None when it can't be promoted now."""
        try:
            job = parse(member)
        except InvalidPayload as error:
            self._bury(set_name, member, error, now)
            return None
        before = parse(member)  # not a deep copy of `job`: that gives up on nesting that JSON allows
        try:
            passed = self._call(self._prepare, job, now)
            if passed is None:
                return Promotion(member, str(job.get("queue")), b"")
            stored = fields(member)
            write_changes(stored, before, passed)
        except BaseException as error:  # the links are the application's
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

    def _pause(self) -> float:
        processes = self._surroundings.process_count
        rest = self._poll_interval(processes) * random.uniform(0.5, 1.0)
        spread = random.uniform(0, min(SPREAD * (processes - 1), 0.25))
        return min(max(self._due - self._clock.now(), 0.0) + spread, rest)


def poll_interval(config: Config, process_count: int) -> float:
    """Ruby's average wait between two polls of one process, seconds: never look less often than that."""
    own = config.poll_interval_average
    return config.average_scheduled_poll_interval * max(process_count, 1) if own is None else own


def _name_queue(job: Payload) -> None:
    if not isinstance(queue := job.get("queue"), str) or not queue:
        job["queue"] = "default"
