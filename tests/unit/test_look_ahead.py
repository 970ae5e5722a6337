"""How many jobs to claim ahead: some while jobs are short, none as soon as they aren't."""

from __future__ import annotations

import pytest

from sidekiq_py.look_ahead import WORTH, LookAhead


def fed(concurrency: int = 10, *, rate: float, round_trip: float, most: int = 1000) -> LookAhead:
    """One that has seen jobs pass at that rate for a while."""
    ahead = LookAhead(concurrency, most)
    for _ in range(50):
        ahead.measured(finished=round(rate / 100), seconds=0.01, round_trip=round_trip)
    return ahead


def test_nothing_is_claimed_ahead_before_anything_is_known():
    assert LookAhead(10).jobs == 0


@pytest.mark.parametrize(
    ("rate", "round_trip", "is_ahead"),
    [
        (20_000, 0.001, True),  # 0.5 ms a job in each of ten slots: shorter than one round trip
        (10_000, 0.0002, True),  # 1 ms a job is five quick ones
        (4_000, 0.0002, False),  # 2.5 ms are more than ten
        (100, 0.001, False),  # 100 ms a job
        (1_000, 0.050, True),  # a far Redis makes jobs of 10 ms short
    ],
)
def test_jobs_are_claimed_ahead_when_they_are_shorter_than_ten_round_trips(rate, round_trip, is_ahead):
    assert (fed(rate=rate, round_trip=round_trip).jobs > 0) is is_ahead


def test_what_lies_ready_is_work_for_ten_milliseconds():
    assert fed(rate=20_000, round_trip=0.001).jobs == pytest.approx(20_000 * WORTH, rel=0.05)


def test_no_more_is_claimed_ahead_than_is_allowed():
    assert fed(rate=20_000, round_trip=0.001, most=7).jobs == 7


def test_it_can_be_turned_off():
    assert fed(rate=20_000, round_trip=0.001, most=0).jobs == 0


@pytest.mark.row("H8")
def test_jobs_that_were_not_started_in_time_end_it_at_once():
    ahead = fed(rate=20_000, round_trip=0.001)

    ahead.was_wrong()

    assert ahead.jobs == 0


def test_jobs_that_become_longer_end_it_within_a_few_round_trips():
    ahead = fed(rate=20_000, round_trip=0.001)

    for _ in range(20):
        ahead.measured(finished=10, seconds=0.1, round_trip=0.001)

    assert ahead.jobs == 0


def test_a_round_trip_that_took_no_time_breaks_nothing():
    ahead = LookAhead(10)

    ahead.measured(finished=1, seconds=0.0, round_trip=0.0)

    assert ahead.jobs == 0
