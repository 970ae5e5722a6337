"""Redis is full, read-only, emptied, replaced or refuses: a server waits or goes on, and heals what it can.

What single commands make of such replies is shown by `tests/redis/test_redis_trouble.py`, and a Redis that
goes away by `test_network.py`; here servers are at work meanwhile.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import redis as redis_py

from sidekiq_py import Client
from sidekiq_py.errors import MaybeEnqueued, RedisDown
from sidekiq_py.redis_connection import RedisOptions
from sidekiq_py.scripts import load
from tests.chaos.proxy import Proxy, proxy
from tests.chaos.ruin import TTL, Ruin, jid, send
from tests.helpers import eventually, rest
from tests.process import stage as stages
from tests.process.stage import LONG, payload
from tests.servers import MATRIX, Kind, Server, start_sentinel, start_server


@pytest.fixture(params=MATRIX)
def each_ruin(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ruin]:
    """A Redis of each generation for one test alone."""
    kind: Kind = request.param
    server = start_server(kind, tmp_path / "redis")
    built = Ruin(stages.on(server, tmp_path))
    yield built
    built.end()
    server.stop()


# -- on each generation -------------------------------------------------------------------------------


@pytest.mark.row("D1", "D17")
def test_scripts_flushed_again_and_again_fail_no_job(each_ruin: Ruin):
    server = each_ruin.start("-c", "5")
    jobs: list[bytes] = []

    for _ in range(30):
        jobs += each_ruin.push("Brief", 0.002, count=10)
        each_ruin.stage.raw.script_flush()
        rest(0.02)

    each_ruin.assert_once(jobs)
    assert "Redis is down" not in server.log
    assert "WARN" not in server.log


@pytest.mark.row("D2", "D17")
def test_after_a_flushall_under_load_the_running_finish_and_new_jobs_run(each_ruin: Ruin):
    server = each_ruin.start("-c", "5")
    running = each_ruin.push("Until", "go", count=3)
    each_ruin.wait_until_running(3)
    each_ruin.push("Brief", 0.01, count=200)
    rest(0.1)

    each_ruin.stage.raw.flushall()
    each_ruin.stage.let("go")
    later = each_ruin.push("Brief", count=20)

    each_ruin.wait_until_ended(running + later)
    each_ruin.wait_until_clean()
    assert max(each_ruin.lines("start").values()) == 1
    eventually(lambda: each_ruin.identities() == [server.identity], LONG)
    assert "not ours any more" in server.log
    assert server.stop() == 0
    assert "Traceback" not in server.log


@pytest.mark.row("D3", "D17")
def test_a_full_redis_is_emptied(each_ruin: Ruin):
    """With memory used up the queue drains, the process stays visible, failures are recorded."""
    raw: Any = each_ruin.stage.raw
    jobs = [payload("Brief", 0.001, filler="x" * 500) for _ in range(1500)]
    each_ruin.push_all(jobs)
    [failing] = each_ruin.push("Fails")
    server = each_ruin.start("-c", "5")

    raw.config_set("maxmemory", 1)
    with pytest.raises(redis_py.ResponseError):
        raw.set("is it", "full")
    each_ruin.wait_until_ended(jobs, 2 * LONG)
    assert each_ruin.stage.retry_of(jid(failing))["error_message"] == "on purpose"
    rest(1.2 * TTL)

    assert raw.exists(server.identity)
    assert each_ruin.identities() == [server.identity]
    each_ruin.wait_until_clean()
    assert server.log.count("Redis is full") == 1
    assert "Redis is down" not in server.log
    raw.config_set("maxmemory", 0)
    more = each_ruin.push("Brief", count=5)
    each_ruin.wait_until_ended(more)
    assert set(each_ruin.lines("start").values()) == {1}
    assert "Traceback" not in server.log.replace("Traceback (most recent call last):", "", 1)


@pytest.mark.row("D3", "A1", "D17")
def test_a_worker_that_dies_when_redis_is_full_costs_no_job_and_the_server_stops_in_order(each_ruin: Ruin):
    server = each_ruin.start("-c", "1")
    jobs = each_ruin.push("Until", "go", count=3)
    each_ruin.wait_until_running(1)
    each_ruin.stage.raw.config_set("maxmemory", 1)

    send(server.worker_pid, "KILL")
    each_ruin.stage.let("go")
    each_ruin.wait_until_ended(jobs)

    each_ruin.wait_until_clean()
    assert server.stop() == 0, server.log
    assert each_ruin.identities() == []


@pytest.mark.row("C15")
def test_a_stop_without_the_right_to_put_jobs_back_leaves_them_to_be_rescued(each_ruin: Ruin):
    raw: Any = each_ruin.stage.raw
    raw.execute_command("ACL", "SETUSER", "worker", "reset", "on", ">secret", "~*", "&*", "+@all")
    url = each_ruin.stage.redis_url
    each_ruin.stage.redis_url += "?username=worker&password=secret"
    server = each_ruin.start("-c", "4", "-t", "1")
    jobs = each_ruin.push("Until", "go", count=3)
    failing = each_ruin.push("Fails", "fail")
    each_ruin.wait_until_running(4)

    raw.execute_command("ACL", "SETUSER", "worker", "-rpush", "-lpush", "-zadd", "-sadd")
    each_ruin.stage.let("fail")
    server.wait_for_log("NOPERM")
    server.stop()
    each_ruin.stage.let("go")
    each_ruin.stage.redis_url = url
    each_ruin.start("-c", "4")

    each_ruin.wait_until_ended(jobs)
    eventually(lambda: len(each_ruin.stage.retries()) == 1, LONG)
    assert each_ruin.stage.retry_of(jid(failing[0]))["retry_count"] == 0
    each_ruin.wait_until_clean()


@pytest.mark.row("D4", "D17")
@pytest.mark.parametrize("at", [None, 4102444800.0], ids=["now", "later"])
def test_a_push_to_a_full_redis_fails_clearly_and_stores_nothing(each_ruin: Ruin, at: float | None):
    each_ruin.stage.raw.config_set("maxmemory", 1)
    client = Client(each_ruin.stage.redis_url)
    job = {"class": "Brief", "args": [], **({"at": at} if at else {})}

    with pytest.raises(RedisDown, match="OOM") as caught:
        client.push(job)

    assert not isinstance(caught.value, MaybeEnqueued)
    assert each_ruin.stage.raw.keys("*") == []


@pytest.mark.row("D5", "D17", "D19")
def test_a_claim_that_redis_threw_away_is_told_at_the_start_and_counted_in_the_end(each_ruin: Ruin):
    each_ruin.stage.raw.config_set("maxmemory-policy", "allkeys-lru")
    server = each_ruin.start("-c", "2")
    jobs = each_ruin.push("Until", "go")
    each_ruin.wait_until_running(1)

    for claim in each_ruin.stage.raw.keys("sidekiq-py:claim:*"):  # as eviction would
        each_ruin.stage.raw.delete(claim)
    each_ruin.stage.let("go")
    jobs += each_ruin.push("Brief", count=5)

    each_ruin.assert_once(jobs)
    assert "maxmemory-policy is 'allkeys-lru'" in server.log
    server.wait_for_log("1 finished jobs were not ours any more")


# -- refusals -----------------------------------------------------------------------------------------


def no_replicas(raw: Any, _directory: Path) -> Callable[[], object]:
    raw.config_set("min-replicas-to-write", 5)
    return lambda: raw.config_set("min-replicas-to-write", 0)


def cannot_save(raw: Any, directory: Path) -> Callable[[], object]:
    (directory / "snapshots").rmdir()
    raw.config_set("save", "900 1")
    with suppress(redis_py.ResponseError):
        raw.bgsave()
    eventually(lambda: raw.info("persistence")["rdb_last_bgsave_status"] == "err", LONG)
    return lambda: raw.config_set("save", "")


def read_only(raw: Any, _directory: Path) -> Callable[[], object]:
    raw.config_set("replica-read-only", "yes")
    raw.replicaof("127.0.0.1", 1)
    return lambda: raw.replicaof("NO", "ONE")


def busy(raw: Any, directory: Path) -> Callable[[], object]:
    raw.config_set("lua-time-limit", 10)
    other = redis_py.Redis(unix_socket_path=raw.connection_pool.connection_kwargs["path"])

    def loop() -> None:
        with suppress(redis_py.ResponseError):
            other.eval("while true do end", 0)
        other.close()

    stuck = threading.Thread(target=loop)
    stuck.start()

    def heal() -> None:
        def killed() -> bool:
            with suppress(redis_py.ResponseError):
                raw.script_kill()
            return not stuck.is_alive()

        eventually(killed, LONG)

    return heal


@pytest.mark.parametrize(
    ("refusal", "word"),
    [
        pytest.param(no_replicas, "NOREPLICAS", marks=pytest.mark.row("D9")),
        pytest.param(cannot_save, "MISCONF", marks=pytest.mark.row("D10")),
        pytest.param(read_only, "READONLY|UNBLOCKED", marks=pytest.mark.row("D6")),
        pytest.param(busy, "BUSY", marks=pytest.mark.row("D12")),
    ],
)
def test_a_redis_that_refuses_for_a_while_is_waited_for(
    refusal: Callable[[Any, Path], Callable[[], object]], word: str, tmp_path: Path
):
    (tmp_path / "snapshots").mkdir()
    server = start_server("default", tmp_path / "redis", extra_args=("--dir", str(tmp_path / "snapshots")))
    ruin = Ruin(stages.on(server, tmp_path))
    try:
        worker = ruin.start("-c", "3")
        jobs = ruin.push("Until", "go", count=2)
        [failing] = ruin.push("Fails", "go")
        ruin.wait_until_running(3)
        jobs += ruin.push("Brief", count=10)

        heal = refusal(ruin.stage.raw, tmp_path)
        worker.wait_for_log("Redis is down")
        ruin.stage.let("go")
        rest(1.5)  # longer than what counts as one outage
        heal()

        ruin.wait_until_ended(jobs)
        assert ruin.stage.retry_of(jid(failing))["retry_count"] == 0
        ruin.wait_until_clean()
        assert set(ruin.lines("start").values()) == {1}, worker.log
        assert len(ruin.stage.retries()) == 1
        worker.wait_for_log("Redis is back")
        [down] = [line for line in worker.log.splitlines() if "Redis is down" in line]
        assert worker.log.count("Redis is back") == 1
        assert any(each in down for each in word.split("|"))
        assert "rescued" not in worker.log
    finally:
        ruin.end()
        server.stop()


@pytest.mark.row("D11")
def test_a_redis_that_loads_its_data_is_waited_for(tmp_path: Path):
    slow = ("--key-load-delay", "5000", "--loading-process-events-interval-bytes", "1024")
    server = start_server("default", tmp_path / "redis", extra_args=slow)
    ruin = Ruin(stages.on(server, tmp_path))
    try:
        worker = ruin.start("-c", "3")
        jobs = ruin.push("Until", "go", count=3)
        ruin.wait_until_running(3)
        jobs += ruin.push("Brief", count=5)
        ruin.stage.raw.mset({f"ballast{number}": os.urandom(2000) for number in range(300)})
        ruin.stage.raw.save()

        server.kill()
        server.start()
        with pytest.raises(RedisDown, match="LOADING"):
            RedisOptions.from_url(server.url).connect().call("GET", "ballast0")
        ruin.stage.let("go")

        ruin.assert_once(jobs)
        worker.wait_for_log("Redis is back")
        assert worker.log.count("Redis is down") == worker.log.count("Redis is back") == 1
        assert "Traceback" not in worker.log
    finally:
        ruin.end()
        server.stop()


# -- keys that somebody broke -------------------------------------------------------------------------


@pytest.mark.row("D13")
def test_a_failure_that_cannot_be_recorded_is_not_run_again_by_this_process(ruin: Ruin):
    ruin.stage.raw.set("retry", "broken")
    server = ruin.start("-c", "2")
    [failing] = ruin.push("Fails")
    server.wait_for_log("WRONGTYPE")

    rest(1.2 * TTL)  # several looks of the audit
    ruin.wait_until_ended(ruin.push("Brief", count=5))

    assert ruin.lines("start")[jid(failing)] == 1
    assert ruin.stage.claimed() == [failing]
    assert server.stop() == 0
    assert ruin.stage.queue() == [failing]


@pytest.mark.row("D13")
def test_a_damaged_claim_list_stops_neither_its_queue_s_neighbours_nor_itself_when_it_is_gone(ruin: Ruin):
    server = ruin.start("-c", "2", "-q", "low", "-q", "default")
    ruin.stage.raw.set(f"sidekiq-py:claim:{server.identity}|low", "broken")
    waiting = [payload("Brief", queue="low")]
    ruin.push_all(waiting, queue="low")

    ruin.wait_until_ended(ruin.push("Brief", count=5))
    assert ruin.stage.queue("low") == waiting
    ruin.stage.raw.delete(f"sidekiq-py:claim:{server.identity}|low")

    ruin.wait_until_ended(waiting)
    eventually(lambda: ruin.stage.claimed() == [], LONG)
    assert set(ruin.lines("start").values()) == {1}


# -- much is stored -----------------------------------------------------------------------------------

FILL = """
for number = tonumber(ARGV[3]), tonumber(ARGV[4]) do
  local job = ARGV[1] .. string.format('%024x', number) .. ARGV[2]
  if KEYS[1] == 'schedule' then
    redis.call('ZADD', KEYS[1], 4102444800 + number, job)
  else
    redis.call('LPUSH', KEYS[1], job)
  end
