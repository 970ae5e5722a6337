"""When a processor lets others have a turn before its next job."""

from __future__ import annotations

import gevent
import pytest

from sidekiq_py.clock import Clock
from sidekiq_py.processor import LAG, give_way
from tests.helpers import rest


@pytest.fixture(params=[0, 3600, -3600])
def clock(request: pytest.FixtureRequest) -> Clock:
    """Clocks of machines that go right, and an hour wrong."""
    clock = Clock()
    clock.skew = request.param
    return clock


def test_after_a_job_that_never_waited_others_have_a_turn(clock: Clock) -> None:
    gevent.sleep(0)
    rest(0.002)
    turns = []
    gevent.spawn(turns.append, "other")

    assert give_way(clock, since=clock.now())
    assert turns == ["other"]


def test_after_a_job_that_waited_they_had_theirs(clock: Clock) -> None:
    since = clock.now()
    gevent.sleep(0.002)

    assert not give_way(clock, since)


def test_a_job_that_waited_and_then_computed_for_long_owes_them_one(clock: Clock) -> None:
    since = clock.now()
    gevent.sleep(0.002)
    rest(2 * LAG)

    assert give_way(clock, since)
