"""Jobs that ran when their process died, tried one at a time in a process of their own."""

from __future__ import annotations

import json

import gevent
import pytest
import redis as redis_py

from sidekiq_py import keys
from sidekiq_py.clock import Clock
from sidekiq_py.component import ErrorReporter, RedisState
from sidekiq_py.failures import FailureOptions, FailureRecorder
from sidekiq_py.redis_connection import RedisOptions, RedisPool
from sidekiq_py.suspect_fetcher import SuspectFetcher, alone_capsule
from sidekiq_py.suspects import MOST_CRASHES, Suspect
from tests.redis.parts import IDENTITY, Reports, Surroundings, soon

pytestmark = pytest.mark.usefixtures("hub")

DEAD_PROCESS = "worker-1:4710:0123456789ab"


def claimed_by_the_dead(raw: redis_py.Redis, jid: str, *, crashes: int) -> Suspect:
    payload = json.dumps({"class": "A", "args": [], "jid": jid}).encode()
    raw.lpush(keys.claim(DEAD_PROCESS, "default"), payload)
    return Suspect(DEAD_PROCESS, "default", payload, crashes, "was killed")


def test_a_pill_that_redis_refuses_to_bury_keeps_no_other_suspect_waiting_and_is_buried_later(
    redis: RedisPool, redis_options: RedisOptions, raw: redis_py.Redis
):
    raw.hset(IDENTITY, "info", "{}")
    raw.set(keys.DEAD, "no sorted set")
    pill = claimed_by_the_dead(raw, "pill", crashes=MOST_CRASHES)
    innocent = claimed_by_the_dead(raw, "innocent", crashes=1)
    state, reports = RedisState(Clock()), Reports()
    report = ErrorReporter([reports])
    failures = FailureRecorder(
        identity=IDENTITY,
        redis=redis,
        options=FailureOptions(),
        clock=Clock(),
        redis_state=state,
        report=report,
        surroundings=Surroundings(),
    )
    fetcher = SuspectFetcher(
        [pill, innocent],
        redis=redis,
        convict=lambda work, error: failures.convicted(work, error, None),
        identity=IDENTITY,
        capsule=alone_capsule([pill, innocent]),
        connect=lambda: redis_options.connect(read_timeout=5.0),
        surroundings=Surroundings(),
        redis_state=state,
        report=report,
    )
    fetcher.start()
    try:
        with gevent.Timeout(30):
            work = fetcher.retrieve_work()
        assert work and work.raw == innocent.raw
        fetcher.acknowledge(work)
        soon(lambda: raw.lrange(keys.claim(IDENTITY, "default"), 0, -1) == [pill.raw])

        raw.delete(keys.DEAD)

        with gevent.Timeout(30):
            assert fetcher.retrieve_work() is None
        assert raw.zcard(keys.DEAD) == 1
        assert raw.keys("sidekiq-py:claim:*") == []
    finally:
        fetcher.stop(timeout=30)
        fetcher.disconnect()
