"""Sweeps: whose jobs a process brings back whose death nobody saw, and whose it leaves alone."""

from __future__ import annotations

import pytest

from sidekiq_py import keys
from sidekiq_py.rescue import server_uptime
from sidekiq_py.rescuer import Sweeper
from tests.helpers import StillClock, eventually

DEAD = "gone:1:aaaaaaaaaaaa"
JOB = b'{"class":"HardJob","args":[],"jid":"000000000000000000000001"}'


@pytest.fixture
def clock():
    return StillClock(1000.0)


@pytest.fixture
def sweeper(raw, redis, clock):
    raw.hset(keys.CLAIM_OWNERS, DEAD, b'{"queues":["low"]}')
    raw.lpush(keys.claim(DEAD, "low"), JOB)
    eventually(lambda: server_uptime(redis) >= 1)
    sweeper = Sweeper(redis, ttl=0, clock=clock)
    sweeper.every = 0.001
    return sweeper


def test_the_jobs_of_a_dead_process_are_back_and_its_crash_is_counted(raw, sweeper):
    assert sweeper.sweep() == 1

    assert raw.lrange("queue:low", 0, -1) == [JOB]
    assert raw.get(keys.crashes("000000000000000000000001")) == b"1"


def test_a_death_that_was_seen_is_not_counted_again(raw, sweeper):
    sweeper.spared.add(DEAD)

    assert sweeper.sweep() == 0

    assert raw.lrange(keys.claim(DEAD, "low"), 0, -1) == [JOB]
    assert raw.keys("sidekiq-py:crashes:*") == []


def test_nobody_is_judged_before_all_had_the_time_to_beat(raw, redis, clock):
    sweeper = Sweeper(redis, ttl=60, clock=clock)
    raw.hset(keys.CLAIM_OWNERS, DEAD, b'{"queues":["low"]}')
    raw.lpush(keys.claim(DEAD, "low"), JOB)

    assert sweeper.sweep() == 0

    assert raw.llen("queue:low") == 0


def test_a_sweeper_that_stood_still_waits_until_the_living_have_spoken(raw, redis, clock):
    """After a freeze of us and Redis together every heartbeat has expired, and nobody is dead."""
    sweeper = Sweeper(redis, ttl=1.0, clock=clock)
    eventually(lambda: server_uptime(redis) > 2)
    clock.moment += sweeper.every
    assert sweeper.sweep() == 0
    raw.hset(keys.CLAIM_OWNERS, DEAD, b'{"queues":["low"]}')
    raw.lpush(keys.claim(DEAD, "low"), JOB)

    rescued = []
    for pause in (1.1, *[sweeper.every] * 6):
        clock.moment += pause
        raw.delete(keys.SWEEP_LOCK)
        rescued.append(sweeper.sweep())

    assert rescued == [0, 0, 0, 0, 0, 1, 0]
