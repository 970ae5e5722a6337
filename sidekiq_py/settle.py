"""Ends the claim of a job together with what becomes of it, in one script, however long Redis is away."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import gevent

from sidekiq_py import keys
from sidekiq_py.backoff import Backoff
from sidekiq_py.claims import UnitOfWork
from sidekiq_py.component import RedisState
from sidekiq_py.errors import OUTAGE, PoolExhausted, RedisDown
from sidekiq_py.failpoint import failpoint
from sidekiq_py.redis_connection import Arg, Redis, Reply
from sidekiq_py.scripts import Script

logger = logging.getLogger("sidekiq")


class Settle:
    """Runs scripts whose first key is the claim list and which do nothing when the job isn't in it.

    While Redis is down, or others hold every connection, the greenlet that called waits, and tries again:
    each script works at most once.
    """

    def __init__(self, *, identity: str, redis: Redis, redis_state: RedisState) -> None:
        self._identity = identity
        self._redis = redis
        self._redis_state = redis_state

    def __call__(
        self, script: Script, work: UnitOfWork, others: Sequence[str], args: Sequence[Arg], *, not_ours: Reply
    ) -> bool:
        """Whether the job was ours to settle; `not_ours` is what the script says when it was not.

        Raises RedisError when Redis refuses for good.
        """
        return bool(self.reply(script, work, others, args, not_ours=not_ours) != not_ours)

    def reply(
        self, script: Script, work: UnitOfWork, others: Sequence[str], args: Sequence[Arg], *, not_ours: Reply
    ) -> Reply:
        """The same for a script that says more: its reply, or None when it worked and that was lost."""
        backoff = Backoff()
        may_have_run = False
        claim = keys.claim(self._identity, work.queue)
        while True:
            failpoint("settle.send")
            try:
                reply = self._redis.run_script(script, [claim, *others], args)
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
        if reply != not_ours:
            return reply
        if may_have_run:
            return None
        logger.warning("a failed job was not ours any more: it was rescued or put back, and runs again")
        return reply
