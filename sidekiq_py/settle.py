"""Ends the claim of a job together with what becomes of it, in one script, however long Redis is away."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import gevent

from sidekiq_py import keys
from sidekiq_py.backoff import Backoff
from sidekiq_py.claims import UnitOfWork
from sidekiq_py.component import RedisState
from sidekiq_py.errors import OUTAGE, PoolExhausted, RedisDown, RedisError
from sidekiq_py.failpoint import failpoint
from sidekiq_py.kept_jobs import KeptJob, KeptJobs
from sidekiq_py.redis_connection import Arg, Redis, Reply
from sidekiq_py.scripts import Script

logger = logging.getLogger("sidekiq")


@dataclass(frozen=True)
class Settlement:
    """A script whose first key is the claim list, and which does nothing when the job isn't in it."""

    work: UnitOfWork
    script: Script
    others: Sequence[str]  # the keys after the claim list
    args: Sequence[Arg]
    not_ours: Reply  # what the script says when the job was not in the list
    source: str | None = None  # where the job is, if not in its claim list any more


class Settle:
    """Carries settlements out.

    While Redis is down, or others hold every connection, the greenlet that called waits, and tries again:
    each script works at most once.
    """

    def __init__(self, *, identity: str, redis: Redis, redis_state: RedisState, kept: KeptJobs) -> None:
        self._identity = identity
        self._redis = redis
        self._redis_state = redis_state
        self._kept = kept

    def __call__(self, settlement: Settlement, *, then: Callable[[], object] | None = None) -> bool:
        """Whether the job was ours to settle; `then` is called once it is settled.

        A job whose settlement Redis refuses counts as ours: it is kept, and settled when Redis takes it.
        """
        settle = partial(self._and_then, settlement, then)
        try:
            return settle()
        except RedisError as refusal:
            self.keep(settlement, refusal, settle)
            return True

    def keep(self, settlement: Settlement, refusal: RedisError, again: Callable[[], object]) -> None:
        """Redis refuses this settlement: `again` is called until it raises RedisError no more."""
        self._kept.keep(KeptJob(settlement.work, again), self._names(settlement), refusal)

    def reply(self, settlement: Settlement) -> Reply:
        """The same for a script that says more: its reply, or None when it worked and that was lost.

        Raises RedisError when Redis refuses.
        """
        backoff = Backoff()
        may_have_run = False
        work = settlement.work
        names = self._names(settlement)
        while True:
            failpoint("settle.send")
            try:
                reply = self._redis.run_script(settlement.script, names, settlement.args)
            except PoolExhausted:  # a Redis that hangs holds up all who settle: get in line once more
                continue
            except OUTAGE as error:
                may_have_run |= isinstance(error, RedisDown) and error.sent
                self._redis_state.went_down(error, work)
                gevent.sleep(backoff.next_pause())
            except gevent.Timeout:  # one that the job began and never cancelled
                may_have_run = True
            else:
                failpoint("settle.reply")
                self._redis_state.is_up(work)
                break
        if reply != settlement.not_ours:
            return reply
        if may_have_run:
            return None
        logger.warning("a failed job was not ours any more: it was rescued or put back, and runs again")
        return reply

    def _and_then(self, settlement: Settlement, then: Callable[[], object] | None) -> bool:
        is_ours = self.reply(settlement) != settlement.not_ours
        if is_ours and then is not None:
            then()
        return bool(is_ours)

    def _names(self, settlement: Settlement) -> list[str]:
        source = settlement.source or keys.claim(self._identity, settlement.work.queue)
        return [source, *settlement.others]
