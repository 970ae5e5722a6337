"""Quiet and stop by real signals: what becomes of running jobs, and that the end comes in time."""

from __future__ import annotations

import json
import os
import re
import signal

import pytest

from tests.helpers import eventually, rest
from tests.process.stage import LONG, Stage, payload

HANDLERS = """
import threading

@job("Long")
def long(name, until="never"):
    note("start", name)
    try:
        wait_for(until)
    except Exception:
        note("caught as an Exception")
    finally:
        note("end", name)

@job("Tidy")
def tidy(name):
    note("start", name)
    try:
        wait_for("never")
    except BaseException as error:
        note("interrupted by", type(error).__name__)
        wait_for("tidied")
        raise

@job("Transform")
def transform():
    note("start transform")
    try:
        wait_for("never")
    except BaseException as error:
        raise ValueError("something went wrong")

@job("Forget")
def forget():
    note("start forget")
    try:
        wait_for("never")
    except BaseException:
        pass
    raise ValueError("a failure of its own")

@job("Finish")
def finish():
    note("start finish")
    try:
        wait_for("never")
    except BaseException:
        note("finished all the same")

@job("Stubborn")
def stubborn():
    note("start stubborn")
    while True:
        try:
            time.sleep(0.05)
        except BaseException:
            pass

@job("Burn")
def burn(until="never"):
    note("start burn")
    while not os.path.exists(until):
        pass

@configure_server
def configure(config):
    config.error_handlers.append(lambda error, context: note("error", error))
"""


def counts(stage: Stage) -> tuple[int, int]:
    """All processed and failed jobs, as Sidekiq's Web shows them."""
    return int(stage.raw.get("stat:processed") or 0), int(stage.raw.get("stat:failed") or 0)


def assert_nothing_is_left(stage: Stage) -> None:
    assert stage.claimed() == []
    assert stage.retries() == stage.dead() == []
    assert stage.raw.smembers("processes") == set()
    assert stage.raw.keys("*:work") == []
    assert "error" not in " ".join(stage.notes)
    assert "Traceback" not in stage.server.log


@pytest.mark.row("G1")
def test_term_lets_running_jobs_finish_and_takes_no_new_ones(stage: Stage):
    server = stage.start(HANDLERS, "-c", "2")
    stage.push("Long", "a", "go")
    stage.push("Long", "b", "go")
    stage.wait_for_note("start a")
    stage.wait_for_note("start b")

    server.signal("TERM")
    server.wait_for_log("2 jobs have 25 s to finish")
    waiting = stage.push("Canary")
    stage.let("go")

    assert server.wait() == 0
    assert stage.queue() == [waiting]
    assert counts(stage) == (2, 0)
    assert "2 done, 0 failed, 0 pushed back" in server.log
    assert_nothing_is_left(stage)


@pytest.mark.row("G2")
def test_jobs_that_do_not_finish_in_time_are_next_in_their_queue_once_and_in_order(stage: Stage):
    server = stage.start(HANDLERS, "-c", "3", "-t", "0.5")
    long = []
    for name in "abc":
        long.append(stage.push("Long", name))
        stage.wait_for_note(f"start {name}")
    waiting = stage.push("Canary")

    assert server.stop() == 0

    assert stage.queue() == [*long, waiting]
    assert sorted(stage.notes) == sorted([f"{word} {name}" for name in "abc" for word in ("start", "end")])
    assert "0 done, 0 failed, 3 pushed back" in server.log
    assert_nothing_is_left(stage)


def test_interrupted_jobs_count_as_sidekiq_counts_them_and_leave_no_mark(stage: Stage):
    server = stage.start(HANDLERS, "-t", "0.5")
    pushed = stage.push("Long", "a")
    stage.wait_for_note("start a")

    server.stop()

    assert counts(stage) == (1, 1)
    assert stage.queue() == [pushed]
    assert "class=Long elapsed=" in server.log
    assert ": interrupted" in server.log


def test_a_job_is_back_in_its_queue_before_it_is_interrupted(stage: Stage):
    server = stage.start(HANDLERS, "-t", "0.2")
    pushed = stage.push("Tidy", "a")
    stage.wait_for_note("start a")

    server.signal("TERM")
    stage.wait_for_note("interrupted by Shutdown")
    queue, claimed = stage.queue(), stage.claimed()
    stage.let("tidied")

    assert (queue, claimed) == ([pushed], [])
    assert server.wait() == 0


