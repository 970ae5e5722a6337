"""Into the dead set: how much is kept there, and the one way in.

Ruby twin: Sidekiq::DeadSet#kill.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from sidekiq_py import keys
from sidekiq_py.config import DEAD_TIMEOUT
from sidekiq_py.redis_connection import Arg, Redis
from sidekiq_py.scripts import load

BURY: Final = load("bury")


@dataclass(frozen=True, kw_only=True)
class DeadLimits:
    """How much the dead set keeps. Counts as Ruby counts: of `max_jobs` one less stays."""

    max_jobs: int = 10_000
    timeout_in_seconds: float = DEAD_TIMEOUT

    def bury_args(self, kind: Source, *, now: float, jobs: Iterable[tuple[bytes, bytes]]) -> list[Arg]:
        """Arguments of the script `bury` for pairs of (member in the source, payload to store)."""
        words: list[Arg] = [kind, repr(now), repr(now - self.timeout_in_seconds), self.max_jobs]
        for pair in jobs:
            words += pair
        return words

    def bury(
        self, redis: Redis, source: str, kind: Source, *, now: float, jobs: Iterable[tuple[bytes, bytes]]
    ) -> list[int]:
        """Move jobs from a list or a sorted set into `dead`, then trim it, in one step.

        Returns the positions (from 0) of those that were still in the source.
        """
        moved = redis.run_script(_BURY, [source, keys.DEAD], self.bury_args(kind, now=now, jobs=jobs))
        return [position - 1 for position in moved]
