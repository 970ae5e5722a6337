"""Due jobs are moved to their queues by whoever is there: by many at once, or by one that dies doing it."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from statistics import median

import pytest

from sidekiq_py.keys import RETRY, SCHEDULE
from sidekiq_py.scheduled import BATCH
from sidekiq_py.scripts import load
from tests.chaos.ruin import Ruin, jid
from tests.helpers import eventually
from tests.process.stage import LONG, payload

MANY = pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.soak)])


def due(
    ruin: Ruin, count: int, *, key: str = SCHEDULE, queue: str = "default", after: float = -1
) -> list[bytes]:
    """Jobs in one of the two sets whose time has come, or comes after so many seconds."""
    jobs = [payload("Brief", queue=queue) for _ in range(count)]
    ruin.stage.raw.zadd(key, {raw: time.time() + after for raw in jobs})
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


@pytest.mark.row("F3")
@MANY
def test_a_multitude_due_at_once_moves_by_the_hundred_while_other_jobs_run(own_ruin: Ruin, count: int):
    raw = own_ruin.stage.raw
    raw.config_set("slowlog-max-len", 100_000)
    raw.config_set("slowlog-log-slower-than", 0)
    own_ruin.start("-c", "5")

    due(own_ruin, count, queue="elsewhere")
    waits = []
    while raw.zcard(SCHEDULE):
        began = time.monotonic()
        own_ruin.stage.push("Canary", len(waits))
        own_ruin.stage.wait_for_note(f"canary {len(waits)}")
        waits.append(time.monotonic() - began)

    assert raw.llen("queue:elsewhere") == count
    assert len(waits) > 10, "jobs waited until all had moved"
    print(f"{len(waits)} jobs ran meanwhile, waiting {median(waits):.4f} s, at most {max(waits):.4f} s")
    promotions = calls(own_ruin, load("promote").sha)
    assert len(promotions) >= count / BATCH
    assert max(words for words, _ in promotions) <= len(("EVALSHA", "sha", 2, SCHEDULE, "queues")) + 3 * BATCH
    took = [milliseconds for _, milliseconds in promotions]
    print(f"a hundred took {median(took):.2f} ms, at most {max(took):.2f} ms")
    assert median(took) < 10


def calls(ruin: Ruin, sha: str) -> list[tuple[int, float]]:
    """Of each call of the script: how many words it had, and the milliseconds that Redis was held."""
    found = []
    for entry in ruin.stage.raw.slowlog_get(100_000):
        words = entry["command"].split()
        if words[1:2] == [sha.encode()]:
            # The slow log keeps 32 words; the last one of a longer call says "... (271 more arguments)".
            hidden = re.search(rb"\.\.\. \((\d+) more arguments\)$", entry["command"])
            found.append((31 + int(hidden[1]) if hidden else len(words), entry["duration"] / 1000))
    return found


@pytest.mark.row("F4")
@MANY
@pytest.mark.parametrize(("huge", "other"), [(RETRY, SCHEDULE), (SCHEDULE, RETRY)])
def test_what_comes_due_while_a_multitude_of_the_other_set_moves_goes_among_them(
    ruin: Ruin, huge: str, other: str, count: int
):
    raw = ruin.stage.raw
    ruin.start("-c", "5")
    due(ruin, count, key=huge, queue="elsewhere")
    eventually(lambda: raw.llen("queue:elsewhere"), LONG, every=0.001)

    soon = due(ruin, 1, key=other, after=0.05)
    eventually(lambda: not raw.zcard(other), LONG, every=0.001)
    left = raw.zcard(huge)

    print(f"{left} of {count} were left when it went")
    assert left > 0
    ruin.wait_until_ended(soon)
    eventually(lambda: raw.zcard(huge) == 0, 4 * LONG)


@pytest.mark.row("F4")
@MANY
def test_a_multitude_that_is_due_later_delays_nobody(ruin: Ruin, count: int):
    due(ruin, count, key=RETRY, queue="elsewhere", after=3600)
    ruin.start("-c", "5")

    ruin.wait_until_ended(due(ruin, 10))

    assert ruin.stage.raw.zcard(RETRY) == count


@pytest.mark.row("F5")
@pytest.mark.parametrize(("failed_before", "count"), [(None, 0), (2, 3)])
def test_a_thousand_that_fail_at_once_come_back_one_by_one(ruin: Ruin, failed_before: int | None, count: int):
    """Ruby waits count to the fourth and 15 seconds, and up to ten more for each failure so far."""
    fields = {} if failed_before is None else {"retry_count": failed_before, "failed_at": 1.5}
    width = 10 * (count + 1)
    ruin.push("Fails", count=1_000, **fields)

    ruin.start("-c", "50")
    eventually(lambda: ruin.stage.raw.zcard(RETRY) == 1_000, LONG)

    chances = Counter()
    for raw, score in ruin.stage.raw.zrange(RETRY, 0, -1, withscores=True):
        failed_at = moment(json.loads(raw)["failed_at" if failed_before is None else "retried_at"])
        chances[round(score - failed_at, 2) - count**4 - 15] += 1
    assert set(chances) == set(range(width))
    assert max(chances.values()) < 2 * 1_000 / width + 30


def moment(timestamp: float) -> float:
    """Epoch seconds, whichever generation wrote it."""
    return timestamp / 1000 if isinstance(timestamp, int) else timestamp
