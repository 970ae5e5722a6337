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
from sidekiq_py.kept_jobs import KeptJobs
from sidekiq_py.redis_connection import RedisOptions, RedisPool
from sidekiq_py.registry import Handler
from sidekiq_py.settle import Settle
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
    asked: list[str] = []
    handler = Handler("A", lambda: None, retries_exhausted=lambda job, _error: asked.append(job["jid"]))
    raw.hset(IDENTITY, "info", "{}")
    raw.set(keys.crashes("pill"), "3")
    raw.set(keys.DEAD, "no sorted set")
    pill = claimed_by_the_dead(raw, "pill", crashes=MOST_CRASHES)
    innocent = claimed_by_the_dead(raw, "innocent", crashes=1)
    state, reports = RedisState(Clock()), Reports()
    report = ErrorReporter([reports])
    kept = KeptJobs(redis=redis, every=0.1, redis_state=state, report=report)
    failures = FailureRecorder(
        settle=Settle(identity=IDENTITY, redis=redis, redis_state=state, kept=kept),
        options=FailureOptions(),
        clock=Clock(),
        report=report,
        surroundings=Surroundings(),
    )
    fetcher = SuspectFetcher(
        [pill, innocent],
        redis=redis,
        kept=kept,
        convict=lambda work, error, buried: failures.convicted(work, error, lambda _name: handler, buried),
        identity=IDENTITY,
        capsule=alone_capsule([pill, innocent]),
        connect=lambda: redis_options.connect(read_timeout=5.0),
        surroundings=Surroundings(),
        redis_state=state,
        report=report,
    )
    fetcher.start()
    kept.start()
    try:
        with gevent.Timeout(30):
            work = fetcher.retrieve_work()
        assert work and work.raw == innocent.raw
        fetcher.acknowledge(work)
        soon(lambda: raw.lrange(keys.claim(IDENTITY, "default"), 0, -1) == [pill.raw])
        assert raw.exists(keys.crashes("pill"))

        raw.delete(keys.DEAD)

        with gevent.Timeout(30):
            assert fetcher.retrieve_work() is None
        assert raw.zcard(keys.DEAD) == 1
        assert raw.keys("sidekiq-py:c*") == []  # neither claims nor crashes
        assert asked == ["pill"]
    finally:
        kept.stop(timeout=30)
        fetcher.stop(timeout=30)
        fetcher.disconnect()
