"""Ruby's servers of three generations and ours are killed on the same queues: no job is lost by us."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
from redis import Redis

from compat_tests.ledger import CONCURRENCY
from compat_tests.ruby import Ruby
from compat_tests.torture import Torture

Start: TypeAlias = Callable[..., Torture]


@pytest.fixture
def tortured(rubies: dict[str, Ruby], raw: Redis, tmp_path: Path) -> Iterator[Start]:
    """`tortured(jobs, "TERM", "KILL")`: it has happened, Ruby being ended in one of these ways at a time.

    The environment variable TORTURE_SEED repeats a run's choices.
    """
    made: list[Torture] = []

    def start(jobs: int, *ruby_ends: str) -> Torture:
        seed = int(os.environ.get("TORTURE_SEED") or random.randrange(10**9))
        print(f"TORTURE_SEED={seed}")
        torture = Torture(rubies, raw, tmp_path, seed=seed, ruby_ends=ruby_ends)
        made.append(torture)
        began = time.monotonic()
        torture.run(jobs)
        print(
            f"{len(torture.pushed)} jobs in {time.monotonic() - began:.1f} s, "
            f"done by {torture.ledger.shares()}, ended {dict(torture.deaths.kinds)}, "
            f"doubles {len(torture.ledger.doubles())}, dead {len(torture.dead())}, "
            f"lost {len(torture.missing())}"
        )
        return torture

    yield start
    for torture in made:
        torture.clean_up()


@pytest.mark.row("A3")
@pytest.mark.parametrize(
    "jobs",
    [pytest.param(2_000, marks=pytest.mark.timeout(300)), pytest.param(20_000, marks=pytest.mark.soak)],
)
def test_nothing_is_lost_when_ours_are_killed_and_rubys_are_stopped(
    tortured: Start, rubies: dict[str, Ruby], raw: Redis, jobs: int
) -> None:
    torture = tortured(jobs, "TERM")

    assert torture.missing() == set()
    assert torture.ledger.unexplained() == {}
    judge_what_is_left(torture, rubies, raw)


@pytest.mark.row("A3")
@pytest.mark.soak
def test_what_kill_9_loses_was_in_rubys_hands(tortured: Start, rubies: dict[str, Ruby], raw: Redis) -> None:
    torture = tortured(20_000, "TERM", "KILL")

    # What a reply of Redis was bringing, to each of its threads and to its scheduler, it could not note.
    unnoted = torture.missing() - torture.ledger.in_rubys_hands()
    print(f"of those {len(unnoted)} were on the way to Ruby")
    assert len(unnoted) <= (CONCURRENCY + 1) * len(torture.deaths.lost)
    assert torture.ledger.unexplained() == {}
    judge_what_is_left(torture, rubies, raw)


def judge_what_is_left(torture: Torture, rubies: dict[str, Ruby], raw: Redis) -> None:
    """Both sides did their part; no claim outlived its owner; Ruby reads everything."""
    assert min(torture.ledger.shares().values()) > len(torture.pushed) / 50, torture.ledger.shares()
    assert raw.keys("sidekiq-py:claim:*") == []
    assert raw.hgetall("sidekiq-py:processes") == {}
    for jid in torture.dead():
        assert torture.deaths.times_held(jid) >= 3
    # Whom a kill -9 kept from signing off, Ruby's API prunes: once a minute, when the heartbeat is gone.
    raw.delete("process_cleanup", *raw.smembers("processes"))
    assert rubies["8.1"].processes() == []
    assert raw.exists("processes") == 0
    for ruby in rubies.values():
        stats = ruby.stats()
        assert [stats[name] for name in ("enqueued", "scheduled_size", "retry_size")] == [0, 0, 0], stats
        assert {entry["jid"] for entry in ruby.entries("dead")} == torture.dead()
