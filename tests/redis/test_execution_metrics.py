"""Sidekiq's own metrics and deploy marks, against the bytes that real Sidekiq wrote."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime

import pytest

from sidekiq_py.errors import RedisDown
from sidekiq_py.metrics import ExecutionTracker, mark_deploy
from sidekiq_py.redis_connection import RedisOptions, RedisPool
from tests.golden import golden
from tests.helpers import full
from tests.servers import start_server

# HardJob twice, SlowJob at 0.025, 0.12, 0.6 and 1.2 s, PlainBoom once: as when the golden bytes were made.
SLOW = {"7.3.2": (25, 120, 600, 1201), "8.1.7": (25, 120, 600, 1200)}
MINUTE = {
    "7.3.2": datetime(2026, 11, 24, 3, 28, 31, tzinfo=UTC).timestamp(),
    "8.1.7": datetime(2026, 11, 24, 3, 29, 31, tzinfo=UTC).timestamp(),
}
NOW = MINUTE["8.1.7"]


def texts(fields):
    return {name.decode(): value.decode() for name, value in fields.items()}


@pytest.fixture
def tracker():
    return ExecutionTracker()


@pytest.fixture
def dead_redis():
    """A Redis that nobody runs."""
    pool = RedisPool(RedisOptions.from_url("redis://127.0.0.1:1/0", connect_timeout=0.5))
    yield pool
    pool.close()


@pytest.mark.parametrize("version", ["7.3.2", "8.1.7"])
def test_a_flush_leaves_the_very_keys_that_ruby_leaves(version, tracker, redis, raw):
    for milliseconds in (0.04, 0.05):
        tracker.count("HardJob", milliseconds)
    for milliseconds in SLOW[version]:
        tracker.count("SlowJob", milliseconds)
    tracker.count("PlainBoom", None)

    tracker.flush(redis, MINUTE[version])

    expected = golden(version, "metrics")
    hashes = {each["key"]: each["fields"] for each in expected["hashes"]}
    histograms = {each["key"]: each["hex"] for each in expected["histograms"]}
    assert {key: texts(raw.hgetall(key)) for key in hashes} == hashes
    assert {key: raw.get(key).hex() for key in histograms} == histograms
    for each in [*expected["hashes"], *expected["histograms"]]:
        assert each["ttl"] <= raw.ttl(each["key"]) <= each["ttl"] + 2


def test_both_formats_are_written_side_by_side(tracker, redis, raw):
    tracker.count("HardJob", 1)

    tracker.flush(redis, NOW)

    assert {key.decode() for key in raw.keys("*")} == {
        *("j|20261124|3:29", "HardJob-24-03:29"),
        *("j|261124|3:29", "j|261124|3:2", "h|HardJob-24-3:29"),
    }


def test_hour_and_minute_are_padded_as_each_version_pads_them(tracker, redis, raw):
    tracker.count("HardJob", 1)

    tracker.flush(redis, datetime(2026, 1, 4, 0, 7, tzinfo=UTC).timestamp())

    assert {key.decode() for key in raw.keys("*")} == {
        *("j|20260104|0:7", "HardJob-04-00:7"),
        *("j|260104|0:07", "j|260104|0:0", "h|HardJob-4-0:7"),
    }


def test_nothing_new_writes_nothing(tracker, redis, raw):
    tracker.count("HardJob", 1)
    tracker.flush(redis, NOW)
    raw.flushall()

    wrote = tracker.flush(redis, NOW)

    assert not wrote
    assert raw.dbsize() == 0


def test_flushes_within_a_minute_add_up(tracker, redis, raw):
    for _ in range(3):
        tracker.count("HardJob", 0.6)
        tracker.flush(redis, NOW)

    assert texts(raw.hgetall("j|261124|3:29")) == {"HardJob|ms": "1", "HardJob|p": "3"}
    assert raw.get("h|HardJob-24-3:29").hex() == "0003"


@pytest.mark.parametrize(
    ("milliseconds", "bucket"),
    [(0, 0), (19.99, 0), (20, 1), (16_000, 17), (334_999, 24), (335_000, 25), (9e9, 25)],
)
def test_an_execution_falls_into_the_first_bucket_it_stays_below(milliseconds, bucket, tracker, redis, raw):
    tracker.count("HardJob", milliseconds)

    tracker.flush(redis, NOW)

    assert raw.get("h|HardJob-24-3:29").hex() == "0000" * bucket + "0001"


def test_a_bucket_stops_at_its_highest_number(tracker, redis, raw):
    for _ in range(65_540):
        tracker.count("HardJob", 1)

    tracker.flush(redis, NOW)

    assert raw.get("h|HardJob-24-3:29").hex() == "ffff"
    assert raw.hget("j|261124|3:29", "HardJob|p") == b"65540"


def test_a_name_with_a_bar_stays_readable(tracker, redis, raw):
    tracker.count("Odd|Job", None)

    tracker.flush(redis, NOW)

    assert texts(raw.hgetall("j|261124|3:29")) == {"Odd_Job|f": "1", "Odd_Job|p": "1"}


@pytest.mark.parametrize("name", [5, ["A"], {"a": 1}], ids=["number", "list", "object"])
def test_a_name_that_is_no_string_is_counted_as_text(name, tracker, redis, raw):
    tracker.count(name, None)
    tracker.count(name, None)

    tracker.flush(redis, NOW)

    assert raw.hget("j|261124|3:29", f"{name}|p") == b"2"


def test_counts_of_an_outage_go_with_the_next_flush(tracker, dead_redis, redis, raw):
    tracker.count("HardJob", 1)
    with pytest.raises(RedisDown):
        tracker.flush(dead_redis, NOW)
    tracker.count("HardJob", 1)

    tracker.flush(redis, NOW)

    assert raw.hget("j|261124|3:29", "HardJob|p") == b"2"


def test_counts_that_redis_refuses_to_take_now_are_kept(tracker, tmp_path):
    server = start_server("default", tmp_path, extra_args=("--min-replicas-to-write", "1"))
    redis = RedisPool(RedisOptions.from_url(server.url))
    tracker.count("HardJob", 1)
    with pytest.raises(RedisDown):
        tracker.flush(redis, NOW)
    redis.call("CONFIG", "SET", "min-replicas-to-write", "0")

    tracker.flush(redis, NOW)

    assert redis.call("HGET", "j|261124|3:29", "HardJob|p") == b"1"
    redis.close()
    server.stop()


def test_one_key_of_another_type_costs_its_own_counts_and_one_warning(tracker, redis, raw, caplog):
    raw.rpush("h|HardJob-24-3:29", "in the way")

    for _ in range(2):
        tracker.count("HardJob", 1)
        tracker.flush(redis, NOW)

    assert raw.hget("j|261124|3:29", "HardJob|p") == b"2"
    assert [each.levelno for each in caplog.records if "metrics" in each.message] == [logging.WARNING]


def test_counting_and_flushing_in_two_threads_loses_nothing(tracker, redis, raw):
    done = threading.Event()

    def flush_all_the_time():
        while not done.is_set():
            tracker.flush(redis, NOW)

    flusher = threading.Thread(target=flush_all_the_time)
    flusher.start()
    for number in range(60_000):
        tracker.count(f"Job{number % 7}", None if number % 3 else number % 50)
    done.set()
    flusher.join()
    tracker.flush(redis, NOW)

    totals = {name: int(value) for name, value in texts(raw.hgetall("j|261124|3:29")).items()}
    assert sum(value for name, value in totals.items() if name.endswith("|p")) == 60_000
    assert sum(value for name, value in totals.items() if name.endswith("|f")) == 40_000
    assert sum(value for name, value in totals.items() if name.endswith("|ms")) == sum(
        number % 50 for number in range(0, 60_000, 3)
    )


@pytest.mark.parametrize("version", ["7.3.2", "8.1.7"])
def test_a_deploy_mark_is_the_one_that_ruby_makes(version, redis, raw):
    expected = golden(version, "deploy_mark")
    lock = expected["lock"]

    made = mark_deploy(redis, "abc1234 Fix things", MINUTE[version])

    assert made
    assert texts(raw.hgetall(expected["key"])) == expected["hash"]
    assert raw.get(lock["key"]).decode() == lock["value"]
    assert raw.ttl(expected["key"]) >= expected["ttl"] - 2
    assert lock["ttl"] - 2 <= raw.ttl(lock["key"]) <= lock["ttl"]


def test_the_first_of_many_hosts_makes_the_mark(redis, raw):
    made = [mark_deploy(redis, "abc1234", NOW), mark_deploy(redis, "abc1234", NOW + 40)]

    assert made == [True, False]
    assert raw.hlen("20261124-marks") == 1


def test_a_mark_that_a_full_redis_refuses_is_named_and_made_later(redis, raw):
    with full(raw), pytest.raises(RedisDown, match="OOM .*'abc1234'"):
        mark_deploy(redis, "abc1234", NOW)

    assert mark_deploy(redis, "abc1234", NOW)


def test_two_labels_in_one_minute_leave_the_first(redis, raw):
    mark_deploy(redis, "first", NOW)
    mark_deploy(redis, "second", NOW)

    assert texts(raw.hgetall("20261124-marks")) == {"2026-11-24T03:29:00Z": "first"}
