"""Processes that die at the worst moment: no job is lost, and none runs twice that no death explains."""

from __future__ import annotations

import random
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.chaos.ruin import SWEEP, TTL, Ruin, jid, send
from tests.helpers import eventually, rest
from tests.process.stage import LONG, payload
from tests.server_process import is_alive

pytestmark = pytest.mark.servers

# -- a worker dies ------------------------------------------------------------------------------------


@pytest.mark.row("A1")
def test_jobs_of_a_killed_worker_run_again_as_soon_as_processes_can_boot(ruin: Ruin):
    began = time.monotonic()
    server = ruin.start("-c", "10")
    boot = time.monotonic() - began
    jobs = ruin.push("Until", "go", count=10)
    ruin.wait_until_running(10)

    killed_at = time.monotonic()
    send(server.worker_pid, "KILL")
    waiting = ruin.push("Until", "go")
    ruin.stage.let("go")
    ruin.wait_until_ended(jobs + waiting)
    took = time.monotonic() - killed_at

    assert took < 1 + 3 * boot  # one boot for the next worker, one for the process that runs suspects
    ruin.wait_until_clean()
    assert ruin.lines("start") == {**{jid(raw): 2 for raw in jobs}, jid(waiting[0]): 1}
    assert "was killed by SIGKILL" in server.log
    assert ruin.stage.dead() == ruin.stage.retries() == []


@pytest.mark.every_server
@pytest.mark.row("A1")
def test_jobs_that_a_killed_worker_had_only_fetched_are_no_suspects(ruin: Ruin):
    server = ruin.start("-c", "1")
    [running, *fetched] = ruin.push("Until", "go", count=5)
    ruin.wait_until_running(1)

    send(server.worker_pid, "KILL")
    ruin.stage.let("go")
    ruin.wait_until_ended([running, *fetched])

    ruin.wait_until_clean()
    assert server.log.count("it runs again, alone in its process") == 1
    assert ruin.stage.raw.keys("sidekiq-py:crashes:*") == []


@pytest.mark.row("A5")
@pytest.mark.parametrize(
    ("how", "reason"),
    [("segfault", "killed by SIGSEGV"), ("abort", "killed by SIGABRT"), ("exit", "ended with code 0")],
)
def test_a_worker_that_a_job_crashes_is_replaced_and_the_reason_told(ruin: Ruin, how: str, reason: str):
    server = ruin.start("-c", "10")
    innocents = ruin.push("Brief", 0.2, count=10)
    [job] = ruin.push("KillsOnce", how)

    ruin.wait_until_ended([*innocents, job])

    ruin.wait_until_clean()
    assert reason in server.log
    assert ruin.lines("start")[jid(job)] == 2
    assert ruin.stage.dead() == []


@pytest.mark.parametrize("workers", [1, 2])
def test_jobs_of_a_worker_killed_after_tstp_are_for_other_servers(ruin: Ruin, workers: int):
    quiet = ruin.start("-c", "1", "-p", str(workers))
    eventually(lambda: len(ruin.identities()) == workers, LONG)
    jobs = ruin.push("Until", "go")
    ruin.wait_until_running(1)
    [worker] = ruin.pids()

    quiet.signal("TSTP")
    quiet.wait_for_log("quiet: no new jobs")
    send(worker, "KILL")
    eventually(lambda: ruin.stage.queue() == jobs, LONG)
    ruin.start("-c", "1")
    ruin.stage.let("go")
    ruin.wait_until_ended(jobs)

    ruin.wait_until_clean()
    assert "died together with its supervisor" not in ruin.logs


def test_suspects_that_wait_for_their_turn_at_tstp_are_for_other_servers(ruin: Ruin):
    quiet = ruin.start("-c", "6")
    ruin.push("Until", "go", count=6)
    ruin.wait_until_running(6)
    send(quiet.worker_pid, "KILL")
    eventually(lambda: ruin.lines("start").total() == 10, LONG)  # four run again, each alone

    quiet.signal("TSTP")
    eventually(lambda: len(ruin.stage.queue()) == 2, LONG)

    assert len(ruin.stage.claimed()) == 4
    assert "died together with its supervisor" not in quiet.log


@pytest.mark.parametrize("how", ["signal", "Web"])
def test_suspects_of_a_process_that_is_quieted_run_all_the_same_each_alone(ruin: Ruin, how: str):
    server = ruin.start("-c", "6", environ={"SIDEKIQ_HEARTBEAT_TTL": "60"})  # no sweep helps in time
    jobs = ruin.push("Until", "go", count=6)
    ruin.wait_until_running(6)
    worker = server.worker_pid
    send(worker, "KILL")
    eventually(lambda: ruin.lines("start").total() == 10, LONG)  # four run again, each alone

    for lane in ruin.pids() - {worker}:
        if how == "signal":
            send(lane, "TSTP")
        else:
            [identity] = [each for each in ruin.identities() if f":{lane}:" in each]
            ruin.stage.raw.lpush(f"{identity}-signals", "TSTP")
    eventually(lambda: server.log.count("quiet: no new jobs") == 4, LONG)
    ruin.stage.let("go")
    ruin.wait_until_ended(jobs)

    ruin.wait_until_clean()
    assert ruin.lines("start") == {jid(raw): 2 for raw in jobs}