end
"""


def fill(raw: Any, key: str, count: int) -> None:
    head, tail = payload("Brief", jid="|").split(b"|")
    for first in range(0, count, 50_000):
        raw.eval(FILL, 1, key, head, tail, first, min(first + 50_000, count) - 1)


def work_a_while(ruin: Ruin) -> tuple[float, float]:
    """Seconds until a new server has started its first job, and microseconds of a fetch."""
    ruin.stage.raw.slowlog_reset()
    began = time.monotonic()
    server = ruin.start("-c", "10")
    eventually(lambda: ruin.stage.notes, LONG)
    took = time.monotonic() - began
    eventually(lambda: len(ruin.stage.notes) > 2000, LONG)
    server.kill()
    (ruin.stage.directory / "notes").unlink()
    name = load("fetch").sha.encode()
    return took, median(e["duration"] for e in ruin.stage.raw.slowlog_get(10_000) if name in e["command"])


@pytest.mark.row("D14")
@pytest.mark.parametrize("count", [100_000, pytest.param(1_000_000, marks=pytest.mark.soak)])
def test_with_very_many_jobs_waiting_and_scheduled_a_server_starts_and_fetches_as_ever(
    own_ruin: Ruin, count: int
):
    raw: Any = own_ruin.stage.raw
    raw.config_set("slowlog-log-slower-than", 0)
    raw.config_set("slowlog-max-len", 10_000)
    fill(raw, "queue:default", 5000)
    boot, fetch = work_a_while(own_ruin)
    raw.flushall()

    fill(raw, "queue:default", count)
    fill(raw, "schedule", count)
    full_boot, full_fetch = work_a_while(own_ruin)

    assert raw.zcard("schedule") == count
    assert full_boot < boot + 2
    assert full_fetch < 2 * fetch + 300  # to look at all of them would take milliseconds


# -- another Redis takes over -------------------------------------------------------------------------


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    """A master and its replica, in step."""
    prompt = ("--repl-diskless-sync-delay", "0")
    master = start_server("default", tmp_path / "one", port=True, extra_args=prompt)
    follow = ("--replicaof", f"127.0.0.1 {master.port}")
    replica = start_server("default", tmp_path / "two", port=True, extra_args=(*prompt, *follow))
    eventually(lambda: client_of(replica).info("replication")["master_link_status"] == "up", LONG)
    yield master, replica
    for server in (replica, master):
        server.kill()


def client_of(server: Server) -> Any:
    return redis_py.Redis(unix_socket_path=str(server.socket_path))


def role_of(server: Server) -> str:
    return str(client_of(server).info("replication")["role"])


def in_step(master: Server, replica: Server) -> bool:
    sent = client_of(master).info("replication")["master_repl_offset"]
    got = client_of(replica).info("replication")["slave_repl_offset"]
    return bool(sent == got)


@pytest.mark.parametrize(
    "way",
    [
        pytest.param("the master dies", marks=pytest.mark.row("D7")),
        pytest.param("roles are swapped", marks=pytest.mark.row("D6")),
    ],
)
def test_a_server_at_work_follows_sentinel_to_the_next_master(
    pair: tuple[Server, Server], tmp_path: Path, way: str
):
    master, replica = pair
    sentinel = start_sentinel("default", tmp_path / "sentinel", master=master, quorum=1)
    watch = redis_py.Redis(port=sentinel.port)
    watch.execute_command("SENTINEL", "SET", "main", "down-after-milliseconds", "1500")
    eventually(lambda: watch.execute_command("SENTINEL", "REPLICAS", "main"), LONG)
    ruin = Ruin(stages.on(master, tmp_path))
    ruin.stage.redis_url = f"redis+sentinel://127.0.0.1:{sentinel.port}/main"
    try:
        began = time.monotonic()
        worker = ruin.start("-c", "3")
        boot = time.monotonic() - began
        jobs = ruin.push("Until", "go", count=2)
        ruin.wait_until_running(2)
        eventually(lambda: in_step(master, replica), LONG)

        if way == "the master dies":
            master.kill()
        else:
            eventually(lambda: begin_failover(watch), LONG)
            eventually(lambda: role_of(replica) == "master", LONG)
            client_of(master).replicaof("127.0.0.1", str(replica.port))  # Sentinel would, in ten seconds
        ruin.stage.let("go")
        eventually(lambda: role_of(replica) == "master", LONG)
        promoted_at = time.monotonic()
        ruin.stage.raw = client_of(replica)
        later = ruin.push("Brief", count=10)
        ruin.wait_until_ended(later)

        assert time.monotonic() - promoted_at < 5 + 3 * boot  # what a boot took tells how busy the machine is
        ruin.assert_once(jobs + later)
        eventually(lambda: ruin.identities() == [worker.identity], LONG)
        assert worker.log.count("Redis is down") <= 2
        assert "Traceback" not in worker.log
        assert worker.stop() == 0
    finally:
        ruin.end()
        watch.close()
        sentinel.kill()


def begin_failover(watch: Any) -> bool:
    try:
        watch.execute_command("SENTINEL", "FAILOVER", "main")
    except redis_py.ResponseError:  # it has not heard from the replica yet
        return False
    return True


@pytest.mark.row("D18")
def test_the_address_of_a_replica_is_refused_at_the_start(pair: tuple[Server, Server], tmp_path: Path):
    master, replica = pair
    ruin = Ruin(stages.on(master, tmp_path))
    ruin.stage.redis_url = replica.url
    try:
        server = ruin.launch()

        assert server.wait() == 4
        [line] = server.log.splitlines()
        assert "is a replica" in line
        assert ruin.identities() == []
    finally:
        ruin.end()


@pytest.fixture
def line(pair: tuple[Server, Server]) -> Iterator[Proxy]:
    with proxy(pair[0].socket_path) as between:
        yield between


@pytest.mark.row("D8")
def test_a_replica_that_lagged_behind_runs_nothing_again_that_was_acknowledged(
    pair: tuple[Server, Server], line: Proxy, tmp_path: Path
):
    """The address moves to a Redis that knows of the claims, not of the acknowledgements."""
    master, replica = pair
    ruin = Ruin(stages.on(master, tmp_path))
    ruin.stage.redis_url = line.url
    try:
        worker = ruin.start("-c", "4")
        done = ruin.push("Until", "go", count=3)
        running = ruin.push("Until", "late", count=1)
        ruin.wait_until_running(4)
        eventually(lambda: in_step(master, replica), LONG)

        client_of(replica).replicaof("NO", "ONE")
        ruin.stage.let("go")
        ruin.wait_until_ended(done)
        eventually(lambda: len(ruin.stage.claimed()) == 1, LONG)
        line.move_to(replica.socket_path)
        ruin.stage.raw = client_of(replica)
        assert len(ruin.stage.claimed()) == 4
        later = ruin.push("Brief", count=5)
        ruin.wait_until_ended(later)
        eventually(lambda: len(ruin.stage.claimed()) == 1, LONG)
        ruin.stage.let("late")

        ruin.assert_once(done + running + later)
        assert worker.log.count("was acknowledged, but Redis had forgotten it") == 3
    finally:
        ruin.end()


@pytest.mark.row("D15")
def test_a_log_whose_end_is_torn_off_leaves_no_job_in_two_places(own_ruin: Ruin, own_redis: Server):
    worker = own_ruin.start("-c", "3")
    jobs = own_ruin.push("Until", "go", count=3) + own_ruin.push("Brief", count=10)
    own_ruin.wait_until_running(3)

    own_redis.kill()
    newest = max(own_redis.directory.rglob("*.aof"), key=lambda file: file.stat().st_size)
    with newest.open("r+b") as log:
        log.truncate(newest.stat().st_size - 7)
    own_redis.start()

    places = own_ruin.stage.queue() + own_ruin.stage.claimed()
    assert len({json.loads(raw)["jid"] for raw in places}) == len(places)
    own_ruin.stage.let("go")
    own_ruin.wait_until_ended(jobs)
    own_ruin.wait_until_clean()
    assert worker.is_running
