"""The line between a server and Redis fails in every way a line can: what was pushed runs, and runs once."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sidekiq_py import Client
from sidekiq_py.errors import MaybeEnqueued, RedisDown
from sidekiq_py.redis_connection import RedisOptions, RedisPool
from tests.chaos.proxy import Matches, Proxy, command, proxy, script
from tests.chaos.ruin import TTL, Ruin, jid
from tests.helpers import eventually, rest
from tests.process import stage as stages
from tests.process.stage import LONG, payload
from tests.server_process import ServerProcess
from tests.servers import Server


@pytest.fixture
def line(redis_server: Server) -> Iterator[Proxy]:
    """What stands between the servers of this test and Redis; the test itself talks to Redis directly."""
    with proxy(redis_server.socket_path) as between:
        yield between


@pytest.fixture
def ruin(redis_server: Server, line: Proxy, tmp_path: Path) -> Iterator[Ruin]:
    built = Ruin(stages.on(redis_server, tmp_path))
    built.stage.redis_url = line.url
    yield built
    built.end()


def warm(ruin: Ruin) -> None:
    """Let Redis learn the scripts, so that a cut hits one that was done."""
    ruin.wait_until_ended(ruin.push("Brief", count=2))
    ruin.wait_until_clean()
    (ruin.stage.directory / "notes").unlink()


# -- one answer is lost -------------------------------------------------------------------------------


@pytest.mark.row("C2")
def test_jobs_whose_fetch_lost_its_answer_run_once_within_two_looks(ruin: Ruin, line: Proxy):
    server = ruin.start("-c", "4")
    warm(ruin)

    cut = line.cut_reply(script("fetch"), holding=b"Brief")
    jobs: list[bytes] = []
    while not cut.done.is_set():
        jobs += ruin.push("Brief", count=10)
        rest(0.01)

    ruin.assert_once(jobs)
    assert "was claimed, but never arrived" in server.log
    assert "Traceback" not in server.log


@pytest.mark.row("C3")
def test_a_job_that_came_to_an_idle_server_and_was_lost_on_the_way_runs_once(ruin: Ruin, line: Proxy):
    server = ruin.start("-c", "1")
    warm(ruin)

    cut = line.cut_reply(command("BLMOVE"), holding=b"Brief")
    jobs: list[bytes] = []
    while not cut.done.is_set():
        jobs += ruin.push("Brief")
        ruin.wait_until_clean() if cut.done.is_set() else rest(0.3)

    ruin.assert_once(jobs)
    assert "was claimed, but never arrived" in server.log


@pytest.mark.row("C4")
def test_acknowledgements_whose_answer_is_lost_run_nothing_again_and_count_once(ruin: Ruin, line: Proxy):
    server = ruin.start("-c", "4")
    warm(ruin)
    before = int(ruin.stage.raw.get("stat:processed") or 0)

    cut = line.cut_reply(script("acknowledge"), times=5)
    jobs: list[bytes] = []
    while not cut.done.is_set():
        jobs += ruin.push("Brief", count=20)
        rest(0.05)

    ruin.assert_once(jobs)
    assert server.stop() == 0
    assert before <= 2
    assert int(ruin.stage.raw.get("stat:processed")) == len(jobs) + 2


@pytest.mark.row("C4")
def test_a_beat_whose_answer_is_lost_does_not_count_twice(ruin: Ruin, line: Proxy):
    server = ruin.start("-c", "4")
    jobs = ruin.push("Brief", count=50)

    line.cut_reply(script("beat"), times=4).done.wait(LONG)

    ruin.assert_once(jobs)
    assert server.stop() == 0
    assert int(ruin.stage.raw.get("stat:processed")) == 50


@pytest.mark.row("C4")
@pytest.mark.parametrize("lost", [command("INFO"), script("beat")], ids=["the first look", "the first beat"])
def test_an_answer_that_is_lost_at_the_start_ends_no_start(ruin: Ruin, line: Proxy, lost: Matches):
    cut = line.cut_reply(lost)

    ruin.start()

    assert cut.done.is_set()
    ruin.wait_until_ended(ruin.push("Brief"))


@pytest.mark.row("C5")
@pytest.mark.parametrize("times", [1, 3])
def test_a_failure_whose_record_lost_its_answer_is_one_retry(ruin: Ruin, line: Proxy, times: int):
    ruin.start("-c", "2")
    cut = line.cut_reply(script("reschedule"), times=times)

    [job] = ruin.push("Fails")
    assert ruin.stage.retry_of(jid(job))["retry_count"] == 0
    if times == 1:
        assert cut.done.wait(LONG)
    ruin.wait_until_clean()

    assert len(ruin.stage.retries()) == 1
    assert ruin.lines("start") == {jid(job): 1}


@pytest.mark.row("C2", "C4")
def test_requests_that_never_reach_redis_are_made_again(ruin: Ruin, line: Proxy):
    ruin.start("-c", "4")
    cuts = [line.cut_request(script(name), times=3) for name in ("fetch", "acknowledge", "beat")]

    jobs: list[bytes] = []
    while not all(cut.done.is_set() for cut in cuts):
        jobs += ruin.push("Brief", count=10)
        rest(0.05)

    ruin.assert_once(jobs)


@pytest.mark.row("C6")
def test_a_push_whose_answer_is_lost_is_stored_once_and_says_that_it_may_be(ruin: Ruin, line: Proxy):
    pool = RedisPool(RedisOptions.from_url(line.url))
    client = Client(redis=pool)
    line.cut_reply(command("LPUSH"))

    with pytest.raises(MaybeEnqueued) as caught:
        client.push({"class": "Brief", "args": [], "jid": "abcdefabcdefabcdefabcdef"})

    assert caught.value.jids == ["abcdefabcdefabcdefabcdef"]
    assert [b"abcdefabcdefabcdefabcdef" in raw for raw in ruin.stage.queue()] == [True]
    pool.close()


@pytest.mark.row("C6")
def test_a_push_that_never_reached_redis_is_not_stored_and_not_repeated(ruin: Ruin, line: Proxy):
    pool = RedisPool(RedisOptions.from_url(line.url))
    line.cut_request(command("LPUSH"))

    with pytest.raises(MaybeEnqueued):
        Client(redis=pool).push({"class": "Brief", "args": []})

    assert ruin.stage.queue() == []
    pool.close()


# -- lines that break all the time --------------------------------------------------------------------


@pytest.mark.row("C1")
@pytest.mark.parametrize("seconds", [5, pytest.param(30, marks=pytest.mark.soak)])
def test_connections_killed_ten_times_a_second_lose_and_double_nothing(ruin: Ruin, line: Proxy, seconds: int):
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    chance = random.Random(seed)
    server = ruin.start("-c", "10")
    warm(ruin)
    files = open_files(server)

    jobs: list[bytes] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        jobs += ruin.push("Brief", 0.002, count=chance.randrange(1, 60))
        rest(chance.uniform(0.05, 0.15))
        ruin.stage.raw.client_kill_filter(_type="normal", skipme=True)

    ruin.assert_once(jobs)
    assert server.is_running
    assert "Traceback" not in server.log
    # Connections come and go, file descriptors don't pile up: what idle queues may add is one each.
    eventually(lambda: open_files(server) <= files + 4, LONG)
    eventually(lambda: line.open_lines <= 20, LONG)


def open_files(server: ServerProcess) -> int:
    return len(list(Path(f"/proc/{server.worker_pid}/fd").iterdir()))


@pytest.mark.row("C20")
@pytest.mark.parametrize("times", [100, pytest.param(1000, marks=pytest.mark.soak)])
def test_hundreds_of_reconnects_leave_no_file_and_no_connection_behind(ruin: Ruin, line: Proxy, times: int):
    server = ruin.start("-c", "4")
    warm(ruin)
    rest(0.5)
    files, opened = open_files(server), line.opened

    def enough() -> bool:
        line.cut_all()
        ruin.push("Brief")
        return line.opened >= opened + times

    eventually(enough, LONG + times / 5, every=0.02)

    eventually(lambda: open_files(server) <= files + 2, LONG)
    eventually(lambda: len(ruin.stage.raw.client_list()) <= 20, LONG)


# -- nobody says that the line is dead ----------------------------------------------------------------


@pytest.mark.row("C7")
@pytest.mark.parametrize("is_idle", [True, False], ids=["idle", "busy"])
def test_a_half_open_line_is_noticed_and_left(ruin: Ruin, line: Proxy, is_idle: bool):
    """Without an answer a blocking wait is given up after its two seconds and three more."""
    server = ruin.start("-c", "2")
    jobs = [] if is_idle else ruin.push("Until", "go")
    if jobs:
        ruin.wait_until_running(1)
    rest(0.3)

    line.forget_all()
    began = time.monotonic()
    ruin.stage.let("go")
    jobs += ruin.push("Brief", count=3)
    ruin.wait_until_ended(jobs)
    took = time.monotonic() - began

    assert took < 20  # two connections in turn take five seconds each to give up; the rest is a busy machine
    ruin.wait_until_clean()
    assert server.is_running
    assert max(ruin.lines("start").values()) == 1


@pytest.mark.row("C7")
def test_a_network_that_swallows_everything_for_a_while_costs_nothing(ruin: Ruin, line: Proxy):
    ruin.start("-c", "4")
    jobs = ruin.push("Brief", 0.01, count=50)

    line.is_black_hole = True
    rest(0.8 * TTL)  # not so long that anybody is dead by the rules
    line.is_black_hole = False

    ruin.assert_once(jobs)


@pytest.mark.row("C11")
def test_connections_that_a_firewall_cuts_for_being_idle_fail_no_job(ruin: Ruin, line: Proxy):
    line.idle_cut = 0.5
    server = ruin.start("-c", "2")

    jobs = []
    for _ in range(4):
        jobs += ruin.push("Brief")
        rest(0.7)

    ruin.assert_once(jobs)
    assert "ERROR" not in server.log
    assert "Traceback" not in server.log


# -- slow lines ---------------------------------------------------------------------------------------


@pytest.mark.row("C10")
def test_answers_that_drip_in_are_understood(ruin: Ruin, line: Proxy):
    line.piece = 1
    ruin.start("-c", "4")

    ruin.assert_once(ruin.push("Brief", count=20))


@pytest.mark.row("C9")
def test_large_jobs_on_a_thin_line_run_once_and_the_heart_goes_on_beating(ruin: Ruin, line: Proxy):
    """A fetch whose answer takes longer than two looks of the audit is slow, not lost."""
    server = ruin.start("-c", "2", environ={"SIDEKIQ_HEARTBEAT_TTL": "6"})
    line.bandwidth, line.piece = 200_000, 4096
    jobs = [payload("Brief", 0, filler="x" * 400_000) for _ in range(2)]

    ruin.push_all(jobs)
    while len(ruin.lines("end")) < len(jobs):
        assert ruin.stage.raw.exists(server.identity), server.log
        rest(0.1)
    line.bandwidth = 0

    ruin.assert_once(jobs)


@pytest.mark.row("C8")
@pytest.mark.parametrize("count", [600, pytest.param(6000, marks=pytest.mark.soak)])
def test_a_far_redis_is_asked_little_and_given_back_what_was_claimed_ahead(
    ruin: Ruin, line: Proxy, count: int
):
    ruin.start("-c", "20", environ={"SIDEKIQ_HEARTBEAT_TTL": "60"})  # a beat is no round trip for jobs
    line.latency, line.jitter = 0.05, 0.02
    before = line.requests
    jobs = ruin.push("Brief", count=count)
    longs = ruin.push("Until", "go", count=30)  # some of these are claimed before anybody knows how long

    ruin.wait_until_ended(jobs, 4 * LONG)
    ruin.wait_until_running(20)
    assert (line.requests - before) / len(jobs) < 0.2
    eventually(lambda: len(ruin.stage.claimed()) == 20, LONG)
    ruin.stage.let("go")

    ruin.assert_once(jobs + longs)


# -- Redis is away ------------------------------------------------------------------------------------


@pytest.mark.row("C13")
def test_an_outage_of_twice_the_heartbeats_life_kills_nobody_and_runs_nothing_twice(
    own_ruin: Ruin, own_redis: Server
):
    servers = [own_ruin.start("-c", "3") for _ in range(2)]
    jobs = own_ruin.push("Until", "go", count=4) + own_ruin.push("Until", "late", count=2)
    own_ruin.wait_until_running(6)

    own_redis.kill()
    own_ruin.stage.let("go")
    own_ruin.wait_until_ended(jobs[:4])  # jobs go on without Redis
    rest(2 * TTL)
    own_redis.start()
    eventually(lambda: own_ruin.stage.claimed() != [] and len(own_ruin.stage.claimed()) == 2, LONG)
    rest(1.5 * TTL)  # long enough for a hasty sweeper
    own_ruin.stage.let("late")

    own_ruin.assert_once(jobs)
    assert "rescued" not in own_ruin.logs
    for server in servers:
        assert server.log.count("Redis is down") == server.log.count("Redis is back") == 1
        assert server.stop() == 0
    assert int(own_ruin.stage.raw.get("stat:processed")) == 6


@pytest.mark.parametrize(
    "way",
    [
        pytest.param("DEBUG SLEEP", marks=pytest.mark.row("C17")),
        pytest.param("CLIENT PAUSE", marks=[pytest.mark.row("C18"), pytest.mark.soak]),
    ],
)
def test_a_redis_that_stands_still_for_longer_than_a_heartbeat_lives_has_nobody_rescued(
    own_ruin: Ruin, way: str
):
    for _ in range(2):
        own_ruin.start("-c", "3")
    jobs = own_ruin.push("Until", "go", count=6)
    own_ruin.wait_until_running(6)

    stand_still(own_ruin, way, 1.5 * TTL)
    rest(1.5 * TTL)
    own_ruin.stage.let("go")

    jobs += own_ruin.push("Brief", count=20)
    own_ruin.assert_once(jobs)
    assert "rescued" not in own_ruin.logs


def stand_still(ruin: Ruin, way: str, seconds: float) -> None:
    if way == "DEBUG SLEEP":
        ruin.stage.raw.execute_command("DEBUG", "SLEEP", seconds)
    else:
        ruin.stage.raw.client_pause(int(seconds * 1000))
        rest(seconds)


@pytest.mark.row("C14")
def test_a_redis_with_too_many_clients_is_waited_for(own_ruin: Ruin):
    server = own_ruin.start("-c", "3")
    raw = own_ruin.stage.raw
    before = raw.config_get("maxclients")["maxclients"]

    raw.config_set("maxclients", 1)
    raw.client_kill_filter(_type="normal", skipme=True)
    jobs = own_ruin.push("Brief", count=20)
    server.wait_for_log("Redis is down")
    rest(0.5)
    raw.config_set("maxclients", before)

    own_ruin.assert_once(jobs)
    assert "Traceback" not in server.log


@pytest.mark.row("C15")
@pytest.mark.parametrize("how", ["rights", "password"])
def test_rights_that_are_taken_away_at_work_and_given_back_cost_nothing(own_ruin: Ruin, how: str):
    raw: Any = own_ruin.stage.raw
    allow = ("reset", "on", ">secret", "~*", "&*", "+@all")
    raw.execute_command("ACL", "SETUSER", "worker", *allow)
    own_ruin.stage.redis_url += "?username=worker&password=secret"
    server = own_ruin.start("-c", "4")
    done = own_ruin.push("Until", "go", count=2)
    [failing] = own_ruin.push("Fails", "go")
    own_ruin.wait_until_running(3)

    if how == "rights":
        raw.execute_command("ACL", "SETUSER", "worker", "-@all")
    else:
        raw.execute_command("ACL", "SETUSER", "worker", "resetpass", ">other")
        raw.client_kill_filter(user="worker")
    server.wait_for_log("Redis is down")
    own_ruin.stage.let("go")  # now they end: acknowledged and recorded when the rights are back
    done += own_ruin.push("Brief", count=5)
    rest(1.2 * TTL)
    raw.execute_command("ACL", "SETUSER", "worker", *allow)

    own_ruin.wait_until_ended(done)
    assert own_ruin.stage.retry_of(jid(failing))["retry_count"] == 0
    own_ruin.wait_until_clean()
    rest(1.0)
    assert set(own_ruin.lines("start").values()) == {1}, server.log
    assert len(own_ruin.stage.retries()) == 1
    assert "fetch failed" not in server.log
    assert "heartbeat failed" not in server.log
    assert "secret" not in server.log
    assert server.stop() == 0


@pytest.mark.row("C12")
def test_pushes_and_work_survive_a_redis_that_is_killed_again_and_again(own_ruin: Ruin, own_redis: Server):
    """What a client was told is stored is run, whatever happens to Redis afterwards."""
    own_ruin.start("-c", "5")
    pool = RedisPool(RedisOptions.from_url(own_redis.url))
    client, stored, is_over = Client(redis=pool), [], threading.Event()

    def keep_pushing() -> None:
        while not is_over.is_set():
            with contextlib.suppress(RedisDown):
                stored.append(client.push({"class": "Brief", "args": [0.002]}))
            time.sleep(0.005)

    pusher = threading.Thread(target=keep_pushing)
    pusher.start()
    for _ in range(3):
        rest(0.7)
        own_redis.kill()
        rest(0.2)
        own_redis.start()
    rest(0.5)
    is_over.set()
    pusher.join()

    eventually(lambda: set(stored) <= set(own_ruin.lines("end")), LONG)
    own_ruin.wait_until_clean()
    assert max(own_ruin.lines("start").values()) == 1, own_ruin.logs
    pool.close()
