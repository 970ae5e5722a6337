"""Into the dead set: how much is kept there, and the one way in.

Ruby twin: Sidekiq::DeadSet#kill.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from sidekiq_py import keys
from sidekiq_py.api.job_record import JobRecord
from sidekiq_py.config import DEAD_TIMEOUT, DeathHandler
from sidekiq_py.dialect import UNKNOWN
from sidekiq_py.errors import SidekiqError
from sidekiq_py.mend import shell_for
from sidekiq_py.redis_connection import Arg, Redis
from sidekiq_py.scripts import load

logger = logging.getLogger("sidekiq")

SourceType: TypeAlias = Literal["list", "zset"]

_BURY: Final = load("bury")


class JobKilled(SidekiqError):
    """A person or a program moved the job to the dead set: what death handlers get for an error."""


@dataclass(frozen=True, kw_only=True)
class DeadLimits:
    """How much the dead set keeps. Counts as Ruby counts: of `max_jobs` one less stays."""

    max_jobs: int = 10_000
    timeout_in_seconds: float = DEAD_TIMEOUT

    def bury_args(
        self, source_type: SourceType, *, now: float, jobs: Iterable[tuple[bytes, bytes]]
    ) -> list[Arg]:
        """Arguments of the script `bury` for pairs of (member in the source, payload to store)."""
        words: list[Arg] = [source_type, repr(now), repr(now - self.timeout_in_seconds), self.max_jobs]
        for pair in jobs:
            words += pair
        return words


def kill(
    redis: Redis,
    records: Sequence[JobRecord],
    *,
    source: str,
    source_type: SourceType,
    limits: DeadLimits,
    death_handlers: Sequence[DeathHandler],
    now: float,
) -> int:
    """Move jobs from a list or sorted set to `dead` and trim that, in one step; then tell the death handlers.

    Returns how many were still in the source; only of these the handlers hear, with a JobKilled. Raises
    RedisDown; after it asking again is safe.
    """
    jobs = [(record.raw, _to_store(record, now)) for record in records]
    moved = redis.run_script(_BURY, [source, keys.DEAD], limits.bury_args(source_type, now=now, jobs=jobs))
    for position in moved:
        _tell(death_handlers, records[position - 1])
    return len(moved)


def _to_store(record: JobRecord, now: float) -> bytes:
    if record.problem is None:
        return record.raw
    return shell_for(
        record.raw,
        queue=record.queue or "default",
        reason=record.problem,
        failed_at=UNKNOWN.timestamp(now),
    )


def _tell(death_handlers: Sequence[DeathHandler], record: JobRecord) -> None:
    if record.problem is not None:  # as Ruby: handlers are spared what nobody can read
        return
    for handler in death_handlers:
        try:
            handler(record.payload, JobKilled("job killed through the API"))
        except Exception:  # one broken handler must not keep the job from the others
            logger.exception("a death handler failed for job %s", record.jid)
