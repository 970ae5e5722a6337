"""Failed jobs that Redis refuses to record, such as when somebody has made a string of the key `retry`.

Each stays in its claim list, and its record is tried again with every beat until it works. What the job, its
hooks and its middleware had to say about the failure was heard once; only the writing is repeated.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sidekiq_py.claims import UnitOfWork
from sidekiq_py.component import Component, ErrorReporter, RedisState
from sidekiq_py.errors import OUTAGE, RedisError
from sidekiq_py.redis_connection import Redis

logger = logging.getLogger("sidekiq")


@dataclass(frozen=True, eq=False)
class KeptJob:
    """`record` raises RedisError while it is refused; what it returns doesn't matter."""

    work: UnitOfWork
    record: Callable[[], object]


class KeptJobs(Component):
    """Tries once per heartbeat, also while the process is quiet. Redis: what the records touch."""

    def __init__(self, *, redis: Redis, every: float, redis_state: RedisState, report: ErrorReporter) -> None:
        super().__init__(redis_state=redis_state, report=report)
        self._redis = redis
        self._every = every
        self._kept: list[KeptJob] = []
        self._told: set[str] = set()  # what the log was told since the last time that nothing was kept

    def keep(self, job: KeptJob, names: Sequence[str], refusal: RedisError) -> None:
        """Record this job when Redis allows it. `names` are the keys: its claim list, then where it goes."""
        self._kept.append(job)
        trouble = self._trouble(names, refusal)
        if trouble not in self._told:
            self._told.add(trouble)
            logger.error(
                "%s. Failed jobs stay claimed meanwhile; each is recorded within %g s of the repair, "
                "without a restart",
                *(trouble, self._every),
            )

    def holds(self, work: UnitOfWork) -> bool:
        """Whether this job still waits for its record."""
        return any(each.work is work for each in self._kept)

    def works(self) -> list[UnitOfWork]:
        """All that wait."""
        return [each.work for each in self._kept]

    def quiet(self) -> None:
        """Go on: a failed job is still to be recorded."""

    def stop(self, timeout: float | None = None) -> None:
        """End; what is still claimed then goes back to its queue."""
        super().quiet()
        super().stop(timeout)

    def tick(self) -> float:
        before = list(self._kept)
        for each in before:
            try:
                each.record()
            except RedisError:
                continue
            self._kept.remove(each)
        if recorded := sum(not self.holds(each.work) for each in before):
            logger.info("%d failed jobs that Redis had refused are recorded now", recorded)
        if not self._kept:
            self._told.clear()
        return self._every

    def _tell_that_redis_serves(self) -> None:
        """Each record that works tells that itself; a tick without any knows nothing of Redis."""

    def _trouble(self, names: Sequence[str], refusal: RedisError) -> str:
        """What is wrong, and what to do about it where that is clear."""
        claim, *others = names
        looks = [("LRANGE", claim, 0, 0), *(("ZCARD", name) for name in others[:1])]
        try:
            replies = self._redis.pipeline(looks)
        except (RedisError, *OUTAGE):
            replies = []
        for name, reply in zip(names, replies, strict=False):
            if isinstance(reply, RedisError):
                kind = "list" if name == claim else "sorted set"
                return f"the key {name!r} is no {kind} ({reply}): rename or delete it"
        return f"Redis refuses to record failures in {others or [claim]} ({refusal})"
