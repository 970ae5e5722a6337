"""Restarts under load: what deploys, limits and init systems do loses nothing and doubles nothing."""

from __future__ import annotations

import pytest

from tests.chaos.container import contained, needs_containers
from tests.chaos.ruin import Ruin, jid, load, send
from tests.helpers import eventually, rest
from tests.process.stage import LONG
from tests.server_process import is_alive

pytestmark = pytest.mark.servers


@pytest.mark.row("G6")
@pytest.mark.parametrize("name", ["USR2", "HUP"])
@pytest.mark.parametrize("times", [3, pytest.param(20, marks=pytest.mark.soak)])
def test_rolling_restarts_under_load_lose_and_double_nothing(ruin: Ruin, name: str, times: int):
    server = ruin.start("-p", "2", "-c", "5")

    with load(ruin) as jobs:
        for _ in range(times):
            before = set(server.worker_pids)
            eventually(lambda: len(set(server.worker_pids)) == 2, LONG)
            server.signal(name)
            eventually(lambda before=before: not before & set(server.worker_pids), LONG)
            eventually(lambda: len(ruin.identities()) == 2, LONG)

    ruin.assert_once(jobs)
    assert server.stop() == 0
    assert server.log.count("takes over from") == 2 * times


@pytest.mark.row("G6")
def test_restarts_by_stop_and_start_lose_and_double_nothing(ruin: Ruin):
    server = ruin.start("-c", "5")

    with load(ruin) as jobs:
        for _ in range(5):
            successor = ruin.start("-c", "5")
            assert server.stop() == 0
            server = successor

    ruin.assert_once(jobs)


@pytest.mark.row("G5")
def test_a_worker_that_is_killed_while_it_drains_is_rescued(ruin: Ruin):
    server = ruin.start("-c", "2")
    jobs = ruin.push("Until", "go", count=2)
    ruin.wait_until_running(2)

    server.signal("TERM")
    server.wait_for_log("shutting down")
    ruin.kill_all_of(server)
    ruin.stage.let("go")
    ruin.start()
    ruin.wait_until_ended(jobs)

    ruin.wait_until_clean()
    assert ruin.lines("start") == {jid(raw): 2 for raw in jobs}


def test_a_rolling_restart_into_broken_code_leaves_the_old_worker_at_work(ruin: Ruin):
    server = ruin.start("-c", "2")
    worker = server.worker_pid
    handlers = ruin.stage.directory / "server0_handlers.py"
    handlers.write_text("import no_such_module")

    server.signal("USR2")
    server.wait_for_log("the rolling restart ends here")
    [job] = ruin.push("Brief")
    ruin.wait_until_ended([job])

    assert ruin.pids() == {worker}
    assert server.stop() == 0


def test_a_rolling_restart_ends_with_the_first_boot_that_fails_and_the_next_one_tries_again(ruin: Ruin):
    server = ruin.start("-p", "3")
    eventually(lambda: len(ruin.identities()) == 3, LONG)
    old = set(server.worker_pids)
    handlers = ruin.stage.directory / "server0_handlers.py"
    code = handlers.read_text()
    handlers.write_text(code + "\nnote('tries')\nraise RuntimeError('broken')\n")

    server.signal("USR2")
    server.wait_for_log("the rolling restart ends here")
    rest(1.0)  # in which another would try
    assert ruin.stage.notes.count("tries") == 1
    assert set(server.worker_pids) == old

    handlers.write_text(code)
    server.signal("USR2")
    eventually(lambda: server.log.count("takes over from") == 3, LONG)
    assert server.stop() == 0
    assert server.log.count("The old workers go on; the next USR2 or HUP tries again") == 1


def test_a_rolling_restart_asked_for_while_a_broken_one_boots_is_not_forgotten(ruin: Ruin):
    server = ruin.start("-p", "2")
    eventually(lambda: len(ruin.identities()) == 2, LONG)
    handlers = ruin.stage.directory / "server0_handlers.py"
    code = handlers.read_text()
    handlers.write_text(code + "\nnote('boots')\nwait_for('boot')\nraise RuntimeError('broken')\n")

    server.signal("USR2")
    ruin.stage.wait_for_note("boots")
    handlers.write_text(code)
    server.signal("USR2")
    eventually(lambda: server.log.count("got USR2") == 2, LONG)
    ruin.stage.let("boot")

    eventually(lambda: server.log.count("takes over from") == 2, LONG)
    assert server.stop() == 0


