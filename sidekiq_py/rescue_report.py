"""What `sidekiq-py rescue` does and prints."""

from __future__ import annotations

from collections.abc import Iterator

from sidekiq_py.redis_connection import Redis
from sidekiq_py.rescue import orphans, rescue, unregistered


def rescue_all(redis: Redis, *, everywhere: bool) -> Iterator[str]:
    """Rescue the jobs of every process that claims some and doesn't beat; a line for each, then the sum.

    Raises RedisDown, RedisAuthError, RedisError. Redis: as `rescue`.
    """
    dead = orphans(redis)
    if everywhere:
        dead |= unregistered(redis)
    total = 0
    for identity, owner in sorted(dead.items()):
        if rescued := rescue(redis, identity, owner.queues):
            total += rescued.requeued
            yield f"{identity}: {rescued.requeued} back on {', '.join(owner.queues) or 'no queue'}"
    yield f"{_count(total, 'job', 'jobs')} of {_count(len(dead), 'dead process', 'dead processes')}"


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
