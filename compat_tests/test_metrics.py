"""Sidekiq's own metrics queries and pages chart what we ran; 7 and 8 read different keys, 6 has none."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from compat_tests import HANDLERS
from compat_tests.ruby import Ruby
from sidekiq_py.metrics import ExecutionTracker, mark_deploy
from sidekiq_py.metrics.execution import BUCKET_LIMITS, BUCKETS
from sidekiq_py.redis_connection import RedisPool
from tests.server_process import ServerProcess

Start = Callable[..., ServerProcess]

newer = pytest.mark.parametrize("ruby", ["7.3", "8.1"], indirect=True)
newest = pytest.mark.parametrize("ruby", ["8.1"], indirect=True)

DEADLINE = 30.0  # seconds; for what comes as fast as the machine allows

# Padding of days, hours and minutes differs from key to key; these moments tell all spellings apart.
MOMENTS = ["2026-11-05T03:07:00Z", "2026-11-24T13:00:59Z", "2026-12-31T23:59:30Z", "2027-01-01T00:00:00Z"]


def totals(ruby: Ruby, **period: int) -> dict[str, dict[str, float]]:
    found = ruby.call("metrics", period or {"minutes": 60})["jobs"]
    return {name: job["totals"] for name, job in found.items()}


def histogram(ruby: Ruby, job_class: str) -> list[int]:
    """Executions per duration, the shortest first, over the last hour. Ruby lists the longest first."""
    minutes = ruby.call("metrics_for", job_class, {"minutes": 60})["jobs"][job_class]["hist"].values()
    return [sum(counts) for counts in zip(*minutes, strict=True)][::-1]


def run_to_the_end(ruby: Ruby, server: ServerProcess, jids: list[str]) -> None:
    """Let the jobs run and the server end, which writes what it has counted."""
    for jid in jids:
        ruby.wait_until_ran(jid, DEADLINE)
    assert server.stop() == 0


def at_moment(ruby: Ruby, moment: str, job_class: str) -> Any:
    """Ruby's query as it would have answered then: totals and histograms of the last five minutes."""
    return ruby.eval(
        """
        require "sidekiq/metrics/query"
        query = Sidekiq::Metrics::Query.new(now: Time.parse(args[0]))
        job = query.for_job(args[1], minutes: 5).job_results[args[1]]
        {"totals" => job.totals, "hist" => job.hist}
        """,
        moment,
        job_class,
    )


def ruby_executes(ruby: Ruby, job_class: str, source: str, now: float) -> None:
    """Let Ruby's own tracker count one execution of the source, and write it in that minute."""
    ruby.eval(
        """
        require "sidekiq/processor"
        require "sidekiq/metrics/tracking"
        tracker = Sidekiq::Metrics::ExecutionTracker.new(Sidekiq.default_configuration)
        begin
          tracker.track("default", args[0]) { eval(args[1]) }
        rescue RuntimeError
          nil
        end
        tracker.flush(Time.at(args[2]))
        """,
        *(job_class, source, now),
    )


@newer
def test_ruby_counts_our_executions_and_failures(ruby: Ruby, sidekiq_py: Start) -> None:
    server = sidekiq_py(HANDLERS)
    jids = [*ruby.push_bulk("HardJob", [[1], [2], [3]]), *ruby.push_bulk("PlainBoom", [[1], [2]])]
    jids.append(ruby.push("FlakyJob", 0, wrapped="Shop::MailJob"))
    run_to_the_end(ruby, server, jids)

    found = totals(ruby)

    assert {name: (job["p"], job.get("f", 0)) for name, job in found.items()} == {
        "HardJob": (3, 0),
        "PlainBoom": (2, 2),
        "Shop::MailJob": (1, 0),
    }


@newer
def test_ruby_charts_how_long_our_jobs_took(ruby: Ruby, sidekiq_py: Start) -> None:
    server = sidekiq_py(HANDLERS)
    jids = [*ruby.push_bulk("SlowJob", [[0.4], [0.4]]), ruby.push("PlainBoom")]
    run_to_the_end(ruby, server, jids)

    counts = histogram(ruby, "SlowJob")

    assert sum(counts) == 2
    assert sum(counts[: BUCKET_LIMITS.index(335) + 1]) == 0  # below 335 ms
    assert sum(histogram(ruby, "PlainBoom")) == 0  # a failure has no duration
    assert totals(ruby)["SlowJob"]["s"] >= 0.8
    assert totals(ruby)["PlainBoom"].get("ms", 0) == 0