# -- jobs that kill -----------------------------------------------------------------------------------


@pytest.mark.row("A7", "A8")
@pytest.mark.parametrize("pills", [1, 2])
def test_jobs_that_kill_are_dead_after_three_crashes_and_the_innocent_all_run(ruin: Ruin, pills: int):
    server = ruin.start("-c", "10")
    innocents = [payload("Brief", 0.02) for _ in range(100)]
    killers = [payload("Kills") for _ in range(pills)]
    jobs = [*innocents, *killers]
    random.shuffle(jobs)

    ruin.push_all(jobs)
    ruin.wait_until_ended(innocents)
    eventually(lambda: b"".join(ruin.stage.dead()).count(b"PoisonPill") == pills, LONG)

    ruin.wait_until_clean()
    assert {jid(raw) for raw in ruin.stage.dead()} == {jid(raw) for raw in killers}
    assert all(ruin.lines("start")[jid(raw)] <= 3 for raw in killers)
    assert server.log.count("was killed by SIGKILL after") <= 3 * pills
    for text in (b"SIGKILL", b"had run for ", b"peak memory"):
        assert all(text in raw for raw in ruin.stage.dead())
    assert ruin.stage.raw.keys("sidekiq-py:crashes:*") == []


@pytest.mark.row("A7")
@pytest.mark.parametrize(("hook", "retry"), [("retries_exhausted", 0), ("retry_in", 5)])
def test_a_job_whose_failure_kills_is_dead_after_three_crashes_too(ruin: Ruin, hook: str, retry: int):
    handlers = f"""
    @job("Pill")
    def pill():
        start()
        raise ValueError("on purpose")

    @pill.{hook}
    def die(*_arguments):
        note("hook")
        os.kill(os.getpid(), signal.SIGKILL)
    """
    server = ruin.start("-c", "5", handlers=handlers)
    innocents = ruin.push("Brief", 0.5, count=4)
    [pill] = ruin.push("Pill", retry=retry)

    eventually(lambda: b"PoisonPill" in b"".join(ruin.stage.dead()), LONG)
    ruin.wait_until_ended(innocents)

    ruin.wait_until_clean()
    assert ruin.lines("start")[jid(pill)] == 3
    assert server.log.count("was killed by SIGKILL after") <= 4  # the fourth: once buried, it was asked again
    assert all(ruin.lines("start")[jid(raw)] <= 2 for raw in innocents)
    assert ruin.stage.raw.keys("sidekiq-py:crashes:*") == []


@pytest.mark.row("A7")
def test_a_death_while_a_failure_is_recorded_for_the_second_time_is_that_job_s(ruin: Ruin):
    handlers = """
    import gevent

    @job("Leaks")
    def leaks():
        start()
        if not os.path.exists("killed"):
            open("killed", "w").close()
            wait_for("go")
            gevent.spawn_later(0.3, gevent.getcurrent().kill, SystemExit(3))
            gevent.spawn_later(0.6, os.kill, os.getpid(), signal.SIGKILL)
            raise ValueError("on purpose")
        end()
    """
    server = ruin.start(handlers=handlers)
    [job] = ruin.push("Leaks")
    ruin.wait_until_running(1)

    ruin.stage.raw.execute_command("CLIENT", "PAUSE", "2000", "ALL")
    ruin.stage.let("go")
    ruin.wait_until_ended([job])

    assert server.log.count("it runs again, alone in its process") == 1


@pytest.mark.row("A7")
def test_a_convict_whose_handler_says_discard_leaves_no_trace(ruin: Ruin):
    handlers = """
    import sidekiq_py

    def tell(job, error):
        note("told", job["jid"])

    sidekiq_py.configure_server(lambda config: config.death_handlers.append(tell))

    @job("Pill")
    def pill():
        start()
        os.kill(os.getpid(), signal.SIGKILL)

    @pill.retries_exhausted
    def discard(*_arguments):
        return "discard"
    """
    ruin.start(handlers=handlers)
    [pill] = ruin.push("Pill")

    ruin.stage.wait_for_note(f"told {jid(pill)}")

    ruin.wait_until_clean()
    assert ruin.lines("start")[jid(pill)] == 3
    assert ruin.stage.dead() == []


