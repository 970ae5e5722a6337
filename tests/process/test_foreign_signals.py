"""Handlers may use signals of their own."""

from __future__ import annotations

import os
import signal

import pytest

from tests.process.stage import Stage

HANDLERS = """
import signal
from sidekiq_py import job

signal.signal(signal.SIGALRM, lambda *_: print("alarm", flush=True))

@job("NoOp")
def no_op(): pass
"""


@pytest.mark.parametrize("processes", ["0", "1"])
def test_a_handlers_own_signal_neither_stops_a_server_nor_deafens_it(sidekiq_py, processes):
    server = sidekiq_py(HANDLERS, "-p", processes)
    os.kill(server.worker_pid, signal.SIGALRM)
    server.wait_for_log("alarm")

    assert server.is_running
    assert server.stop() == 0


IMPATIENT = """
import gevent, signal, sys

class TooLong(Exception): pass

def too_long(*_):
    raise TooLong("of all things")

signal.signal(signal.SIGALRM, too_long)

@job("Long")
def long():
    note("start")
    while not os.path.exists("go"):
        time.sleep(0.5)  # else the signal might come while this runs, and would be this job's
    note("end")

@job("Leaver")
def leaver():
    gevent.spawn(sys.exit, 3)

@configure_server
def configure(config):
    config.error_handlers.append(lambda error, context: note("error", type(error).__name__))
"""


@pytest.mark.parametrize("mode", ["-p0", "-p1"])
def test_a_signal_handler_that_raises_ends_no_server_and_no_other_job(stage: Stage, mode: str):
    server = stage.start(IMPATIENT, mode, "-c", "2")
    worker = server.worker_pid
    stage.push("Long")
    stage.wait_for_note("start")

    os.kill(worker, signal.SIGALRM)
    stage.wait_for_note("error TooLong")
    stage.push("Leaver")
    stage.wait_for_note("error SystemExit")
    stage.let("go")
    stage.wait_for_note("end")

    assert server.worker_pid == worker
    assert server.stop() == 0
    assert stage.notes.count("start") == 1


@pytest.mark.parametrize("mode", ["-p0", "-p1"])
def test_a_signal_handler_that_raises_cuts_no_shutdown_short(stage: Stage, mode: str):
    server = stage.start(IMPATIENT, mode)
    stage.push("Long")
    stage.wait_for_note("start")

    server.signal("TERM")
    server.wait_for_log("1 jobs have 25 s to finish")
    os.kill(server.worker_pid, signal.SIGALRM)
    stage.wait_for_note("error TooLong")
    stage.let("go")

    assert server.wait() == 0
    assert stage.notes == ["start", "error TooLong", "end"]
    assert stage.queue() == stage.claimed() == []


TIMED = """
import signal

class TooLong(Exception): pass

def too_long(*_):
    open("struck", "w").close()
    raise TooLong("of all things")

@job("Timed")
def timed():
    signal.signal(signal.SIGALRM, too_long)
    note("timed")
    wait_for("never")

@job("Computes")
def computes():
    note("start")
    while not os.path.exists("struck"):
        pass
    note("end")

@job("Waits")
def waits():
    note("start")
    while not os.path.exists("struck"):
        time.sleep(0.5)
    note("end")
"""


@pytest.mark.row("A6")
@pytest.mark.parametrize("other", ["Computes", "Waits"])
def test_a_timeout_by_alarm_strikes_the_job_that_set_it_whatever_runs_when_it_is_over(
    stage: Stage, other: str
):
    server = stage.start(TIMED, "-c", "2")
    stage.push("Timed", jid="the-one")
    stage.wait_for_note("timed")
    stage.push(other, jid="other")
    stage.wait_for_note("start")

    os.kill(server.worker_pid, signal.SIGALRM)

    assert stage.retry_of("the-one")["error_message"] == "of all things"
    stage.wait_for_note("end")
    stage.wait_until_settled()
    assert len(stage.retries()) == 1
    assert server.stop() == 0


@pytest.mark.row("A6")
def test_an_alarm_that_a_job_has_left_behind_strikes_no_other(stage: Stage):
    server = stage.start(TIMED.replace('wait_for("never")', "pass"), "-c", "1")
    stage.push("Timed")
    stage.wait_for_note("timed")
    stage.push("Computes")
    stage.wait_for_note("start")

    os.kill(server.worker_pid, signal.SIGALRM)

    server.wait_for_log("a signal handler that a job has left behind raised: of all things")
    stage.wait_for_note("end")
    stage.wait_until_settled()
    assert stage.retries() == []
    assert server.stop() == 0
