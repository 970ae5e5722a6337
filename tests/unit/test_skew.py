"""When a machine's clock counts as wrong, and what is done then."""

from __future__ import annotations

import logging

import pytest

from sidekiq_py.clock import Clock
from sidekiq_py.redis_connection.server_time import ServerTime
from sidekiq_py.skew import SkewWatch


@pytest.mark.parametrize("skew", [90.0, -90.0, 1.1, -1.1])
def test_a_clock_that_is_wrong_is_corrected_to_what_was_heard_last(skew: float):
    clock = Clock()
    watch = SkewWatch(clock)

    watch.learn(ServerTime(0.001, skew))
    watch.learn(ServerTime(0.001, skew * 1.01))

    assert clock.skew == skew * 1.01


@pytest.mark.parametrize(
    "heard",
    [
        pytest.param(ServerTime(0.001, 0.9), id="less than a second off"),
        pytest.param(ServerTime(4.0, 2.5), id="the answer was late, so that it may be right"),
    ],
)
def test_a_clock_that_may_well_be_right_is_left_alone(heard: ServerTime, caplog: pytest.LogCaptureFixture):
    clock = Clock()

    SkewWatch(clock).learn(heard)

    assert clock.skew == 0.0
    assert caplog.messages == []


def test_going_wrong_and_being_set_right_are_a_line_each(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    clock = Clock()
    watch = SkewWatch(clock)

    for skew in (0.0, 3600.0, 3600.1, 0.0, 0.0):
        watch.learn(ServerTime(0.001, skew))

    wrong, right = caplog.messages
    assert wrong.startswith("Redis' clock is 3600.0 s ahead of this machine's")
    assert right == "this machine's clock agrees with Redis' again"
    assert clock.skew == 0.0
