"""What becomes of a failed job: every row of the decision, with time and chance held still."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from sidekiq_py.job_retry import Discard, Kill, Retry, decide, next_retry_count, read_wish

NOW = 1_795_490_000.25


def decided(
    retry: object = True, count: int = 0, *, retry_in: object = None, chance: int = 0, **fields: object
):
    hook = None if retry_in is None else lambda _count: retry_in
    job = {"class": "A", "args": [], "retry": retry, "retry_count": count, "failed_at": NOW, **fields}
    return decide(job, now=NOW, retry_in=hook, randrange=lambda _limit: chance)


# -- how often -----------------------------------------------------------------------------------------


def executions(retry: object, **fields: object) -> int:
    """How often a job that always fails is run."""
    runs = 1
    while isinstance(decided(retry, runs - 1, **fields), Retry):
        runs += 1
    return runs


@pytest.mark.parametrize(
    ("retry", "runs"),
    [
        (True, 26),
        (25, 26),
        (3, 4),
        (1, 2),
        (0, 1),
        (-1, 1),
        (False, 1),
        ("3", 26),
        (2.0, 26),
        ([], 26),
        (10**30, None),
    ],
)
def test_only_an_integer_counts_as_a_number_of_retries(retry, runs):
    if runs is None:
        assert isinstance(decided(retry, 10_000), Retry)
    else:
        assert executions(retry) == runs


@pytest.mark.parametrize("retry", [0, 3, True])
def test_the_last_failure_kills(retry):
    assert decided(retry, 25) == Kill()


def test_retry_false_discards_whatever_else_the_job_says():
    assert isinstance(decided(False, retry_for=3600, retry_in="kill"), Discard)


def test_the_configured_limit_counts_where_the_job_gives_no_number():
    job = {"retry": True, "retry_count": 2}

    assert decide(job, now=NOW, max_retries=2) == Kill()
    assert isinstance(decide(job, now=NOW, max_retries=3), Retry)


@pytest.mark.parametrize(
    ("stored", "count"),
    [
        ({}, 0),
        ({"retry_count": 0}, 1),
        ({"retry_count": 24}, 25),
        ({"retry_count": -1}, 0),
        ({"retry_count": -9}, 0),
        ({"retry_count": 3.0}, 4),
        ({"retry_count": 2.9}, 3),
        ({"retry_count": None}, 0),
        ({"retry_count": True}, 0),
        ({"retry_count": "3"}, 0),
        ({"retry_count": []}, 0),
        ({"retry_count": float("inf")}, 0),
    ],
)
def test_a_count_goes_on_from_what_the_job_holds(stored, count):
    assert next_retry_count(stored) == count


@pytest.mark.parametrize("stored", [10**100, 1e300, 10**400, float("-inf")], ids=lambda each: repr(each)[:9])
def test_a_count_that_is_damage_does_not_cost_the_job_its_retry(stored):
    count = next_retry_count({"retry_count": stored})

    verdict = decided(True, count, retry_for=10**9)

    assert isinstance(verdict, Retry)
    assert verdict.at == NOW + 15


# -- retry_for -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failed_at", "retry_for", "verdict"),
    [
        (NOW - 3599, 3600, Retry),
        (NOW - 3601, 3600, Kill),
        (NOW - 3601, 3601.5, Retry),
        (int((NOW - 3599) * 1000), 3600, Retry),
        (int((NOW - 3601) * 1000), 3600, Kill),
        ("2020-01-01T00:00:00Z", 3600, Kill),
        ("soon", 3600, Retry),
        (None, 3600, Retry),
        (1.76e90, 3600, Retry),
        (NOW, 0, Kill),
        (NOW, -5, Kill),
    ],
)
def test_retry_for_counts_seconds_since_the_first_failure(failed_at, retry_for, verdict):
    assert isinstance(decided(failed_at=failed_at, retry_for=retry_for), verdict)


def test_retry_for_replaces_the_count():
    assert isinstance(decided(0, retry_for=3600), Retry)
    assert isinstance(decided(True, 99, retry_for=3600), Retry)
    assert decided(99, 0, failed_at=NOW - 7200, retry_for=3600) == Kill()


@pytest.mark.parametrize("retry_for", [None, True, "3600", [], {}])
def test_a_retry_for_that_is_no_number_leaves_it_to_the_count(retry_for):
    assert isinstance(decided(1, 0, failed_at=0.0, retry_for=retry_for), Retry)
    assert decided(1, 1, failed_at=NOW, retry_for=retry_for) == Kill()


# -- when ----------------------------------------------------------------------------------------------


@pytest.mark.row("F5")
@pytest.mark.parametrize("count", [0, 1, 2, 5, 24])
def test_the_delay_is_the_count_to_the_fourth_and_15_seconds(count):
    assert decided(count=count) == Retry(NOW + count**4 + 15)


@pytest.mark.parametrize("count", [0, 1, 24])
def test_the_jitter_is_ten_seconds_wider_at_each_failure(count):
    asked = []
    job = {"retry": True, "retry_count": count}

    decide(job, now=NOW, randrange=lambda limit: asked.append(limit) or 0)

    assert asked == [10 * (count + 1)]


@pytest.mark.row("F5")
def test_chance_spreads_jobs_that_failed_together_over_ten_seconds():
    chance = random.Random(3)
    job = {"retry": True, "retry_count": 0}

    due = {decide(job, now=NOW, randrange=chance.randrange).at - NOW - 15 for _ in range(1000)}

    assert due == {float(second) for second in range(10)}


@pytest.mark.parametrize(
    ("wish", "seconds"),
    [
        (1, 1),
        (60, 60),
        (60.9, 60),
        ("60", 60),
        ("60.9", 60),
        (1e9, 1_000_000_000),
        (" 7 ", 7),
        (timedelta(minutes=1), 60),
    ],
)
def test_retry_in_gives_the_seconds_and_jitter_is_added(wish, seconds):
    assert decided(count=3, retry_in=wish, chance=7) == Retry(NOW + seconds + 7)


@pytest.mark.row("F9")
@pytest.mark.parametrize(
    "wish",
    [
        0,
        -1,
        0.5,
        "soon",
        "",
        None,
        [],
        {},
        object(),
        float("nan"),
        float("inf"),
        1e10,
        10**400,
        "inf",
        1j,
        timedelta(0),
    ],
    ids=repr,
)
def test_retry_in_that_makes_no_sense_leaves_the_usual_delay(wish):
    assert read_wish(wish) is None
    assert decided(count=2, retry_in=wish) == Retry(NOW + 31)


def test_retry_in_is_asked_with_the_count_of_this_failure():
    asked = []

    decide({"retry": True, "retry_count": 4}, now=NOW, retry_in=asked.append)

    assert asked == [4]


def test_retry_in_may_discard_or_kill():
    assert isinstance(decided(retry_in="discard"), Discard)
    assert decided(retry_in="kill") == Kill()


@pytest.mark.parametrize("fields", [{"retry": 0}, {"retry": False}, {"retry_for": 0}])
def test_a_job_that_gets_no_retry_is_not_asked_when(fields):
    asked = []

    decide({"retry": True, "retry_count": 0, **fields}, now=NOW, retry_in=asked.append)

    assert asked == []
