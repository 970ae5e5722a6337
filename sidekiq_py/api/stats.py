"""The numbers of the whole installation, at one moment and day by day.

Ruby twins: Sidekiq::Stats, Sidekiq::Stats::History.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Final

from sidekiq_py import keys
from sidekiq_py.api.queue import latency_of
from sidekiq_py.api.round_trip import names, read, whole_number
from sidekiq_py.clock import Clock
from sidekiq_py.redis_connection import Redis, usable

LONGEST_HISTORY: Final = 5 * 365  # days; older counters have expired
RESETTABLE: Final = ("processed", "failed")


@dataclass(frozen=True, kw_only=True)
class Stats:
    """All numbers at the moment of `fetch`. Counters lag behind by up to one heartbeat (10 s)."""

    processed: int  # since ever, failures among them
    failed: int
    scheduled_size: int
    retry_size: int
    dead_size: int
    processes_size: int  # live ones
    workers_size: int  # running jobs
    enqueued: int  # jobs on all queues
    default_queue_latency: float  # seconds
    queues: dict[str, int] = field(repr=False)  # name -> length, the longest first

    @classmethod
    def fetch(cls, redis: Redis, *, clock: Clock | None = None) -> Stats:
        """Read everything, in two round trips."""
        processed, failed, scheduled, retry, dead, identities, queues, next_to_run = read(
            redis,
            [
                ("GET", keys.STAT_PROCESSED),
                ("GET", keys.STAT_FAILED),
                ("ZCARD", keys.SCHEDULE),
                ("ZCARD", keys.RETRY),
                ("ZCARD", keys.DEAD),
                ("SMEMBERS", keys.PROCESSES),
                ("SMEMBERS", keys.QUEUES),
                ("LINDEX", keys.queue("default"), -1),
            ],
        )
        busy, lengths = _busy_and_lengths(redis, names(identities), names(queues))
        return cls(
            processed=whole_number(processed),
            failed=whole_number(failed),
            scheduled_size=scheduled or 0,
            retry_size=retry or 0,
            dead_size=dead or 0,
            processes_size=len(busy),
            workers_size=sum(busy),
            enqueued=sum(lengths.values()),
            default_queue_latency=latency_of(next_to_run, clock or Clock()),
            queues=lengths,
        )

    @staticmethod
    def reset(redis: Redis, *names: str) -> None:
        """Set the counters `processed` and `failed` to 0, or those of them that are named."""
        if unknown := set(names).difference(RESETTABLE):
            raise ValueError(f"no such counter: {', '.join(sorted(unknown))}; there are {RESETTABLE}")
        words = [word for name in names or RESETTABLE for word in (f"stat:{name}", 0)]
        usable(redis).call("MSET", *words)


@dataclass(frozen=True)
class Day:
    """What was done on one day (UTC)."""

    date: date
    processed: int
    failed: int


def history(redis: Redis, days: int, *, until: date | None = None, clock: Clock | None = None) -> list[Day]:
    """The last `days` days up to `until` (today), the newest first. One round trip.

    Raises ValueError when `days` is not within 1 to 1825: Sidekiq keeps five years.
    """
    if not 1 <= days <= LONGEST_HISTORY:
        raise ValueError(f"days is {days}, expected 1 to {LONGEST_HISTORY}")
    newest = until or datetime.fromtimestamp((clock or Clock()).now(), UTC).date()
    dates = [newest - timedelta(days=back) for back in range(days)]
    counters = [keys.stat_processed_on(day) for day in dates] + [keys.stat_failed_on(day) for day in dates]
    counts = [whole_number(text) for text in usable(redis).call("MGET", *counters)]
    return [
        Day(day, processed, failed)
        for day, processed, failed in zip(dates, counts[:days], counts[days:], strict=True)
    ]


def _busy_and_lengths(
    redis: Redis, identities: list[str], queues: list[str]
) -> tuple[list[int], dict[str, int]]:
    """Running jobs of each live process, and the queues' lengths, the longest first."""
    replies = read(
        redis,
        [("HGET", identity, "busy") for identity in identities]
        + [("LLEN", keys.queue(name)) for name in queues],
    )
    busy = [whole_number(text) for text in replies[: len(identities)] if text is not None]
    lengths = {name: size or 0 for name, size in zip(queues, replies[len(identities) :], strict=True)}
    return busy, dict(sorted(lengths.items(), key=lambda item: -item[1]))
