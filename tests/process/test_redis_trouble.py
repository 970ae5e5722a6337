"""Redis is away, comes back, loses connections or scripts: what the running server makes of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py

from tests.helpers import eventually, rest
from tests.process import stage as stages
from tests.process.stage import LONG, Stage, payload
from tests.server_process import ServerProcess
from tests.servers import Server, free_port, start_server

HANDLERS = """
@job("Long")
def long(name, until):
    note("start", name)
    wait_for(until)
    note("end", name)

@job("Fail")
def fail(until):
    note("start fail")
    wait_for(until)
    note("failing")
    raise ValueError("on purpose")

@job("Short")
def short(number):
    time.sleep(0.005)
    note("short", number)
"""


POSTS_ITS_LOG = """
import logging, sys

class Post(logging.Handler):
    def emit(self, record):
        print(record.getMessage(), file=sys.stderr)
        raise ConnectionError("log service unreachable")

logging.getLogger("sidekiq").addHandler(Post())
"""

FILTERS_ITS_LOG = """
import logging, sys

def broken(record):
    if "Redis is" in record.getMessage():
        print(record.getMessage(), file=sys.stderr)
        raise LookupError("no such filter")
    return True

logging.getLogger("sidekiq").addFilter(broken)
"""


@pytest.fixture
def mortal_redis(tmp_path: Path) -> Iterator[Server]:
    """A server that may be killed, and comes back with everything it confirmed."""
    safe = ["--appendonly", "yes", "--appendfsync", "always"]
    server = start_server("default", tmp_path / "redis", extra_args=safe)
    yield server
    server.stop()


@pytest.fixture
def stage(mortal_redis: Server, tmp_path: Path) -> Iterator[Stage]:
    built = stages.on(mortal_redis, tmp_path)
    yield built
    built.end()


def assert_all_ran_once(stage: Stage, count: int) -> None:
    eventually(lambda: len([line for line in stage.notes if line.startswith("short")]) >= count, LONG)
    stage.wait_until_settled()
    assert sorted(stage.notes) == sorted(f"short {number}" for number in range(count))


@pytest.mark.parametrize(
    ("url", "address"),
    [("redis://:canary@127.0.0.1:{port}/0", "127.0.0.1:{port}"), ("unix://{directory}/no.sock",) * 2],
)
def test_a_server_that_finds_no_redis_says_so_in_one_sentence_and_ends(tmp_path: Path, url, address):
    place = {"port": free_port(), "directory": tmp_path}
    lost = Stage(tmp_path, url.format(**place), redis_py.Redis())

    server = lost.launch("")

    assert server.wait() == 4
    [line] = server.log.splitlines()
    assert line.startswith("sidekiq-py: cannot reach Redis at ")
    assert address.format(**place).removeprefix("unix://") in line
    assert "canary" not in line


@pytest.mark.row("C15", "K2")
def test_a_password_that_redis_refuses_ends_the_start_and_is_not_shown(stage: Stage):
    stage.raw.config_set("requirepass", "right")
    stage.redis_url += "?password=canary"

    server = stage.launch("")

    assert server.wait() == 4
    assert len(server.log.splitlines()) == 1
    assert "password" in server.log.lower()
    assert "canary" not in server.log


@pytest.mark.row("C12")
def test_running_jobs_finish_while_redis_is_away_and_the_rest_runs_when_it_is_back(
    stage: Stage, mortal_redis: Server
):
    server = stage.start(HANDLERS, "-c", "2")
    stage.push("Long", "a", "go")
    stage.push("Long", "b", "later")
    stage.wait_for_note("start a")
    stage.wait_for_note("start b")
    for number in range(3):
        stage.push("Canary", number)

    mortal_redis.kill()
    server.wait_for_log("Redis is down")
    stage.let("go")
    stage.wait_for_note("end a")
    mortal_redis.start()
    for number in range(3):
        stage.wait_for_note(f"canary {number}")
    stage.let("later")
    stage.wait_until_settled()

    assert sorted(stage.notes) == sorted(
        ["start a", "start b", "end a", "end b", "canary 0", "canary 1", "canary 2"]
    )
    assert server.stop() == 0
    assert "5 done, 0 failed, 0 pushed back" in server.log
    assert server.log.count("Redis is down") == server.log.count("Redis is back") == 1
    assert "Traceback" not in server.log
    assert int(stage.raw.get("stat:processed")) == 5


@pytest.mark.row("C12")
def test_an_idle_server_outlives_a_restart_of_redis(stage: Stage, mortal_redis: Server):
    server = stage.start(HANDLERS)
    stage.push("Canary")
    stage.wait_for_note("canary tweet")  # whoever loses Redis while it starts gives up

    mortal_redis.kill()
    server.wait_for_log("Redis is down")
    rest(0.5)  # long enough for every part of the server to notice
    mortal_redis.start()
    stage.push("Canary", "again")
    stage.wait_for_note("canary again")
    eventually(lambda: stage.raw.smembers("processes") == {server.identity.encode()}, LONG)

    assert server.stop() == 0
    assert server.log.count("Redis is down") == server.log.count("Redis is back") == 1
    assert "Traceback" not in server.log


@pytest.mark.row("F7")
def test_a_job_that_fails_while_redis_is_away_is_one_retry_when_it_is_back(
    stage: Stage, mortal_redis: Server
):
    server = stage.start(HANDLERS)
    stage.push("Fail", "go", jid="failing")
    stage.wait_for_note("start fail")

    mortal_redis.kill()
    server.wait_for_log("Redis is down")
    stage.let("go")
    stage.wait_for_note("failing")
    rest(0.2)  # it tries to record the failure, in vain
    mortal_redis.start()
    retry = stage.retry_of("failing")
    stage.wait_until_settled()

    assert (retry["retry_count"], retry["error_message"]) == (0, "on purpose")
    assert len(stage.retries()) == 1
    assert stage.notes.count("failing") == 1


@pytest.mark.row("G7")
def test_a_stop_while_redis_is_away_ends_in_time_and_says_that_jobs_stayed_claimed(
    stage: Stage, mortal_redis: Server
):
    server = stage.start(HANDLERS, "-t", "0.5")
    pushed = stage.push("Long", "a", "never")
    stage.wait_for_note("start a")

    mortal_redis.kill()
    server.wait_for_log("Redis is down")

    assert server.stop() == 1
    assert "stay claimed until a rescue" in server.log
    assert "Traceback" not in server.log
    mortal_redis.start()
    assert stage.claimed() == [pushed]


@pytest.mark.row("C1")
def test_connections_that_are_killed_all_the_time_cost_no_job_and_no_second_run(stage: Stage):
    server = stage.start(HANDLERS, "-c", "5", environ={"SIDEKIQ_HEARTBEAT_TTL": "2"})
    for number in range(300):
        stage.push("Short", number)

    def through() -> bool:
        stage.raw.client_kill_filter(_type="normal", skipme=True)
        rest(0.003)
        return stage.queue() == []

    eventually(through, LONG)

    assert_all_ran_once(stage, 300)  # those whose fetch lost its reply, too
    assert server.stop() == 0
    assert "Traceback" not in server.log


@pytest.mark.row("D1")
def test_scripts_that_are_flushed_all_the_time_cost_nothing(stage: Stage):
    server = stage.start(HANDLERS, "-c", "5")
    for number in range(200):
        stage.push("Short", number)

    def through() -> bool:
        stage.raw.script_flush()
        return stage.queue() == []

    eventually(through, LONG)

    assert_all_ran_once(stage, 200)
    assert "down" not in server.log
    assert stage.retries() == []


@pytest.mark.row("D2")
def test_after_a_flushall_the_server_shows_up_again_and_works_on(stage: Stage):
    server = stage.start(HANDLERS, "-c", "2")
    stage.push("Long", "a", "go")
    stage.wait_for_note("start a")

    stage.raw.flushall()
    stage.push("Canary")
    stage.wait_for_note("canary tweet")
    stage.let("go")
    stage.wait_for_note("end a")

    eventually(lambda: stage.raw.smembers("processes") == {server.identity.encode()}, LONG)
    server.wait_for_log("1 finished jobs were not ours any more")
    assert server.stop() == 0


@pytest.mark.row("D13")
def test_a_queue_whose_key_is_no_list_is_named_once_and_the_others_are_served(stage: Stage):
    stage.raw.set("queue:low", "broken")

    server = stage.start(HANDLERS, "-q", "low", "-q", "default")
    stage.push("Canary", "one")
    stage.wait_for_note("canary one")
    stage.raw.delete("queue:low")
    stage.push("Canary", "two", queue="low")
    stage.wait_for_note("canary two")

    assert server.log.count("queue 'low' is skipped") == 1


@pytest.mark.row("D13")
@pytest.mark.parametrize(("key", "retry"), [("retry", True), ("dead", 0)])
def test_a_failure_that_redis_refuses_is_recorded_once_the_key_is_repaired_without_a_restart(
    stage: Stage, key: str, retry: object
):
    stage.raw.set(key, "broken")
    stage.let("go")

    server = stage.start(HANDLERS, environ={"SIDEKIQ_HEARTBEAT_TTL": "2"})
    worker = server.worker_pid
    pushed = stage.push("Fail", "go", retry=retry)
    server.wait_for_log(f"the key '{key}' is no sorted set (WRONGTYPE")
    stage.push("Canary", "one")
    stage.wait_for_note("canary one")
    eventually(lambda: stage.claimed() == [pushed], LONG)
    stage.raw.delete(key)

    stage.wait_until_settled()
    assert [json.loads(raw)["retry_count"] for raw in stage.retries() + stage.dead()] == [0]
    assert stage.notes.count("failing") == 1
    assert server.log.count("is no sorted set") == server.log.count("ValueError: on purpose") == 1
    assert server.worker_pid == worker
    assert server.stop() == 0


@pytest.mark.row("C12")
def test_a_log_handler_that_raises_doesnt_make_the_server_deaf_for_ever(stage: Stage, mortal_redis: Server):
    server = stage.start(POSTS_ITS_LOG + HANDLERS, environ={"SIDEKIQ_HEARTBEAT_TTL": "12"})

    assert_outlives_an_outage(server, stage, mortal_redis)

    assert "failed" not in server.log
    assert server.log.count("raises ConnectionError: log service unreachable; it loses log lines") == 1
    assert server.stop() == 0


@pytest.mark.row("C12")
def test_a_log_filter_that_raises_doesnt_make_the_server_deaf_for_ever(stage: Stage, mortal_redis: Server):
    server = stage.start(FILTERS_ITS_LOG + HANDLERS, environ={"SIDEKIQ_HEARTBEAT_TTL": "12"})

    assert_outlives_an_outage(server, stage, mortal_redis)

    assert "no such filter" in server.log
    assert server.stop() == 0


def assert_outlives_an_outage(server: ServerProcess, stage: Stage, mortal_redis: Server) -> None:
    """Fetchers, poller and heartbeat all notice it, and all go on afterwards."""
    stage.push("Canary")
    stage.wait_for_note("canary tweet")

    mortal_redis.kill()
    server.wait_for_log("Redis is down")
    rest(0.5)  # long enough for every part of the server to notice
    mortal_redis.start()
    stage.raw.zadd("schedule", {payload("Canary", "of the poller"): 1})
    stage.push("Canary", "of a fetcher")
    stage.wait_for_note("canary of a fetcher")
    stage.wait_for_note("canary of the poller")
    stage.raw.delete("processes")
    eventually(lambda: stage.raw.smembers("processes") == {server.identity.encode()}, LONG)


@pytest.mark.row("C15", "K2")
def test_a_right_that_is_missing_ends_the_start_and_is_named(stage: Stage):
    raw: Any = stage.raw
    raw.execute_command("ACL", "SETUSER", "worker", "reset", "on", ">secret", "~*", "+@all", "-rpush")
    stage.redis_url += "?username=worker&password=secret"

    server = stage.launch("")

    assert server.wait() == 4
    assert len(server.log.splitlines()) == 1
    assert "doesn't let user 'worker' run RPUSH" in server.log