def test_a_worker_that_dies_while_its_successor_boots_gets_no_other(ruin: Ruin):
    server = ruin.start()
    old = server.worker_pid
    with (ruin.stage.directory / "server0_handlers.py").open("a") as handlers:
        handlers.write("\nwait_for('boot')\n")

    server.signal("USR2")
    eventually(lambda: len(server.worker_pids) == 2, LONG)
    [successor] = set(server.worker_pids) - {old}
    send(old, "KILL")
    server.wait_for_log("was killed by SIGKILL")
    rest(1.0)  # in which another would start
    assert server.worker_pids == [successor]
    ruin.stage.let("boot")
    ruin.wait_until_ended(ruin.push("Brief"))

    assert ruin.pids() == {successor}
    assert server.stop() == 0


def test_a_rolling_restart_asked_for_while_one_is_under_way_brings_the_newest_code(ruin: Ruin):
    server = ruin.start()
    handlers = ruin.stage.directory / "server0_handlers.py"
    newest = handlers.read_text() + "\n@job('Newest')\ndef newest(): brief()\n"
    handlers.write_text(handlers.read_text() + "\nnote('has read its code')\nwait_for('boot')\n")

    server.signal("USR2")
    ruin.stage.wait_for_note("has read its code")
    handlers.write_text(newest)
    server.signal("USR2")
    eventually(lambda: server.log.count("got USR2") == 2, LONG)
    ruin.stage.let("boot")
    eventually(lambda: server.log.count("takes over from") == 2, LONG)

    ruin.wait_until_ended(ruin.push("Newest"))
    assert server.stop() == 0


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        (
            "atexit.register(ctypes.CDLL(None).sleep, 600)",
            "the application kept its process: it is ended now",
        ),
        ("hooks.append(lambda: wait_for('never'))", "the process did not stop in time; no job ran any more"),
    ],
)
def test_a_replaced_worker_that_the_application_holds_up_does_not_stay(ruin: Ruin, how: str, reason: str):
    handlers = f"""
    import atexit
    hooks = []

    @job("Holds")
    def holds():
        start()
        {how}
        end()

    @configure_server
    def configure(config):
        config.on("shutdown", lambda: [hook() for hook in hooks])
    """
    server = ruin.start("-c", "2", "-t", "0.2", handlers=handlers)
    old = server.worker_pid
    ruin.wait_until_ended(ruin.push("Holds"))

    server.signal("USR2")
    server.wait_for_log(f"takes over from {old}")
    eventually(lambda: not is_alive(old), LONG)

    assert reason in server.log
    assert "did not let the process stop" not in server.log
    assert server.is_running
    ruin.wait_until_ended(ruin.push("Brief"))


# -- limits -------------------------------------------------------------------------------------------


def test_workers_that_have_run_enough_jobs_are_replaced_one_at_a_time(ruin: Ruin):
    server = ruin.start("-p", "2", "-c", "2", environ={"SIDEKIQ_MAX_JOBS": "100"})

    with load(ruin) as jobs:
        eventually(lambda: len(ruin.pids()) >= 4, LONG)

    ruin.assert_once(jobs)
    assert server.log.count("jobs: it finishes its jobs, then another takes over") >= 2
    assert server.stop() == 0


def test_a_worker_that_has_grown_too_large_is_replaced_when_its_jobs_are_done(ruin: Ruin):
    handlers = """
    kept = []

    @job("Leak")
    def leak():
        start()
        kept.append(bytearray(200 * 2**20))
        wait_for("go")
        end()
    """
    server = ruin.start("-c", "2", "--max-memory", "150MB", handlers=handlers)
    large = server.worker_pid
    [leak] = ruin.push("Leak")
    server.wait_for_log(f"worker {large} holds ")

    ruin.stage.let("go")
    eventually(lambda: not is_alive(large), LONG)
    [brief] = ruin.push("Brief")

    ruin.assert_once([leak, brief])
    assert large not in {int(line.split()[2]) for line in ruin.stage.notes if jid(brief) in line}


