"""Hands out suspects one at a time, instead of fetching: jobs that ran when their process died.

Each is taken over from the dead process's claim list; one that somebody else has taken meanwhile is skipped.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from sidekiq_py import keys
from sidekiq_py.capsule import Capsule
from sidekiq_py.claims import UnitOfWork
from sidekiq_py.errors import OUTAGE, PoisonPill, RedisError
from sidekiq_py.fetch import POLL_SKIPPED, Fetcher
from sidekiq_py.kept_jobs import KeptJobs
from sidekiq_py.redis_connection import Command, Redis, Reply
from sidekiq_py.scripts import load
from sidekiq_py.suspects import MOST_CRASHES, Suspect, acquit, jid_of

logger = logging.getLogger("sidekiq")

_ADOPT: Final = load("adopt")


def alone_capsule(suspects: Sequence[Suspect]) -> Capsule:
    """A capsule of one processor for the suspects' queues."""
    queues = list(dict.fromkeys(suspect.queue for suspect in suspects))
    return Capsule(name="suspects", concurrency=1, queues=[[name] for name in queues])


class SuspectFetcher(Fetcher):
    """Like any fetcher to its processor. Quiet by itself when the last suspect is done: `on_through`.

    Redis: claim lists, `sidekiq-py:crashes:*`.
    """

    def __init__(
        self,
        suspects: Sequence[Suspect],
        *,
        redis: Redis,
        kept: KeptJobs,
        convict: Callable[[UnitOfWork, PoisonPill, Callable[[], object]], object],
        on_through: Callable[[], object] = lambda: None,
        **surroundings: Any,
    ) -> None:
        super().__init__(most_ahead=0, **surroundings)
        self._suspects = deque(suspects)
        self._redis = redis
        self._kept = kept
        self._convict = convict
        self._on_through = on_through
        self._at_trial: Suspect | None = None

    def release(self) -> None:
        """The suspect has run to its end, well or not: it killed nobody."""
        suspect, self._at_trial = self._at_trial, None
        super().release()
        if suspect is not None:
            self._forget_crashes(suspect)

    def _fetch_order(self) -> list[str]:
        return [self._suspects[0].queue] if self._suspects else []

    def _fetch_command(self, order: Sequence[str], free: int) -> Command:
        suspect = self._suspects[0]
        claims = [keys.claim(self._identity, suspect.queue)]
        return _ADOPT.command(
            [self._identity, keys.claim(suspect.identity, suspect.queue), *claims], [suspect.raw]
        )

    def _take(self, order: Sequence[str], reply: Reply) -> int:
        if isinstance(reply, Exception):
            return super()._take(order, reply)
        suspect = self._suspects.popleft()
        if not reply:
            return 0
        if suspect.is_convicted:
            self._bury(suspect)
            return 1
        self._log(suspect)
        self._at_trial = suspect
        return super()._take(order, [[suspect.raw]])

    def _bury(self, suspect: Suspect) -> None:
        """Where Redis refuses, the job is kept: it must not run meanwhile."""
        work = UnitOfWork(suspect.queue, suspect.raw)
        self._held += 1
        try:
            self._convict(work, _verdict(suspect), partial(self._buried, suspect))
        except BaseException:  # its turn comes again, after all others
            self._suspects.append(suspect._replace(identity=self._identity))
            raise
        finally:
            super().release()

    def _buried(self, suspect: Suspect) -> None:
        self._log(suspect)
        self._forget_crashes(suspect)  # whoever retries it from the dead set begins anew

    def _wait_idle(self, free: int) -> None:
        if self._suspects:
            return
        if self._kept.works():  # were this process to end, they would run among others
            self._wake.wait(POLL_SKIPPED)
        else:
            self._on_through()
            self.quiet()

    def _forget_crashes(self, suspect: Suspect) -> None:
        try:
            acquit(self._redis, suspect.raw)
        except (RedisError, *OUTAGE):
            return  # in 72 hours they are forgotten anyway

    def _log(self, suspect: Suspect) -> None:
        logger.warning(
            "jid=%s: %s (crash %d of %d): %s",
            jid_of(suspect.raw) or "?",
            suspect.story,
            suspect.crashes,
            MOST_CRASHES,
            "it is dead now" if suspect.is_convicted else "it runs again, alone in its process",
        )


def _verdict(suspect: Suspect) -> PoisonPill:
    return PoisonPill(
        f"{suspect.crashes} processes died while they ran this job, the last of them with no other job: "
        f"{suspect.story}"
    )
