"""Processes that stand still or never let go of the interpreter: the stuck live, the frozen are replaced."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest

from tests.chaos.ruin import TTL, Ruin, jid, load, send
from tests.helpers import eventually, rest
from tests.process.stage import LONG

pytestmark = pytest.mark.servers

STUCK = """


@job("Computes")
def computes(seconds):
    start()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass
    end()


@job("TakesTurns")
def takes_turns():
    start()
    while not os.path.exists("enough"):
        until = time.monotonic() + 0.1
        while time.monotonic() < until:
            pass
        time.sleep(0)
    end()


@job("Backtracks")
def backtracks(seconds):
    import math, re
    start()
    pattern = re.compile("(a+)+b")

    def took(letters):
        began = time.monotonic()
        pattern.match("a" * letters)
        return time.monotonic() - began

    doublings = math.log2(seconds / min(took(16) for _ in range(5)))
    pattern.match("a" * (16 + math.ceil(doublings)))  # each letter more takes twice as long
    end()


@job("Blocks")
def blocks(seconds):
    start()
    libc = ctypes.PyDLL(None)  # keeps the interpreter's lock, as a careless extension does
    libc.usleep(int(seconds * 1e6))
    end()
"""


@pytest.mark.every_server
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


WATCHED = {"SIDEKIQ_STALL_AFTER": "1"}


@pytest.mark.row("B3", "B4", "B5", "B6")
@pytest.mark.parametrize(
    ("job_class", "where"),
    [
        ("Computes", ", in computes"),
        ("Backtracks", ", in backtracks"),
        ("Blocks", "it waits in a system call"),
    ],
)
def test_a_stuck_worker_lives_on_and_keeps_its_jobs_and_the_log_says_who_is_to_blame(
    ruin: Ruin, job_class: str, where: str
):
    stuck = ruin.start("-c", "2", handlers=STUCK, environ=WATCHED)
    [job] = ruin.push(job_class, 3 * TTL)
    ruin.wait_until_running(1)
    living = ruin.start(handlers=STUCK)
    told = stuck.wait_for_log(where)
    assert not ruin.lines("end")

    def look() -> bool:
        assert ruin.stage.raw.exists(stuck.identity), living.log
        assert stuck.identity in ruin.identities()
        return bool(ruin.lines("end"))

    while not look():
        rest(0.1)

    ruin.assert_once([job])
    assert "rescued" not in living.log
    [line] = [line for line in told.splitlines() if "WARN" in line]
    assert f"jid={jid(job)}" in line
    assert job_class in line
    eventually(lambda: int(ruin.stage.raw.hget(stuck.identity, "stalls")) >= 1, LONG)


@pytest.mark.row("B3", "B6")
def test_a_job_that_keeps_the_others_waiting_is_told_of_once_and_so_is_its_end(ruin: Ruin):
    server = ruin.start("-c", "2", "-p", "0", handlers=STUCK, environ=WATCHED)

    [job] = ruin.push("Computes", 3)

    ruin.assert_once([job])
    lines = server.wait_for_log("the event loop turns again after").splitlines()
    for words in ("has held the event loop for", "the event loop turns again after"):
        [told] = [line for line in lines if words in line and jid(job) in line]
        assert "class=Computes" in told
    assert 1 <= float(told.split()[-2]) < LONG


@pytest.mark.row("B4", "B5")
@pytest.mark.parametrize("job_class", ["Backtracks", "Blocks"])
def test_without_a_supervisor_a_held_interpreter_is_told_of_when_it_is_let_go(ruin: Ruin, job_class: str):
    environ = {**WATCHED, "SIDEKIQ_HEARTBEAT_TTL": "20"}  # nobody beats meanwhile
    server = ruin.start("-c", "2", "-p", "0", handlers=STUCK, environ=environ)

    [job] = ruin.push(job_class, 2)

    ruin.assert_once([job])
    eventually(lambda: re.search(r"has held the event loop for|nothing ran for", server.log), LONG)
    eventually(lambda: int(ruin.stage.raw.hget(server.identity, "stalls")) >= 1, LONG)


@pytest.mark.row("B1", "B6")
def test_no_job_is_blamed_for_a_process_that_was_stopped(ruin: Ruin):
    server = ruin.start("-c", "2", "-p", "0", handlers=STUCK, environ=WATCHED)
    [job] = ruin.push("TakesTurns")
    ruin.wait_until_running(1)

    send(server.pid, "STOP")
    rest(4)
    send(server.pid, "CONT")
    server.wait_for_log("nothing ran for")
    ruin.stage.let("enough")

    ruin.assert_once([job])
    assert "has held the event loop" not in server.log


@pytest.mark.row("B6")
def test_a_job_that_waits_as_it_should_is_no_stall(ruin: Ruin):
    server = ruin.start(environ=WATCHED)

    ruin.assert_once(ruin.push("Brief", 2.0))

    assert ruin.stage.raw.hget(server.identity, "stalls") == b"0"
    assert int(ruin.stage.raw.hget(server.identity, "lag_us")) > 0
    assert "event loop" not in server.log


@pytest.mark.row("B9")
def test_a_server_on_a_machine_that_is_busy_with_others_goes_on_beating(ruin: Ruin):
    ttl = 6
    server = ruin.start("-c", "2", environ={"SIDEKIQ_HEARTBEAT_TTL": str(ttl)})
    beats: list[float] = []

    with burners(2 * (os.cpu_count() or 1)), load(ruin) as jobs:
        until = time.monotonic() + ttl
        while time.monotonic() < until:
            beats.append(float(ruin.stage.raw.hget(server.identity, "beat")))
            rest(0.02)

    beats = sorted(set(beats))
    assert len(beats) >= 3
    assert max(later - earlier for earlier, later in pairwise(beats)) < ttl / 2
    ruin.assert_once(jobs)


@contextmanager
def burners(count: int) -> Iterator[None]:
    """Processes that take all the CPU they can get from whoever else wants it."""
    burn = "import os\nos.nice(1)\nwhile True: pass"
    running = [subprocess.Popen([sys.executable, "-c", burn]) for _ in range(count)]
    try:
        yield
    finally:
        for each in running:
            each.kill()
            each.wait()