@newest
def test_ruby_charts_days_in_steps_of_ten_minutes(ruby: Ruby, sidekiq_py: Start) -> None:
    run_to_the_end(ruby, sidekiq_py(HANDLERS), ruby.push_bulk("HardJob", [[1], [2]]))

    assert totals(ruby, hours=24)["HardJob"]["p"] == totals(ruby, hours=72)["HardJob"]["p"] == 2


@newer
def test_the_pages_show_our_jobs_and_their_durations(ruby: Ruby, sidekiq_py: Start) -> None:
    run_to_the_end(ruby, sidekiq_py(HANDLERS), ruby.push_bulk("SlowJob", [[0], [0.1]]))

    for path in ("/metrics", "/metrics/SlowJob", "/metrics?period=8h", "/metrics?substr=slow"):
        page = ruby.get(path)
        assert page.status == 200, path
        assert "SlowJob" in page.body, path


@newer
def test_our_counts_and_rubys_add_up(ruby: Ruby, redis: RedisPool) -> None:
    """A job class that moves from one language to the other keeps one line in the chart."""
    now = time.time()
    tracker = ExecutionTracker()
    tracker.count("HardJob", 25.0)
    tracker.count("HardJob", None)
    tracker.flush(redis, now)

    ruby_executes(ruby, "HardJob", "nil", now)

    counts = histogram(ruby, "HardJob")
    assert (totals(ruby)["HardJob"]["p"], totals(ruby)["HardJob"]["f"]) == (3, 1)
    assert (sum(counts), counts[1]) == (2, 1)


@newer
@pytest.mark.parametrize("moment", MOMENTS)
def test_ruby_finds_what_we_wrote_at_any_time_of_day(ruby: Ruby, redis: RedisPool, moment: str) -> None:
    tracker = ExecutionTracker()
    for number, limit in enumerate(BUCKET_LIMITS):
        for _ in range(number % 3 + 1):
            tracker.count("Shop::MailJob", limit - 1.0)
    tracker.count("Shop::MailJob", 10_000_000.0)
    tracker.flush(redis, float(ruby.eval("Time.parse(args[0]).to_f", moment)))

    found = at_moment(ruby, moment, "Shop::MailJob")

    expected = [number % 3 + 1 for number in range(BUCKETS - 1)] + [1]
    assert found["totals"]["p"] == sum(expected)
    [counts] = [counts for counts in found["hist"].values() if any(counts)]
    assert counts[::-1] == expected


@newer
def test_the_same_counts_leave_the_bytes_that_ruby_leaves(ruby: Ruby, redis: RedisPool, raw: Redis) -> None:
    def written() -> dict[bytes, Any]:
        keys = [key for key in raw.keys("*HardJob*") + raw.keys("j|*") if is_read_by(ruby, key.decode())]
        return {key: raw.hgetall(key) if raw.type(key) == b"hash" else raw.get(key) for key in keys}

    now = time.time()
    tracker = ExecutionTracker()
    tracker.count("HardJob", None)
    tracker.flush(redis, now)
    ours = written()
    raw.flushall()
    ruby_executes(ruby, "HardJob", 'raise "boom"', now)

    assert ours == written() != {}


def is_read_by(ruby: Ruby, key: str) -> bool:
    """Which keys are this generation's: `j|20261124|…` is 7's, `j|261124|…` is 8's."""
    return len(key.split("|")[1]) == (8 if ruby.major == 7 else 6) if key.startswith("j|") else True


@newer
def test_a_deploy_mark_of_ours_is_in_rubys_charts(ruby: Ruby, redis: RedisPool, sidekiq_py: Start) -> None:
    run_to_the_end(ruby, sidekiq_py(HANDLERS), [ruby.push("HardJob")])
    now = time.time()

    assert mark_deploy(redis, "v1.2 <b>", now)
    ruby.call("mark_deploy", "v1.2 <b>")  # another host of the same deploy

    [mark] = ruby.call("metrics", {"minutes": 60})["marks"]
    assert (mark["label"], mark["time"]) == ("v1.2 <b>", now - now % 60)
    assert list(ruby.call("deploys").values()) == ["v1.2 <b>"]
    assert "v1.2" in ruby.get("/metrics").body


@newer
def test_a_deploy_that_ruby_marked_is_not_marked_again(ruby: Ruby, redis: RedisPool) -> None:
    ruby.call("mark_deploy", "v1.3")

    assert mark_deploy(redis, "v1.3", time.time()) is False
    assert list(ruby.call("deploys").values()) == ["v1.3"]