def test_a_memory_limit_that_no_worker_can_meet_is_told_once_and_keeps_no_job_from_running(ruin: Ruin):
    server = ruin.start("-c", "2", "-p", "2", "--max-memory", "20MB")
    jobs = ruin.push("Brief", 0.05, count=40)

    ruin.assert_once(jobs)
    rest(2)  # two looks of the supervisor

    assert "it finishes its jobs" not in server.log
    assert server.log.count("max_memory can't be met: it is 20 MB, and a worker needs ") == 1
    assert len(server.worker_pids) == 2
    assert server.stop() == 0


# -- several workers, and their end -------------------------------------------------------------------


@pytest.mark.parametrize("how", [("-p", "2"), ()], ids=["-p 2", "SIDEKIQ_COUNT=2"])
def test_two_workers_share_the_jobs_and_stop_together(ruin: Ruin, how: tuple[str, ...]):
    server = ruin.start("-c", "1", *how, environ={} if how else {"SIDEKIQ_COUNT": "2"})
    eventually(lambda: len(ruin.identities()) == 2, LONG)
    jobs = ruin.push("Until", "go", count=2)

    ruin.wait_until_running(2)
    ruin.stage.let("go")
    ruin.assert_once(jobs)

    assert len(ruin.pids()) == 2
    assert server.stop() == 0
    assert ruin.identities() == []


def test_stopping_the_workers_from_a_web_page_ends_the_supervisor_with_the_last(ruin: Ruin):
    server = ruin.start("-p", "2")
    eventually(lambda: len(ruin.identities()) == 2, LONG)
    first, last = ruin.identities()

    ruin.stage.raw.lpush(f"{first}-signals", "TERM")
    eventually(lambda: ruin.identities() == [last], LONG)
    rest(1.0)  # in which a restart would show
    assert (ruin.identities(), server.is_running) == ([last], True)
    ruin.stage.raw.lpush(f"{last}-signals", "TERM")

    assert server.wait() == 0


@pytest.mark.row("A16")
def test_a_server_that_never_came_up_ends_with_the_reason_as_its_code(ruin: Ruin):
    server = ruin.launch("-p", "2", handlers="import no_such_module")
    jobs = ruin.push("Brief", count=3)

    assert server.wait() == 3, server.log

    assert "no_such_module" in server.log
    assert ruin.stage.queue() == jobs


@pytest.mark.row("A16")
def test_workers_that_die_while_they_boot_are_started_less_and_less_often(ruin: Ruin):
    server = ruin.start()
    ruin.wait_until_ended(ruin.push("Brief"))  # by then its supervisor knows that it has booted
    handlers = ruin.stage.directory / "server0_handlers.py"
    handlers.write_text("import os\nwith open('boots', 'a') as f: f.write('.')\nos._exit(9)")

    send(server.worker_pid, "KILL")
    rest(3.0)

    boots = len((ruin.stage.directory / "boots").read_text())
    assert 1 <= boots <= 6  # after 0.1, 0.2, 0.4, 0.8… seconds, and each boot takes time
    assert server.is_running
    assert server.stop() == 0


def test_a_worker_that_dies_booting_while_all_stops_is_no_reason_to_fail(ruin: Ruin):
    server = ruin.start()
    ruin.wait_until_ended(ruin.push("Brief"))  # by then its supervisor knows that it has booted
    boots = ruin.stage.directory / "boots"
    handlers = ruin.stage.directory / "server0_handlers.py"
    handlers.write_text("import os, time\nopen('boots', 'a').close()\ntime.sleep(1)\nos._exit(9)")

    send(server.worker_pid, "KILL")
    eventually(boots.exists, LONG)

    assert server.stop() == 0


# -- PID 1 --------------------------------------------------------------------------------------------


@pytest.mark.row("G9")
@needs_containers
def test_as_pid_1_it_hears_signals_and_reaps_orphans(ruin: Ruin):
    handlers = """
    @job("Abandons")
    def abandons():
        start()
        if os.fork() == 0:
            if os.fork() == 0:
                time.sleep(0.2)
            os._exit(0)
        end()
    """
    with contained(ruin, "-c", "2", handlers=handlers) as server:
        eventually(ruin.identities, LONG)
        ruin.wait_until_ended(ruin.push("Abandons"))
        eventually(lambda: len(server.children) == 1, LONG)  # the worker alone, no zombie

        send(server.pid, "HUP")
        eventually(lambda: "takes over from" in server.log, LONG)
        send(server.pid, "TERM")
        assert server.wait() == 0, server.log
    assert ruin.identities() == []
