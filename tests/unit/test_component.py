"""What the log tells of an outage."""

from __future__ import annotations

import gevent
import pytest

from sidekiq_py.component import ErrorReporter, RedisState
from sidekiq_py.errors import RedisDown
from sidekiq_py.kept_jobs import KeptJobs
from sidekiq_py.redis_connection import RedisOptions
from tests.helpers import StillClock, eventually


@pytest.fixture
def clock() -> StillClock:
    return StillClock(1000.0)


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO", logger="sidekiq")
    return lambda: [record.getMessage() for record in caplog.records]


def test_an_outage_is_a_line_when_it_begins_and_one_when_it_ends(clock: StillClock, lines):
    state = RedisState(clock)

    for part in ("fetch", "beat", "fetch"):
        state.went_down(RedisDown("closed"), part)
    clock.moment += 2
    state.is_up("beat")

    assert [line.partition(".")[0] for line in lines()] == ["Redis is down: closed", "Redis is back after 2"]


def test_a_reason_that_shows_later_is_told_once_in_each_outage(clock: StillClock, lines):
    state = RedisState(clock)

    for _ in range(2):
        state.went_down(RedisDown("closed"), "fetch")
        state.went_down(RedisDown("timed out"), "beat")  # connections learn of it, one by one
        clock.moment += 2
        for reason in ("bad certificate", "closed", "bad certificate"):
            state.went_down(RedisDown(reason), "fetch")
        state.is_up("fetch")
        clock.moment += 2

    assert [line for line in lines() if "still" in line] == ["Redis is still down: bad certificate"] * 2


def test_a_reason_that_is_a_sentence_ends_with_one_full_stop(clock: StillClock, lines):
    RedisState(clock).went_down(RedisDown("lost Redis: Connection closed by server."), "fetch")

    assert "by server. Running jobs go on" in lines()[0]


def test_a_part_with_nothing_to_ask_of_redis_doesn_t_say_that_it_is_back(clock: StillClock, lines):
    state = RedisState(clock)
    kept = KeptJobs(
        redis=RedisOptions.from_url("redis://127.0.0.1:1").connect(),
        every=0.001,
        redis_state=state,
        report=ErrorReporter(),
    )
    state.went_down(RedisDown("closed"), "fetch")

    ticks: list[float] = []
    kept.tick = lambda: ticks.append(KeptJobs.tick(kept)) or 0.001

    kept.start()
    eventually(lambda: gevent.sleep(0) or len(ticks) > 1, 30)
    kept.stop(timeout=30)

    assert state.is_down
    assert len(lines()) == 1


def test_an_error_without_words_is_named(lines):
    ErrorReporter().guarded(_raise_memory_error, context={"context": "a hook failed"}, otherwise=None)

    assert lines() == ["a hook failed: MemoryError"]


def _raise_memory_error() -> None:
    raise MemoryError