@pytest.mark.row("G3", "G12")
@pytest.mark.parametrize(
    ("job_class", "sums"),
    [
        ("Transform", "0 done, 0 failed, 1 pushed back"),
        ("Forget", "0 done, 1 failed, 1 pushed back"),
        ("Finish", "1 done, 0 failed, 1 pushed back"),
        ("Stubborn", "0 done, 0 failed, 1 pushed back"),
    ],
)
def test_whatever_a_handler_makes_of_the_interrupt_there_is_one_copy_of_its_job(
    stage: Stage, job_class, sums
):
    server = stage.start(HANDLERS, "-t", "0.2")
    pushed = stage.push(job_class)
    stage.wait_for_note(f"start {job_class.lower()}")

    assert server.stop() == 0

    assert stage.queue() == [pushed]
    assert stage.claimed() == stage.retries() == stage.dead() == []
    assert sums in server.log
    assert "a peer" not in server.log
    assert server.log.count("ended well after they had been put back") == (job_class == "Finish")


@pytest.mark.row("G4")
def test_tstp_quiets_and_term_ends(stage: Stage):
    server = stage.start(HANDLERS, "-c", "2")
    stage.push("Long", "a", "go")
    stage.wait_for_note("start a")

    server.signal("TSTP")
    eventually(lambda: stage.raw.hget(server.identity, "quiet") == b"true", LONG)
    waiting = stage.push("Canary")
    later = stage.push("Canary")
    stage.raw.zadd("schedule", {payload("Canary"): 1})
    stage.let("go")
    stage.wait_for_note("end a")
    eventually(lambda: stage.claimed() == [], LONG)

    assert server.is_running
    assert stage.queue() == [waiting, later]
    assert server.stop() == 0
    assert "canary tweet" not in stage.notes
    assert stage.raw.zcard("schedule") == 1
    assert stage.raw.smembers("processes") == set()


@pytest.mark.row("G10")
def test_signals_left_in_redis_by_a_web_page_are_obeyed(stage: Stage):
    server = stage.start(HANDLERS)
    signals = f"{server.identity}-signals"

    stage.raw.lpush(signals, "NONSENSE")
    stage.raw.lpush(signals, "TTIN")
    server.wait_for_log("got TTIN")
    stage.raw.lpush(signals, "TSTP")
    server.wait_for_log("quiet")
    stage.raw.lpush(signals, "TERM")

    assert server.wait() == 0
    assert "signal 'NONSENSE' was left for this process and ignored" in server.log


@pytest.mark.row("G11")
def test_a_second_int_waits_no_longer(stage: Stage):
    server = stage.start(HANDLERS, "-t", "600")
    pushed = stage.push("Long", "a")
    stage.wait_for_note("start a")

    server.signal("INT")
    server.wait_for_log("1 jobs have 600 s to finish")
    server.signal("INT")

    assert server.wait() == 0
    assert stage.queue() == [pushed]


@pytest.mark.row("G11")
def test_both_ints_count_when_a_busy_handler_delays_their_hearing(stage: Stage):
    server = stage.start(HANDLERS, "-c", "2", "-t", "600")
    pushed = stage.push("Long", "a")
    stage.wait_for_note("start a")
    stage.push("Burn", "burnt")
    stage.wait_for_note("start burn")

    server.signal("INT")
    rest(0.1)  # signals of one kind that wait together are one
    server.signal("INT")
    rest(0.1)
    stage.let("burnt")

    assert server.wait() == 0
    assert stage.queue() == [pushed]


@pytest.mark.row("G12")
def test_a_handler_that_burns_cpu_for_ever_does_not_keep_the_process_alive(stage: Stage):
    server = stage.start(HANDLERS, "-c", "2", "-t", "0.2")
    pushed = {stage.push("Long", "a")}
    stage.wait_for_note("start a")
    pushed.add(stage.push("Burn"))
    stage.wait_for_note("start burn")

    assert server.stop() == 0

    assert set(stage.queue()) == pushed
    assert len(stage.queue()) == 2
    assert stage.claimed() == []
    assert stage.raw.smembers("processes") == set()
    assert counts(stage) == (2, 2)
    assert re.search(r"did not let the process stop \(jid=\w+ class=Burn\)", server.log)


HOOKED = """
@job("Hooked")
def hooked():
    raise ValueError("a failure of its own")

@hooked.retry_in
def retry_in(count, error, job):
    note("start hook")
    wait_for("never")
"""


