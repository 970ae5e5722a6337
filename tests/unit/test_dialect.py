"""Which generation of Sidekiq we write for: the job's own style first, then the oldest process alive."""

from __future__ import annotations

import pytest

from sidekiq_py.dialect import UNKNOWN, Dialect, milliseconds, seconds, timestamp_like

NOW = 1_795_490_317.9876


@pytest.mark.parametrize(
    ("versions", "dialect"),
    [
        (["8.1.7"], 8),
        (["7.3.2"], 7),
        (["8.1.7", "7.3.2"], 7),
        (["8.1.7", "7.3.2", None], 6),
        ([None], 6),
        (["6.5.12", "8.0.0"], 6),
        (["10.2.0"], 8),
        (["5.2.1"], 6),
        (["8.1.7", "8.0.0.beta1"], 8),
        (["what?"], 6),
    ],
)
def test_the_lowest_ruby_version_alive_wins(versions, dialect):
    assert Dialect.of_versions(versions) == dialect


def test_nobody_alive_speaks_no_dialect():
    assert Dialect.of_versions([]) is None


@pytest.mark.parametrize("dialect", [Dialect.SIX, Dialect.SEVEN, UNKNOWN])
def test_6_and_7_and_the_unknown_get_float_seconds(dialect):
    assert repr(dialect.timestamp(NOW)) == "1795490317.9876"


def test_8_gets_integer_milliseconds():
    assert repr(Dialect.EIGHT.timestamp(NOW)) == "1795490317987"


def test_whole_seconds_keep_their_point_and_milliseconds_have_none():
    assert repr(seconds(1795490317)) == "1795490317.0"
    assert repr(milliseconds(1795490317.0)) == "1795490317000"


@pytest.mark.parametrize("default", list(Dialect))
@pytest.mark.parametrize(
    ("created_at", "written"), [(1_795_000_000.5, NOW), (1_795_000_000_500, 1_795_490_317_987)]
)
def test_a_retried_job_keeps_the_style_of_its_created_at_whoever_else_lives(created_at, written, default):
    moment = timestamp_like(created_at, NOW, default)

    assert (moment, type(moment)) == (written, type(written))


@pytest.mark.parametrize("created_at", [None, True, "2026-11-24", [], {}])
def test_a_job_without_a_style_of_its_own_gets_the_default(created_at):
    assert timestamp_like(created_at, NOW, Dialect.SEVEN) == NOW
    assert timestamp_like(created_at, NOW, Dialect.EIGHT) == 1_795_490_317_987
