"""Processes that stand still or never let go of the interpreter: the stuck live, the frozen are replaced."""

from __future__ import annotations

import pytest

from tests.chaos.ruin import TTL, Ruin, jid, send
from tests.helpers import eventually, rest
from tests.process.stage import LONG

STUCK = """


@job("Computes")
def computes(seconds):
    start()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass
    end()


@job("Blocks")
def blocks(seconds):
    start()
    libc = ctypes.PyDLL(None)  # keeps the interpreter's lock, as a careless extension does
    libc.usleep(int(seconds * 1e6))
    end()
"""


@pytest.mark.row("B1")
def test_jobs_of_a_frozen_server_run_elsewhere_and_what_it_says_late_counts_no_more(ruin: Ruin):
    frozen = ruin.start("-c", "3")
    ended, failing = ruin.push("Until", "go"), ruin.push("Fails", "go")
    ruin.wait_until_running(2)
    for pid in (frozen.pid, *frozen.worker_pids):
        send(pid, "STOP")

    living = ruin.start("-c", "3")
    living.wait_for_log("rescued 2 jobs")
    ruin.stage.let("go")
    ruin.wait_until_ended(ended)
    ruin.stage.retry_of(jid(failing[0]))
    for pid in (*frozen.worker_pids, frozen.pid):
        send(pid, "CONT")
    frozen.wait_for_log("not ours any more")
    eventually(lambda: ruin.lines("start").total() == 4, LONG)
    after = ruin.push("Brief", count=10)
    ruin.wait_until_ended(after)

    ruin.wait_until_clean()
    assert ruin.lines("start") == {
        **{jid(raw): 2 for raw in ended + failing},
        **{jid(raw): 1 for raw in after},
    }
    assert len(ruin.stage.retries()) == 1
    assert b'"retry_count":0' in ruin.stage.retries()[0]
    eventually(lambda: frozen.identity in ruin.identities(), LONG)


@pytest.mark.row("B2")
def test_a_short_pause_is_nobody_s_death(ruin: Ruin):
    paused = ruin.start("-c", "3")
    jobs = ruin.push("Until", "go", count=3)
    ruin.wait_until_running(3)
    living = ruin.start()

    for pid in (paused.pid, *paused.worker_pids):
        send(pid, "STOP")
    rest(TTL / 2)
    for pid in (*paused.worker_pids, paused.pid):
        send(pid, "CONT")
    rest(TTL)
    ruin.stage.let("go")

    ruin.assert_once(jobs)
    assert "rescued" not in living.log


@pytest.mark.row("B3", "B4", "B5")
@pytest.mark.parametrize(
    ("job_class", "argument"),
    [("Computes", 3 * TTL), ("Blocks", 3 * TTL)],
)
def test_a_stuck_worker_lives_on_and_keeps_its_jobs(ruin: Ruin, job_class: str, argument: float):
    stuck = ruin.start("-c", "2", handlers=STUCK)
    jobs = ruin.push(job_class, argument)
    ruin.wait_until_running(1)
    living = ruin.start(handlers=STUCK)

    def look() -> bool:
        assert ruin.stage.raw.exists(stuck.identity), living.log
        assert stuck.identity in ruin.identities()
        return bool(ruin.lines("end"))

    while not look():
        rest(0.1)

    ruin.assert_once(jobs)
    assert "rescued" not in living.log
