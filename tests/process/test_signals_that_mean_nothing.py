"""HUP, USR1 and USR2 kill a process that nobody has taught them: ours go on, and say what to send instead."""

from __future__ import annotations

import os
import signal

import pytest

from tests.helpers import eventually
from tests.process.stage import LONG, Stage

SLOW = """
note("loading", os.getpid())
wait_for("loaded")
"""


def says(stage: Stage, text: str) -> None:
    stage.server.wait_for_log(text)
    stage.push("Canary", text)
    stage.wait_for_note(f"canary {text}")


@pytest.mark.parametrize("name", ["HUP", "USR2"])
def test_without_a_supervisor_a_restart_is_refused_and_jobs_go_on(stage: Stage, name: str):
    server = stage.start("", "-p", "0")

    server.signal(name)

    says(stage, f"got {name}, but nobody is here to start a successor (--processes 0): send TERM")
    assert server.stop() == 0


@pytest.mark.parametrize("mode", ["-p0", "-p1"])
def test_the_quiet_signal_of_old_sidekiqs_kills_nobody(stage: Stage, mode: str):
    server = stage.start("", mode)

    server.signal("USR1")

    says(stage, "got USR1, which means nothing here: TSTP quiets")
    assert server.stop() == 0


@pytest.mark.parametrize("name", ["HUP", "USR1", "USR2"])
def test_a_worker_that_gets_what_is_the_supervisors_goes_on(stage: Stage, name: str):
    server = stage.start("")
    worker = server.worker_pid

    os.kill(worker, getattr(signal, f"SIG{name}"))

    says(stage, "got USR1" if name == "USR1" else f"for the supervisor: send it to process {server.pid}")
    assert server.worker_pids == [worker]
    assert server.stop() == 0


def test_a_signal_that_the_application_handles_is_its_own(stage: Stage):
    server = stage.start("import signal\nsignal.signal(signal.SIGHUP, lambda *_: note('reopened'))")

    os.kill(server.worker_pid, signal.SIGHUP)

    stage.wait_for_note("reopened")
    assert server.stop() == 0


@pytest.mark.parametrize("name", ["HUP", "USR1", "USR2", "TSTP", "TTIN"])
@pytest.mark.parametrize("mode", ["-p0", "-p1"])
def test_they_do_not_kill_or_stop_a_process_that_is_still_starting(stage: Stage, mode: str, name: str):
    server = stage.launch(SLOW, mode)
    pid = loading(stage)

    os.kill(pid, getattr(signal, f"SIG{name}"))

    server.wait_for_log(f"got {name} while starting: it is ignored")
    stage.let("loaded")
    server.wait_until_booted()
    assert server.worker_pid == pid
    assert server.stop() == 0


@pytest.mark.parametrize("name", ["TERM", "INT"])
def test_a_stop_while_handlers_are_loaded_is_no_error_and_takes_no_time(stage: Stage, name: str):
    server = stage.launch(SLOW)
    pid = loading(stage)

    if name == "INT":  # Control-C: the terminal tells all
        os.kill(pid, signal.SIGINT)
    server.signal(name)

    assert server.wait() == 0
    assert "ERROR" not in server.log
    assert "Traceback" not in server.log


def test_a_job_that_is_cut_off_at_the_end_is_no_error_of_its_worker(stage: Stage):
    server = stage.start("@job('Burn')\ndef burn():\n    note('burns')\n    while True: pass", "-t", "0.1")
    stage.push("Burn")
    stage.wait_for_note("burns")

    assert server.stop() == 0

    assert "ended with code 0" not in server.log


def test_a_worker_that_is_stopped_by_hand_and_cut_off_is_not_replaced(stage: Stage):
    server = stage.start("@job('Burn')\ndef burn():\n    note('burns')\n    while True: pass", "-t", "0.1")
    stage.push("Burn")
    stage.wait_for_note("burns")

    os.kill(server.worker_pid, signal.SIGTERM)

    assert server.wait() == 0
    assert "ended with code 0" not in server.log
    assert stage.notes == ["burns"]
    assert len(stage.queue()) == 1


def loading(stage: Stage) -> int:
    """The pid of the process that loads the handlers."""
    eventually(lambda: stage.notes, LONG)
    return int(stage.notes[0].split()[1])
