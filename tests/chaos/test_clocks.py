"""Clocks that are an hour off, and clocks that are set while a job runs."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.ruin import TTL, Ruin, jid
from tests.helpers import eventually, rest
from tests.process.stage import LONG, payload
from tests.servers import missing

pytestmark = pytest.mark.servers

HOUR = 3600
PLANS = """
@job("Plans")
def plans(seconds):
    brief.perform_in(seconds)
"""

Set = Callable[[int], None]


@pytest.fixture
def clock(tmp_path: Path) -> tuple[dict[str, str], Set]:
    """The environment of a process whose clock is set by the function: seconds it is ahead of ours."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if library is None:
        missing("no libfaketime on this machine: apt install faketime")
    file = tmp_path / "faketime"

    def set_clock(ahead: int) -> None:
        (tmp_path / "next").write_text(f"{ahead:+d}s\n")
        (tmp_path / "next").rename(file)

    set_clock(0)
    environ = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # NTP sets the wall clock only
    }
    return environ, set_clock


@pytest.mark.row("B7")
@pytest.mark.parametrize("ahead", [HOUR, -HOUR])
def test_a_server_whose_clock_is_wrong_goes_by_the_clock_of_redis(ruin: Ruin, clock, ahead: int):
    environ, set_clock = clock
    set_clock(ahead)
    other = ruin.start("-q", "elsewhere")
    server = ruin.start(handlers=PLANS, environ=environ)

    due, due_at = payload("Brief"), time.time() + 2
    ruin.stage.raw.zadd("schedule", {due: due_at})
    [failing] = ruin.push("Fails")
    ruin.push("Plans", HOUR)
    ruin.stage.retry_of(jid(failing))
    eventually(lambda: ruin.stage.raw.zcard("schedule") == 2, LONG)
    now = time.time()

    [(_, retry_at)] = ruin.stage.raw.zrange("retry", 0, -1, withscores=True)
    assert now < retry_at < now + 30
    [_, (planned, planned_for)] = ruin.stage.raw.zrange("schedule", 0, -1, withscores=True)
    assert abs(planned_for - HOUR - now) < 10
    assert abs(seconds(json.loads(planned)["created_at"]) - now) < 10
    ruin.wait_until_ended([due])
    assert due_at < time.time() < due_at + 10
    rest(TTL)
    assert abs(float(ruin.stage.raw.hget(server.identity, "beat")) - time.time()) < TTL
    assert "rescued" not in ruin.logs
    assert server.log.count("Redis' clock is 3600") == 1
    assert "Redis' clock" not in other.log


@pytest.mark.row("B8")
def test_a_clock_that_is_set_while_a_job_runs_makes_no_time_negative(ruin: Ruin, clock):
    environ, set_clock = clock
    server = ruin.start(environ=environ)
    jobs = ruin.push("Until", "go")
    ruin.wait_until_running(1)

    set_clock(-HOUR)
    server.wait_for_log("ahead of this machine's")
    ruin.stage.let("go")
    ruin.wait_until_ended(jobs)
    set_clock(0)
    server.wait_for_log("agrees with Redis' again")

    [elapsed] = re.findall(r"elapsed=(\S+): done", server.log)
    assert 0 <= float(elapsed) < LONG
    [spent] = eventually(lambda: milliseconds_spent(ruin, "Until"), LONG)
    assert 0 <= spent < 1000 * LONG
    ruin.assert_once(jobs)
    assert server.log.count("Redis' clock is") == 1


def milliseconds_spent(ruin: Ruin, job_class: str) -> list[int]:
    """What the day's metrics say of the class, all minutes together."""
    totals = [ruin.stage.raw.hget(key, f"{job_class}|ms") for key in ruin.stage.raw.keys("j|*|*:*")]
    return [sum(int(each) for each in totals if each is not None)] if any(totals) else []


def seconds(timestamp: float) -> float:
    """A time in a payload: seconds, or since Sidekiq 8 milliseconds."""
    return timestamp / 1000 if timestamp > 1e11 else timestamp