@pytest.mark.row("A5", "A7")
def test_a_suspect_that_ends_its_process_in_silence_keeps_nobody_waiting(ruin: Ruin):
    handlers = """
    @job("Leaves")
    def leaves():
        start()
        wait_for("all run")
        time.sleep(0.1)
        os._exit(0)
    """
    ruin.start("-c", "10", handlers=handlers)
    others = ruin.push("Until", "all run", count=3)
    ruin.push("Leaves")
    others += ruin.push("Until", "never mind", count=3)
    ruin.wait_until_running(7)

    ruin.stage.let("all run")
    eventually(lambda: len(ruin.stage.dead()) == 1, LONG)
    ruin.stage.let("never mind")
    ruin.wait_until_ended(others)

    ruin.wait_until_clean()
    assert all(ruin.lines("start")[jid(raw)] <= 2 for raw in others)


@pytest.mark.row("A7")
def test_suspects_run_alone_however_long_they_wait_for_their_turn(ruin: Ruin):
    server = ruin.start("-c", "8")
    jobs = ruin.push("Until", "go", count=8)
    ruin.wait_until_running(8)

    send(server.worker_pid, "KILL")
    eventually(lambda: ruin.lines("start").total() == 12, LONG)  # four of them, and no more at once
    rest(2 * TTL + 2 * SWEEP)  # in which their dead owner would be found
    assert ruin.lines("start").total() == 12, server.log
    ruin.stage.let("go")
    ruin.wait_until_ended(jobs)

    ruin.wait_until_clean()
    assert ruin.lines("start") == {jid(raw): 2 for raw in jobs}
    assert server.log.count("it runs again, alone in its process") == 8


@pytest.mark.row("A9")
@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(payload("Kills", 0.05, filler="x" * 2_000_000), id="two megabytes"),
        pytest.param(b'{"class":"Kills","args":[],"queue":"default"}', id="no jid"),
        pytest.param(b'{"class":"Kills","args":[],"jid":{"no":1},"queue":7,"retry":[]}', id="odd types"),
    ],
)
def test_an_odd_payload_does_not_save_a_job_that_kills(ruin: Ruin, raw: bytes):
    ruin.start("-c", "2")

    ruin.push_all([raw])
    eventually(lambda: len(ruin.stage.dead()) == 1, LONG)

    assert len([line for line in ruin.stage.notes if line.startswith("start")]) == 3
    [innocent] = ruin.push("Brief")
    ruin.wait_until_ended([innocent])
    ruin.wait_until_clean()


@pytest.mark.row("A10")
def test_a_job_that_outlives_ten_graceful_restarts_is_no_suspect(ruin: Ruin):
    server = ruin.start("-t", "0.1")
    [job] = ruin.push("Until", "go")

    for restart in range(1, 11):
        eventually(lambda restart=restart: ruin.lines("start")[jid(job)] == restart, LONG)
        assert server.stop() == 0
        assert ruin.crashes(job) == 0
        server = ruin.start("-t", "0.1")
    ruin.stage.let("go")
    ruin.wait_until_ended([job])

    ruin.wait_until_clean()
    assert "runs again, alone" not in ruin.logs


@pytest.mark.row("A15")
def test_a_job_out_of_memory_is_retried_like_any_failure(ruin: Ruin):
    handlers = """
    @job("Greedy")
    def greedy():
        import resource
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (2**31, hard))
        try:
            bytearray(2**32)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    """
    server = ruin.start(handlers=handlers)
    worker = server.worker_pid
    [job] = ruin.push("Greedy")

    assert ruin.stage.retry_of(jid(job))["error_class"] == "MemoryError"
    [next_job] = ruin.push("Brief")
    ruin.wait_until_ended([next_job])

    assert ruin.pids() == {worker}


# -- a supervisor, a host -----------------------------------------------------------------------------


@pytest.mark.row("A11")
def test_workers_whose_supervisor_is_killed_finish_their_jobs_and_end(ruin: Ruin):
    server = ruin.start("-c", "2")
    worker = server.worker_pid
    jobs = ruin.push("Until", "go", count=2)
    ruin.wait_until_running(2)
    waiting = ruin.push("Brief", count=3)

    send(server.pid, "KILL")
    server.wait_for_log("the supervisor is gone")
    ruin.stage.let("go")
    eventually(lambda: not is_alive(worker), LONG)

    assert ruin.stage.claimed() == []
    assert ruin.stage.queue() == waiting
    assert ruin.identities() == []
    assert set(ruin.lines("end")) == {jid(raw) for raw in jobs}


