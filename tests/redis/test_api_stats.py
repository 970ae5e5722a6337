"""The numbers of the whole installation, and of each day."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

import pytest

from sidekiq_py.api import Stats, history
from tests.golden import VERSIONS, golden
from tests.helpers import StillClock
from tests.redis.beats import beat, beat_as_ruby

NOW = 1_795_490_000.0
TODAY = date(2026, 11, 24)


def waiting(since: float) -> str:
    return json.dumps({"class": "HardJob", "args": [], "jid": "j", "enqueued_at": since})


@pytest.mark.parametrize("version", VERSIONS)
def test_rubys_counters_are_read(redis, raw, version):
    for key, counter in golden(version, "stats").items():
        if key.startswith("stat:"):
            raw.set(key, counter["value"])
    beat_as_ruby(raw, version)

    stats = Stats.fetch(redis)
    [day] = history(redis, 1, until=TODAY)

    assert (stats.processed, stats.failed, stats.processes_size, stats.workers_size) == (8, 6, 1, 2)
    assert (day.date, day.processed, day.failed) == (TODAY, 8, 6)


def test_everything_is_counted_where_it_lies(redis, raw):
    raw.zadd("schedule", {"a": 1})
    raw.zadd("retry", {"a": 1, "b": 2})
    raw.zadd("dead", {"a": 1, "b": 2, "c": 3})
    raw.sadd("queues", "default", "low", "empty")
    raw.lpush("queue:default", waiting(NOW - 5), waiting(NOW))
    raw.lpush("queue:low", *(waiting(NOW) for _ in range(3)))
    beat(raw, "a:1:x", {"busy": 3})
    beat(raw, "b:1:x", {"busy": 4})

    stats = Stats.fetch(redis, clock=StillClock(NOW))

    assert (stats.scheduled_size, stats.retry_size, stats.dead_size) == (1, 2, 3)
    assert (stats.processes_size, stats.workers_size, stats.enqueued) == (2, 7, 5)
    assert list(stats.queues.items()) == [("low", 3), ("default", 2), ("empty", 0)]
    assert stats.default_queue_latency == 5.0


def test_an_empty_redis_is_all_zeros(redis):
    stats = Stats.fetch(redis)

    assert (stats.processed, stats.failed, stats.enqueued, stats.processes_size) == (0, 0, 0, 0)
    assert (stats.default_queue_latency, stats.queues) == (0.0, {})


def test_processes_whose_beat_has_expired_do_not_count(redis, raw):
    raw.sadd("processes", "gone:1:x")

    assert Stats.fetch(redis).processes_size == 0


def test_keys_of_another_type_count_as_nothing(redis, raw):
    raw.hset("stat:processed", "a", 1)
    raw.set("stat:failed", "many")
    raw.set("retry", "text")
    raw.sadd("queues", "odd")
    raw.set("queue:odd", "text")

    stats = Stats.fetch(redis)

    assert (stats.processed, stats.failed, stats.retry_size, stats.queues) == (0, 0, 0, {"odd": 0})


@pytest.mark.parametrize(("named", "left"), [((), (0, 0)), (("failed",), (8, 0)), (("processed",), (0, 6))])
def test_reset_sets_the_counters_named_or_both_to_zero(redis, raw, named, left):
    raw.mset({"stat:processed": 8, "stat:failed": 6, "stat:failed:2026-11-24": 6})

    Stats.reset(redis, *named)

    stats = Stats.fetch(redis)
    assert (stats.processed, stats.failed) == left
    assert raw.get("stat:failed:2026-11-24") == b"6"


def test_reset_of_an_unknown_counter_resets_nothing(redis, raw):
    raw.set("stat:failed", 6)

    with pytest.raises(ValueError, match="no such counter: retries"):
        Stats.reset(redis, "failed", "retries")

    assert raw.get("stat:failed") == b"6"


def test_history_has_a_day_for_each_day_the_newest_first(redis, raw):
    raw.mset({"stat:processed:2026-11-24": 3, "stat:failed:2026-11-22": 1})

    days = history(redis, 3, until=TODAY)

    assert [(day.date.day, day.processed, day.failed) for day in days] == [(24, 3, 0), (23, 0, 0), (22, 0, 1)]


def test_history_ends_today_in_utc(redis):
    last_second = datetime(2026, 11, 24, 23, 59, 59, tzinfo=UTC).timestamp()

    [day] = history(redis, 1, clock=StillClock(last_second))

    assert day.date == TODAY


@pytest.mark.parametrize("days", [0, -1, 1826])
def test_history_is_no_longer_than_sidekiq_keeps_it(redis, days):
    with pytest.raises(ValueError, match="expected 1 to 1825"):
        history(redis, days)