@pytest.mark.row("G2")
def test_a_job_that_is_interrupted_in_its_hook_is_put_back_and_not_counted_as_failed_too(stage: Stage):
    server = stage.start(HANDLERS + HOOKED, "-t", "0.2")
    pushed = stage.push("Hooked")
    stage.wait_for_note("start hook")

    assert server.stop() == 0

    assert stage.queue() == [pushed]
    assert stage.retries() == []
    assert "retry_in of Hooked failed: Shutdown" in server.log
    assert "0 done, 0 failed, 1 pushed back" in server.log


ASYNCIO = """
import asyncio, signal

@job("Loop")
def loop():
    async def main():
        asyncio.get_running_loop().add_signal_handler(signal.SIGWINCH, lambda: note("heard WINCH"))
        note("start loop")
        while not os.path.exists("close"):
            await asyncio.sleep(0.01)
    asyncio.run(main())
    note("end loop")
"""


@pytest.mark.row("G13")
@pytest.mark.parametrize("processes", ["0", "1"])
@pytest.mark.parametrize("is_closed", [True, False], ids=["closed", "running"])
def test_a_loop_of_asyncio_that_hears_signals_leaves_the_server_its_own(
    stage: Stage, processes: str, is_closed: bool
):
    server = stage.start(HANDLERS + ASYNCIO, "-p", processes, "-t", "600")
    stage.push("Long", "a", "go-a")
    stage.push("Loop")
    for line in ("start a", "start loop"):
        stage.wait_for_note(line)
    if is_closed:
        stage.let("close")
        stage.wait_for_note("end loop")

    server.signal("TSTP")
    server.wait_for_log("quiet: no new jobs")
    server.signal("INT")  # twice would be at once
    server.wait_for_log("have 600 s to finish")
    if not is_closed:
        os.kill(server.worker_pid, signal.SIGWINCH)
        stage.wait_for_note("heard WINCH")
    for name in ("close", "go-a"):
        stage.let(name)

    assert server.wait() == 0
    assert "2 done, 0 failed, 0 pushed back" in server.log


BLOCKED_LOG = """
@job("Logs")
def logs():
    read, write = os.pipe()  # nobody reads it
    os.dup2(write, 1)
    note("start logs")
    while True:
        current_job().logger.info("x" * 1000)
"""


@pytest.mark.row("G12")
@pytest.mark.parametrize("processes", ["0", "1"])
def test_a_log_that_nobody_reads_any_more_does_not_keep_the_process_alive(stage: Stage, processes: str):
    server = stage.start(HANDLERS + BLOCKED_LOG, "-p", processes, "-t", "0.2")
    pushed = stage.push("Logs")
    stage.wait_for_note("start logs")

    assert server.stop() == 0

    assert stage.queue() == [pushed]
    assert stage.claimed() == []
    assert stage.raw.smembers("processes") == set()
    assert "is killed" not in server.log


FULL_LOG = """
@job("Fills")
def fills():
    os.set_blocking(1, False)
    try:
        while True:
            os.write(1, b"x")
    except BlockingIOError:
        os.set_blocking(1, True)
    note("full")
    wait_for("never")
"""


@pytest.mark.soak  # it takes as long as the supervisor waits for the last worker
@pytest.mark.row("G12")
def test_a_log_that_nobody_reads_keeps_the_supervisor_from_nothing_but_its_exit_code(stage: Stage):
    log = stage.directory / "server0.log"
    os.mkfifo(log)
    reader = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
    try:
        server = stage.launch(HANDLERS + FULL_LOG, "-p", "1", "-t", "0.2")
        pushed = stage.push("Fills")
        eventually(lambda: "full" in stage.notes, LONG)

        server.signal("TERM")

        eventually(lambda: stage.queue() == [pushed], LONG)
        assert server.wait() == 1
        assert stage.raw.smembers("processes") == set()
    finally:
        os.close(reader)


def test_term_while_starting_ends_as_soon_as_it_has_started(stage: Stage):
    server = stage.launch(
        HANDLERS
        + """
    def slow_start():
        note("starting")
        wait_for("started")

    config.on("startup", slow_start)
"""
    )
    stage.wait_for_note("starting")

    server.signal("TERM")
    stage.let("started")

    assert server.wait() == 0
    assert_nothing_is_left(stage)


