"""Decides whose claimed jobs to bring back, and which of them to be wary of.

A supervisor sees its own workers die, and knows from the table in shared memory what they ran. What died with
its whole host is found by whoever is alive, when its heartbeat has expired; then any of its jobs may have
been the cause. Redis: what `rescue` and `suspects` touch, the heartbeats, `sidekiq-py:sweep`.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Final, TypeAlias

from sidekiq_py import keys
from sidekiq_py.clock import Clock
from sidekiq_py.redis_connection import Redis
from sidekiq_py.rescue import Owner, orphans, rescue, server_uptime, unregistered
from sidekiq_py.running_table import fingerprint
from sidekiq_py.scripts import load
from sidekiq_py.suspects import Suspect, count_crash

logger = logging.getLogger("sidekiq")

SCAN_EVERY: Final = 3600.0  # seconds between two looks for claims that nobody registered
MOST_SECONDS_SERVED: Final = 4.0  # above what `idle_wait.longest_wait` gives, as half a heartbeat's life is
STORY: Final = "died together with its supervisor or host"

_LOCK: Final = load("lock")
_SIGN_OFF: Final = load("sign_off")

Isolate: TypeAlias = Callable[[Sequence[Suspect]], object]


def rescue_worker(
    redis: Redis,
    identity: str,
    queues: Sequence[str],
    *,
    stories: Mapping[int, str],
    was_alone: bool,
    hold_for: float,
) -> tuple[int, list[Suspect]]:
    """Bring back the jobs of a worker whose death was seen: how many, and those that ran.

    `stories` says for each job that ran, by its fingerprint, how that ended. These jobs stay claimed and have
    their crash counted; the heartbeat of the dead goes on for `hold_for` seconds, so that no peer takes them
    for forgotten. `look_again` is due after `last_look_after`. Raises RedisDown; then again, later.
    """
    redis.call("EXPIRE", identity, int(hold_for))
    for key in redis.run_script(
        _SIGN_OFF, [keys.work(identity), keys.workers(identity), keys.PROCESSES], [identity]
    ):
        logger.error("%s is dead, but can't be taken out of %r: that is no set", identity, key.decode())
    rescued = rescue(
        redis,
        identity,
        queues,
        is_suspect=lambda raw: fingerprint(raw) in stories,
        was_seen=True,
        stays_registered=True,
    )
    if rescued is None:
        return 0, []
    suspects = [
        Suspect(
            identity,
            queue,
            raw,
            count_crash(redis, raw, identity=identity, was_alone=was_alone),
            stories[fingerprint(raw)],
        )
        for queue, raw in rescued.suspects
    ]
    return rescued.requeued, suspects


def last_look_after(heartbeat_ttl: float) -> float:
    """Seconds after a death until no BLMOVE of the dead waits any more; its heartbeat lives for longer.

    A child that a handler forked holds the socket: Redis serves such a wait, into the claims of the dead.
    """
    return min(MOST_SECONDS_SERVED, heartbeat_ttl / 2)


def look_again(redis: Redis, identity: str, queues: Sequence[str], *, suspects: Container[int]) -> int:
    """Bring back what a dead worker was served after its jobs were; returns how many that were.

    Then it owns no claims any more, unless some of its suspects, told by their fingerprints, still wait.
    Raises RedisDown; then again, later.
    """
    rescued = rescue(
        redis, identity, queues, is_suspect=lambda raw: fingerprint(raw) in suspects, was_seen=True
    )
    if rescued is None:
        return 0
    if not rescued.suspects:
        redis.call("UNLINK", identity)
    return rescued.requeued


class Sweeper:
    """Looks, every quarter of a heartbeat's life, for processes that died and nobody saw it.

    A judge must be healthy itself: after an outage every heartbeat has expired, and a hasty sweeper would
    take a whole fleet's running jobs. So it waits until its own link and Redis have been up for long enough
    that everybody who lives has said so.
    """

    def __init__(self, redis: Redis, *, ttl: float, clock: Clock, isolate: Isolate | None = None) -> None:
        self._redis = redis
        self._ttl = ttl
        self._clock = clock
        self._isolate = isolate
        self.every = ttl / 4
        now = clock.monotonic()
        self._looked_at = math.inf  # the first look comes when it comes
        self._not_before = now + self.every  # who boots after an outage may be the first to see Redis again
        self._next_scan = now + SCAN_EVERY * random.random()

    def redis_was_down(self) -> None:
        """Judge nobody until all had the time to beat again."""
        self._not_before = self._clock.monotonic() + self._ttl + self.every

    def pause(self) -> float:
        """Seconds until the next look, not the same for all processes."""
        return self.every * random.uniform(0.8, 1.2)

    def sweep(self) -> int:
        """One look; returns how many jobs are back on their queues. Raises RedisDown."""
        began = self._clock.monotonic()
        if began - self._looked_at > self._ttl:  # we ourselves stood still
            self.redis_was_down()
        self._looked_at = began
        if began < self._not_before or not self._is_my_turn():
            return 0
        if server_uptime(self._redis) < self._ttl + self.every:
            return 0
        dead = self._dead()
        if self._clock.monotonic() - began > self.every:  # Redis stood still: nobody could beat
            self.redis_was_down()
            return 0
        return sum(self._rescue(identity, owner) for identity, owner in dead.items())

    def _is_my_turn(self) -> bool:
        return bool(self._redis.run_script(_LOCK, [keys.SWEEP_LOCK], [int(self.every * 1000)]))

    def _dead(self) -> Mapping[str, Owner]:
        dead = orphans(self._redis)
        now = self._clock.monotonic()
        if now >= self._next_scan:
            self._next_scan = now + SCAN_EVERY
            dead |= unregistered(self._redis)
        return dead

    def _rescue(self, identity: str, owner: Owner) -> int:
        suspects: dict[bytes, int] = {}

        def is_suspect(raw: bytes) -> bool:
            suspects[raw] = count_crash(self._redis, raw, identity=identity, was_alone=owner.is_alone)
            return self._isolate is not None and suspects[raw] > 1

        rescued = rescue(self._redis, identity, owner.queues, is_suspect=is_suspect)
        if rescued is None:
            return 0
        if self._isolate is not None and rescued.suspects:
            self._isolate(
                [Suspect(identity, queue, raw, suspects[raw], STORY) for queue, raw in rescued.suspects]
            )
        if suspects:
            logger.warning(
                "rescued %d jobs of %s, which %s; %d more run alone first",
                *(rescued.requeued, identity, STORY, len(rescued.suspects)),
            )
        return rescued.requeued
