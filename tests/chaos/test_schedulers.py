"""Due jobs are moved to their queues by whoever is there: by many at once, or by one that dies doing it."""

from __future__ import annotations

import time

import pytest

from tests.chaos.ruin import Ruin, jid
from tests.helpers import eventually
from tests.process.stage import LONG, payload


def due(ruin: Ruin, count: int, *, key: str = "schedule") -> list[bytes]:
    """Jobs whose time has come, in one of the two sets."""
    jobs = [payload("Brief") for _ in range(count)]
    ruin.stage.raw.zadd(key, {raw: time.time() - 1 for raw in jobs})
    return jobs


@pytest.mark.row("F1")
@pytest.mark.parametrize("failpoint", ["promote.send", "promote.reply"])
@pytest.mark.parametrize("key", ["schedule", "retry"])
def test_a_poller_that_dies_while_it_moves_jobs_loses_and_doubles_none(ruin: Ruin, failpoint: str, key: str):
    jobs = due(ruin, 150, key=key)  # more than it moves in one step

    dying = ruin.launch("-q", "elsewhere", environ={"SIDEKIQ_PY_FAILPOINT": failpoint})
    dying.wait_for_log("killed by SIGKILL")
    dying.kill()
    waiting = ruin.stage.raw.zcard(key)
    queued = ruin.stage.queue()
    ruin.start("-c", "5")
    ruin.wait_until_ended(jobs)

    assert waiting + len(queued) == len(jobs)
    ruin.wait_until_clean()
    assert ruin.lines("start") == {jid(raw): 1 for raw in jobs}
    assert ruin.stage.raw.zcard(key) == 0


@pytest.mark.row("F2")
@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.soak)])
def test_pollers_that_race_for_the_same_jobs_enqueue_each_once(ruin: Ruin, count: int):
    for _ in range(2):
        ruin.start("-c", "5", "-p", "2")

    jobs = due(ruin, count) + due(ruin, count, key="retry")
    ruin.wait_until_ended(jobs, 4 * LONG)

    ruin.wait_until_clean()
    assert ruin.lines("start") == {jid(raw): 1 for raw in jobs}
    eventually(lambda: ruin.stage.raw.zcard("schedule") == ruin.stage.raw.zcard("retry") == 0, LONG)