def test_ttin_shows_where_every_job_and_every_thread_is(stage: Stage):
    server = stage.start(HANDLERS)
    stage.push("Long", "a", jid="the-jid")
    stage.wait_for_note("start a")

    server.signal("TTIN")

    log = server.wait_for_log("thread ")
    job = log[log.index("job tid=") :]
    assert "jid=the-jid class=Long" in job
    assert "in long\n    wait_for(until)" in job
    assert "native" in server.wait_for_log("native")
    assert server.is_running


CAPSULES = """
    capsule = config.capsule("other", concurrency=1)
    capsule.queues = ["default", "special"]
"""


@pytest.mark.row("G8")
def test_the_end_of_one_capsule_touches_no_job_of_another(stage: Stage):
    server = stage.start(HANDLERS + CAPSULES, "-c", "1")
    for name in "ab":  # one runs in each capsule
        stage.push("Long", name, f"go-{name}")
        stage.wait_for_note(f"start {name}")

    server.signal("TERM")
    server.wait_for_log("2 jobs have")
    stage.let("go-a")
    stage.wait_for_note("end a")
    stage.let("go-b")

    assert server.wait() == 0
    assert stage.queue() == []
    assert "2 done, 0 failed, 0 pushed back" in server.log
    assert_nothing_is_left(stage)


@pytest.mark.parametrize("job_class", ["Long", "Burn"])
def test_jobs_of_every_capsule_are_put_back(stage: Stage, job_class):
    server = stage.start(HANDLERS + CAPSULES, "-c", "1", "-t", "0.2")
    stage.push("Long", "a", queue="special")
    stage.wait_for_note("start a")
    stage.push(job_class, "never")
    stage.wait_for_note("start never" if job_class == "Long" else "start burn")

    assert server.stop() == 0

    assert [json.loads(raw)["class"] for raw in stage.queue("special")] == ["Long"]
    assert [json.loads(raw)["class"] for raw in stage.queue()] == [job_class]
    assert stage.claimed() == []


CAN_NOT_BEAT = """
import sys, types
sys.modules["setproctitle"] = types.ModuleType("setproctitle")  # a beat shows the title first
sys.modules["setproctitle"].setproctitle = lambda title: os.path.exists(f"broken {os.getpid()}") and 1 / 0

@job("Breaks")
def breaks():
    open(f"broken {os.getpid()}", "w").close()
    note("breaks")
"""


def test_a_server_whose_heart_fails_for_other_reasons_than_redis_ends_itself(stage: Stage):
    server = stage.start(CAN_NOT_BEAT, "-p", "0", environ={"SIDEKIQ_HEARTBEAT_TTL": "2"})
    stage.push("Breaks")

    assert server.wait(LONG) == 1
    assert server.log.count("no heartbeat could be made for ") == 1
    assert server.log.count("heartbeat failed: division by zero") < 5
    assert "Bye!" in server.log


def test_a_heart_whose_hub_has_died_beats_again(stage: Stage):
    """As the hub does when memory is short in the wrong moment."""
    handlers = (
        CAN_NOT_BEAT
        + """
import gevent, greenlet

def show(title):
    if os.path.exists(f"broken {os.getpid()}"):
        os.unlink(f"broken {os.getpid()}")
        note("killed")
        gevent.get_hub().destroy()
        greenlet.greenlet.throw(gevent.get_hub(), MemoryError)  # before its first turn, which ends it

sys.modules["setproctitle"].setproctitle = show
"""
    )
    server = stage.start(handlers, "-p", "0", environ={"SIDEKIQ_HEARTBEAT_TTL": "2"})
    stage.push("Breaks")
    stage.wait_for_note("killed")

    stage.raw.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")  # now it needs its hub
    stage.raw.delete(server.identity)
    eventually(lambda: stage.raw.exists(server.identity), LONG)
    stage.push("Canary", "still here")
    stage.wait_for_note("canary still here")

    assert "Invalid switch" not in server.log  # of each wait on a hub that is dead
    assert server.stop() == 0


def test_a_worker_whose_heart_fails_is_replaced(stage: Stage):
    server = stage.start(CAN_NOT_BEAT, environ={"SIDEKIQ_HEARTBEAT_TTL": "2"})
    stage.push("Breaks")
    stage.wait_for_note("breaks")
    eventually(lambda: "ended with code 1" in server.log, LONG)

    stage.push("Canary", "in another")
    stage.wait_for_note("canary in another")

    assert server.stop() == 0