@pytest.mark.row("A11")
def test_a_worker_ends_whose_supervisor_hung_while_it_booted_and_is_killed(ruin: Ruin):
    server = ruin.launch("-c", "2", handlers="note('loading')\nwait_for('loaded')")
    ruin.stage.wait_for_note("loading")
    send(server.pid, "STOP")
    ruin.stage.let("loaded")
    worker = server.wait_until_booted().worker_pid
    jobs = ruin.push("Brief")
    ruin.wait_until_ended(jobs)  # so that the supervisor has been told that it works, and has not read it

    send(server.pid, "KILL")
    eventually(lambda: not is_alive(worker), LONG)

    assert ruin.identities() == []


def test_a_supervisor_that_may_start_no_process_keeps_the_others_and_tries_again(ruin: Ruin):
    server = ruin.start("-c", "1", "-p", "2")
    eventually(lambda: len(ruin.identities()) == 2, LONG)
    jobs = ruin.push("Until", "go", count=2)
    ruin.wait_until_running(2)
    dies, lives = server.worker_pids

    with no_more_files(server.pid):
        send(dies, "KILL")
        server.wait_for_log("no worker can be started now: ")
        rest(TTL)  # several tries
        assert server.is_running
        assert server.worker_pids == [lives]
    ruin.stage.let("go")

    ruin.wait_until_ended(jobs)
    ruin.wait_until_clean()
    server.wait_for_log("workers can be started again")
    eventually(lambda: len(server.worker_pids) == 2, LONG)
    assert server.log.count("no worker can be started now") == 1
    assert ruin.lines("start").total() == 3
    assert server.stop() == 0


@contextmanager
def no_more_files(pid: int) -> Iterator[None]:
    """The process can open nothing: no socket pair, and so no worker."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    now_open = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (now_open, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


@pytest.mark.every_server
@pytest.mark.row("A2")
def test_jobs_of_a_dead_host_are_rescued_by_another(ruin: Ruin):
    dying, living = ruin.start("-c", "10"), ruin.start("-c", "10", "-q", "elsewhere", "-q", "default")
    send(living.worker_pid, "STOP")  # so that the other gets all
    jobs = ruin.push("Until", "go", count=10)
    eventually(lambda: ruin.running_in(dying.worker_pid) + len(ruin.stage.queue()) >= 9, LONG)
    ruin.kill_all_of(dying)
    died_at = time.monotonic()
    send(living.worker_pid, "CONT")
    ruin.stage.let("go")

    ruin.wait_until_ended(jobs)

    # Each figure once more for a busy machine: what must not happen is that it takes another server's start.
    assert time.monotonic() - died_at < 2 * (TTL + SWEEP) + 5
    ruin.wait_until_clean()
    assert max(ruin.lines("start").values()) <= 2


@pytest.mark.row("A3")
@pytest.mark.parametrize("seconds", [10, pytest.param(60, marks=pytest.mark.soak)])
def test_random_kills_lose_nothing(ruin: Ruin, seconds: int):
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    chance = random.Random(seed)
    servers = [ruin.start("-c", "10") for _ in range(3)]
    jobs: list[bytes] = []
    in_flight = 0

    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        jobs += ruin.push("Brief", 0.005, count=100)
        time.sleep(chance.uniform(0.3, 1.0))
        victim = chance.choice(servers)
        pid = victim.pid if chance.random() < 0.25 else chance.choice(victim.worker_pids or [victim.pid])
        send(pid, "KILL")
        in_flight += 10 + 10  # those that ran, and as many that were done with their acknowledgement unsent
        if pid == victim.pid:
            servers[servers.index(victim)] = ruin.launch("-c", "10")
    ruin.wait_until_ended(jobs)

    ruin.wait_until_clean()
    starts = ruin.lines("start")
    assert sum(count - 1 for count in starts.values()) <= in_flight, f"seed {seed}"
    assert ruin.stage.dead() == ruin.stage.retries() == [], f"seed {seed}"
    eventually(lambda: ruin.stage.raw.keys("sidekiq-py:claim:*") == [], LONG)


# -- a job that makes processes -------------------------------------------------------------------------


@pytest.mark.row("J5")
def test_a_child_that_a_job_forks_is_no_second_server(ruin: Ruin):
    handlers = """
    import subprocess

    @job("Forks")
    def forks():
        start()
        child = os.fork()
        if child == 0:
            try:
                time.sleep(0.1)  # whoever else waits in this process could go on here
                brief.perform_async()
                subprocess.run(["true"], check=True)
            finally:
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        subprocess.run(["true"], check=True)
        end()
    """
    server = ruin.start("-c", "5", handlers=handlers)

    ruin.push("Forks", count=20)
    eventually(lambda: ruin.lines("end").total() == 40, LONG)  # each child has pushed one

    ruin.wait_until_clean()
    assert set(ruin.lines("start").values()) == {1}
    assert ruin.pids() == {server.worker_pid}
    assert "ERROR" not in server.log
    assert "WARN" not in server.log
