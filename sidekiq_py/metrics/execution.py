"""How often each job class ran, failed, and how long it took: counted here, written after each beat.

Ruby twin: Sidekiq::Metrics::ExecutionTracker.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sidekiq_py import keys
from sidekiq_py.errors import RedisDown
from sidekiq_py.redis_connection import Command, Redis

logger = logging.getLogger("sidekiq")

# An execution belongs to the first bucket whose limit, in milliseconds, it stays below; the last has none.
BUCKET_LIMITS: Final = (
    *(20, 30, 45, 65, 100, 150, 225, 335, 500, 750, 1100, 1700, 2500, 3800, 5750, 8500, 13000),
    *(20000, 30000, 45000, 65000, 100000, 150000, 225000, 335000),
)
BUCKETS: Final = len(BUCKET_LIMITS) + 1


class Tally:
    """What was counted for one job class since the process began; it only ever grows."""

    __slots__ = ("executions", "failures", "histogram", "milliseconds")

    def __init__(self) -> None:
        self.executions = 0
        self.failures = 0
        self.milliseconds = 0.0
        self.histogram = [0] * BUCKETS


@dataclass(frozen=True, slots=True)
class Counts:
    """A tally at one moment, or the difference between two moments."""

    executions: int = 0
    failures: int = 0
    milliseconds: int = 0
    histogram: tuple[int, ...] = (0,) * BUCKETS

    @classmethod
    def of(cls, tally: Tally) -> Counts:
        # Executions are counted last and read first: a job caught halfway waits for the next flush.
        executions = tally.executions
        return cls(executions, tally.failures, int(tally.milliseconds), tuple(tally.histogram))

    def since(self, earlier: Counts) -> Counts:
        """What was counted between the two."""
        return Counts(
            self.executions - earlier.executions,
            self.failures - earlier.failures,
            self.milliseconds - earlier.milliseconds,
            tuple(now - then for now, then in zip(self.histogram, earlier.histogram, strict=True)),
        )


class ExecutionTracker:
    """Counts executions in memory, and writes what is new to Redis.

    One thread counts (the hub's), another flushes (the heartbeat's), without a lock. The counting side only
    ever increases numbers, the flushing side only reads them and keeps its own note of what it has written;
    no object is changed by both, so nothing can be lost between "read" and "reset": there is no reset. It
    rests on the GIL for two things: reading an int, and copying a dict's items or a list in one step.

    Redis: `j|…` hashes and histograms, see `keys`.
    """

    def __init__(self) -> None:
        self._tallies: dict[str, Tally] = {}
        self._written: dict[str, Counts] = {}
        self._complaints: set[str] = set()

    def count(self, name: Any, milliseconds: float | None) -> None:
        """One execution of a job class (`wrapped`, else `class`); None for the time of one that failed.

        An interrupted iterable job has a time: it is no failure.
        """
        try:
            tally = self._tallies[name]
        except (KeyError, TypeError):  # a first time, or `wrapped` is no string: JSON may hold anything
            tally = self._tallies.setdefault(str(name), Tally())
        if milliseconds is None:
            tally.failures += 1
        else:
            tally.milliseconds += milliseconds
            tally.histogram[bisect_right(BUCKET_LIMITS, milliseconds)] += 1
        tally.executions += 1

    def flush(self, redis: Redis, now: float) -> bool:
        """Write what is new, in one round trip; False when nothing is.

        Counts go to the minute of the flush, as Sidekiq's do. Raises RedisDown, and then all of them go
        with the next flush; when the connection broke after sending, that may count them twice.
        """
        current = {name: Counts.of(tally) for name, tally in list(self._tallies.items())}
        fresh = {name: each.since(self._written.get(name, Counts())) for name, each in current.items()}
        fresh = {name: each for name, each in fresh.items() if each.executions}
        commands = flush_commands(fresh, now)
        if not commands:
            return False
        self._check(redis.pipeline(commands))
        self._written.update({name: current[name] for name in fresh})
        return True

    def _check(self, replies: Iterable[object]) -> None:
        for reply in replies:
            if isinstance(reply, RedisDown):
                raise reply
            # One refused key (another type lives there, an ACL) must not hold up the rest for ever.
            if isinstance(reply, Exception) and (text := str(reply)) not in self._complaints:
                self._complaints.add(text)
                logger.warning("some execution metrics were not written: %s", text)


def flush_commands(fresh: dict[str, Counts], now: float) -> list[Command]:
    """The commands that add these counts at epoch second `now`, in the order that Sidekiq sends them.

    In the forms of 7.x and of 8.x: a Web page reads only its own generation's, and doesn't show in Redis.
    """
    at = datetime.fromtimestamp(now, UTC)
    named = [(_safe(name), counts) for name, counts in fresh.items()]
    commands: list[Command] = []
    if not named:
        return commands
    commands += _histograms(named, at, keys.histogram_7)
    commands += _totals(named, keys.metrics_minute_7(at), keys.METRICS_MINUTE_TTL)
    commands += _histograms(named, at, keys.histogram)
    commands += _totals(named, keys.metrics_ten_minutes(at), keys.METRICS_TEN_MINUTES_TTL)
    commands += _totals(named, keys.metrics_minute(at), keys.METRICS_MINUTE_TTL)
    return commands


def _safe(name: str) -> str:
    """Readers split a hash field at `|`."""
    return name.replace("|", "_")


def _histograms(
    named: Sequence[tuple[str, Counts]], at: datetime, key_of: Callable[[str, datetime], str]
) -> list[Command]:
    commands: list[Command] = []
    for name, counts in named:
        buckets = [(index, count) for index, count in enumerate(counts.histogram) if count]
        if not buckets:
            continue
        increments = [word for index, count in buckets for word in ("INCRBY", "u16", f"#{index}", count)]
        commands.append(("BITFIELD", key_of(name, at), "OVERFLOW", "SAT", *increments))
        commands.append(("EXPIRE", key_of(name, at), keys.METRICS_MINUTE_TTL))
    return commands


def _totals(named: Sequence[tuple[str, Counts]], key: str, ttl: int) -> list[Command]:
    commands: list[Command] = []
    for name, counts in named:
        if any(counts.histogram):  # as 0 too: it says that the class has succeeded
            commands.append(("HINCRBY", key, f"{name}|ms", counts.milliseconds))
        if counts.failures:
            commands.append(("HINCRBY", key, f"{name}|f", counts.failures))
        commands.append(("HINCRBY", key, f"{name}|p", counts.executions))
    return [*commands, ("EXPIRE", key, ttl)]
