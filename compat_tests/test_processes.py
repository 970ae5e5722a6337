"""Real Sidekiq looks at our process (process set, work set, counters, sidekiqmon) and gives it orders."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from compat_tests import HANDLERS
from compat_tests.ruby import Ruby
from sidekiq_py.heartbeat import BEATS_IN_TTL
from sidekiq_py.keys import HEARTBEAT_TTL
from sidekiq_py.version import VERSION
from tests.helpers import eventually
from tests.server_process import ServerProcess

Start = Callable[..., ServerProcess]

DEADLINE = 30.0  # seconds; for what comes as fast as the machine allows
BEAT_EVERY = HEARTBEAT_TTL / BEATS_IN_TTL  # seconds
CAPSULES = """\
concurrency: 2
queues: [[critical, 3], [default, 1]]
capsules:
  single:
    concurrency: 1
    queues: [solo]
"""


def the_process(ruby: Ruby) -> dict[str, Any]:
    [process] = ruby.processes()
    return process


def process_hash(raw: Redis, identity: str) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in raw.hgetall(identity).items()}


def kinds(value: Any) -> Any:
    """The JSON type of a value; of an object's values and an array's elements too."""
    if isinstance(value, dict):
        return {key: kinds(item) for key, item in value.items()}
    return [kinds(item) for item in value] if isinstance(value, list) else type(value).__name__


def in_order(wanted: Iterable[str], found: Iterable[str]) -> bool:
    """Whether all the wanted are among the found, in the same order."""
    wanted = list(wanted)
    return [each for each in found if each in wanted] == wanted


def job_of(work: dict[str, Any]) -> dict[str, Any]:
    """The job of a row of the work set; 6.4 has parsed it already."""
    payload = work["payload"]
    return dict(json.loads(payload) if isinstance(payload, str) else payload)


def run_slow_job(ruby: Ruby, server: ServerProcess, *args: object) -> str:
    """A job that runs for a minute and is written into Redis; the server has become quiet for that."""
    jid = ruby.push("SlowJob", 60, *args)
    ruby.wait_until_ran(jid, DEADLINE)
    server.signal("TSTP")  # it beats at once to say so
    eventually(ruby.work, DEADLINE)
    return jid


# What is seen ---------------------------------------------------------------------------------------------


def test_all_that_ruby_shows_of_a_process_is_right(ruby: Ruby, sidekiq_py: Start) -> None:
    before = time.time()
    server = sidekiq_py(
        HANDLERS, "-c", "3", "-q", "critical", "-q", "low", "-g", "shop", "--label", "blue", "-q", "critical"
    )

    seen = the_process(ruby)

    hostname, pid, _nonce = server.identity.rsplit(":", 2)
    assert (seen["identity"], seen["hostname"], seen["pid"]) == (server.identity, hostname, int(pid))
    assert int(pid) == server.worker_pid
    assert before <= seen["started_at"] <= seen["beat"] <= time.time()
    assert (seen["tag"], seen["tag()"]) == ("shop", "shop")
    assert seen["labels"] == seen["labels()"] == ["blue", "python"]
    assert seen["queues"] == ["critical", "low"]
    assert (seen["quiet"], seen["stopping?"], seen["busy"]) == ("false", False, 0)
    assert seen["concurrency"] == 3
    assert 5_000 < seen["rss"] < 5_000_000  # kilobytes
    assert 0 < seen["rtt_us"] < 30_000_000
    if ruby.major >= 7:
        assert seen["version()"] == f"sidekiq-py {VERSION}"
        assert seen["embedded?()"] is False


def test_capsules_and_weights_are_shown_as_ruby_has_them(
    ruby: Ruby, sidekiq_py: Start, tmp_path: Path
) -> None:
    file = tmp_path / "capsules.yml"
    file.write_text(CAPSULES)
    sidekiq_py(HANDLERS, "-C", str(file))

    seen = the_process(ruby)

    weights = [{"critical": 3, "default": 1}, {"solo": 0}]
    assert seen["concurrency"] == 3
    assert seen["queues"] == ["critical", "default", "solo"]
    assert seen["weights"] == weights
    assert {name: each["mode"] for name, each in seen["capsules"].items()} == {
        "default": "weighted",
        "single": "strict",
    }
    if ruby.major == 8:
        assert seen["capsules()"] == seen["capsules"]
        assert seen["weights()"] == {"critical": 3, "default": 1, "solo": 0}
        assert set(seen["queues()"]) == {"critical", "default", "solo"}


@pytest.mark.parametrize("ruby", ["7.3", "8.1"], indirect=True)
def test_both_sides_describe_the_same_capsules_alike(ruby: Ruby, sidekiq_py: Start, tmp_path: Path) -> None:
    file = tmp_path / "capsules.yml"
    file.write_text(CAPSULES)
    ours = sidekiq_py(HANDLERS, "-C", str(file)).identity
    capsule = {"single": {"concurrency": 1, "queues": ["solo"]}}
    theirs = ruby.server(queues=["critical,3", "default,1"], concurrency=2, more={"capsules": capsule})

    seen = {process["identity"]: process for process in ruby.processes()}

    names = ["queues()", "weights()", *(["capsules()"] if ruby.major == 8 else [])]
    assert [seen[ours][name] for name in names] == [seen[theirs.identity][name] for name in names]


def test_our_process_hash_has_the_keys_the_order_and_the_types_of_rubys_own(
    ruby: Ruby, sidekiq_py: Start, raw: Redis
) -> None:
    """So none of the gaps that make Ruby's busy page raise, or show nonsense, can be in it."""
    ours = process_hash(raw, sidekiq_py(HANDLERS, "-c", "2", "--label", "blue").identity)
    theirs = process_hash(raw, ruby.server(concurrency=2, labels=["blue", "python"]).identity)

    our_info, their_info = json.loads(ours["info"]), json.loads(theirs["info"])

    assert in_order(their_info, our_info)
    assert {key: kinds(our_info[key]) for key in their_info} == kinds(their_info)
    assert theirs.keys() <= ours.keys()
    assert ours["quiet"] == theirs["quiet"] == "false"
    for name in ("busy", "rtt_us", "rss", "concurrency"):
        assert ours[name].isdecimal(), name
    assert re.fullmatch(r"\d{10}\.\d+", ours["beat"])


def test_one_hash_serves_the_readers_of_every_generation(
    rubies: dict[str, Ruby], sidekiq_py: Start, raw: Redis
) -> None:
    """7.3 and earlier read the concurrency in `info`, 8.1 reads it beside it."""
    sidekiq_py(HANDLERS, "-c", "7")

    assert [the_process(ruby)["concurrency"] for ruby in rubies.values()] == [7, 7, 7]
    newer = [ruby.call("process_count")["total_concurrency"] for ruby in rubies.values() if ruby.major > 6]
    assert newer == [7, 7]


def test_processes_are_counted_with_rubys_own(ruby: Ruby, sidekiq_py: Start) -> None:
    sidekiq_py(HANDLERS, "-c", "3")
    sidekiq_py(HANDLERS, "-c", "4")
    ruby.server(concurrency=2)

    count = ruby.call("process_count")

    assert (count["size"], ruby.stats()["processes_size"]) == (3, 3)
    if ruby.major > 6:
        assert count["total_concurrency"] == 9


def test_a_running_job_is_in_the_work_set_with_its_payload(ruby: Ruby, sidekiq_py: Start, raw: Redis) -> None:
    jid = ruby.push("SlowJob", 60, "é", {"deep": [None, 1.5]}, queue="low")
    [stored] = raw.lrange("queue:low", 0, -1)
    server = sidekiq_py(HANDLERS, "-c", "2", "-q", "low")
    ruby.wait_until_ran(jid, DEADLINE)
    server.signal("TSTP")

    [work] = eventually(ruby.work, DEADLINE)
    [row] = raw.hvals(f"{server.identity}:{'workers' if ruby.major == 6 else 'work'}")

    job = job_of(work)
    assert (work["process"], work["queue"]) == (server.identity, "low")
    assert (job["jid"], job["class"], job["args"]) == (jid, "SlowJob", [60, "é", {"deep": [None, 1.5]}])
    assert job == json.loads(stored)
    assert abs(time.time() - work["run_at"]) < 120
    assert kinds(json.loads(row)) == {"queue": "str", "payload": "str", "run_at": "int"}  # as Ruby writes it
    assert ruby.stats()["workers_size"] == 1
    assert the_process(ruby)["busy"] == 1


@pytest.mark.parametrize("ruby", ["6.4"], indirect=True)
def test_a_web_page_of_sidekiq_6_sees_running_jobs_where_no_ruby_works_any_more(
    ruby: Ruby, sidekiq_py: Start
) -> None:
    """It reads another key than its successors, and a Rails app without workers doesn't say who it is."""
    jid = run_slow_job(ruby, sidekiq_py(HANDLERS))

    assert [job_of(work)["jid"] for work in ruby.work()] == [jid]
    assert jid in ruby.get("/busy").body


def test_rubys_counters_count_our_jobs_and_failures(ruby: Ruby, sidekiq_py: Start) -> None:
    server = sidekiq_py(HANDLERS)
    jids = [
        *ruby.push_bulk("HardJob", [[1], [2]]),
        ruby.push("PlainBoom"),
        ruby.push("NeverJob", retry=False),
    ]
    for jid in jids:
        ruby.wait_until_ran(jid, DEADLINE)
    ruby.push("HardJob", queue="elsewhere")
    ruby.perform_in("HardJob", 3600)
    eventually(lambda: ruby.stats()["retry_size"] == 1, DEADLINE)

    server.stop()

    stats, history = ruby.stats(), ruby.call("history", 1)
    assert (stats["processed"], stats["failed"]) == (4, 2)
    assert (stats["enqueued"], stats["scheduled_size"], stats["dead_size"]) == (1, 1, 0)
    assert stats["queues"] == {"default": 0, "elsewhere": 1}
    assert list(history["processed"].values()) == [4]
    assert list(history["failed"].values()) == [2]


def test_sidekiqmon_shows_our_process(ruby: Ruby, sidekiq_py: Start) -> None:
    server = sidekiq_py(HANDLERS, "-c", "2", "-g", "shop", "-q", "critical", "-q", "low")
    run_slow_job(ruby, sidekiq_py(HANDLERS))
    ruby.push("HardJob", queue="low")

    done = subprocess.run(
        ruby.command("sidekiqmon"), env=ruby.environment(), capture_output=True, text=True, check=True
    )

    assert done.stderr == ""
    assert f"{server.identity} [shop] [python]" in done.stdout
    assert "Processes (2)" in done.stdout
    assert "Threads: 2 (0 busy)" in done.stdout
    assert "Threads: 5 (1 busy)" in done.stdout
    assert "Queues: critical, low" in done.stdout


# What is ordered ------------------------------------------------------------------------------------------


BUTTONS = {"quiet!": "quiet", "stop!": "stop"}


def order_by_api(ruby: Ruby, identity: str, action: str) -> None:
    ruby.process_action(identity, action)


def order_by_button(ruby: Ruby, identity: str, action: str) -> None:
    assert ruby.post("/busy", identity=identity, **{BUTTONS[action]: "1"}).status in (302, 303)


def order_all_by_button(ruby: Ruby, _identity: str, action: str) -> None:
    assert ruby.post("/busy", **{BUTTONS[action]: "1"}).status in (302, 303)


ways = pytest.mark.parametrize("order", [order_by_api, order_by_button, order_all_by_button])
Order = Callable[[Ruby, str, str], None]


@pytest.mark.row("G10")
@ways
def test_quiet_and_stop_are_obeyed_before_the_next_beat_is_due(
    ruby: Ruby, sidekiq_py: Start, raw: Redis, order: Order
) -> None:
    server = sidekiq_py(HANDLERS)
    identity = server.identity

    order(ruby, identity, "quiet!")

    eventually(lambda: the_process(ruby)["stopping?"], BEAT_EVERY)
    jid = ruby.push("HardJob")
    assert server.is_running

    order(ruby, identity, "stop!")

    assert server.wait(BEAT_EVERY) == 0
    assert (ruby.processes(), ruby.work(), ruby.call("process_count")["size"]) == ([], [], 0)
    assert raw.exists(f"{identity}:work", f"{identity}:workers", f"{identity}-signals") == 0
    assert [job["jid"] for job in ruby.queue()["jobs"]] == [jid]
    assert ruby.ran() == []


def test_a_job_that_stop_cuts_short_is_back_on_its_queue_unchanged(
    ruby: Ruby, sidekiq_py: Start, raw: Redis
) -> None:
    jid = ruby.push("SlowJob", 60)
    [stored] = raw.lrange("queue:default", 0, -1)
    server = sidekiq_py(HANDLERS, "-t", "1")
    ruby.wait_until_ran(jid, DEADLINE)

    ruby.process_action(server.identity, "stop!")

    assert server.wait(DEADLINE) == 0
    assert raw.lrange("queue:default", 0, -1) == [stored]
    assert ruby.queue()["jobs"][0]["jid"] == jid
    assert ruby.work() == []


def test_quiet_and_then_stop_come_one_after_the_other(ruby: Ruby, sidekiq_py: Start) -> None:
    server = sidekiq_py(HANDLERS)

    ruby.process_action(server.identity, "quiet!")
    ruby.process_action(server.identity, "stop!")

    assert server.wait(DEADLINE) == 0
    assert server.log.index("got TSTP") < server.log.index("got TERM")


def test_a_dump_shows_in_our_log_where_the_job_is(ruby: Ruby, sidekiq_py: Start) -> None:
    server = sidekiq_py(HANDLERS)
    jid = ruby.push("SlowJob", 60)
    ruby.wait_until_ran(jid, DEADLINE)

    ruby.process_action(server.identity, "dump_threads")

    log = server.wait_for_log("in slow_job", DEADLINE)
    assert "time.sleep(seconds)" in log
    assert server.is_running


def test_a_word_that_is_no_signal_harms_nothing(ruby: Ruby, sidekiq_py: Start, raw: Redis) -> None:
    server = sidekiq_py(HANDLERS)
    raw.lpush(f"{server.identity}-signals", "KILL", "no word at all")

    server.wait_for_log("no word at all", DEADLINE)

    ruby.wait_until_ran(ruby.push("HardJob"), DEADLINE)


def test_a_killed_process_is_shown_until_its_beat_expires_and_then_no_more(
    ruby: Ruby, sidekiq_py: Start, raw: Redis
) -> None:
    server = sidekiq_py(HANDLERS)
    assert 0 < raw.ttl(server.identity) <= 60
    os.kill(server.pid, signal.SIGSTOP)  # so that nobody notices the death of the worker
    os.kill(server.worker_pid, signal.SIGKILL)
    still_there = ruby.processes()

    raw.delete(server.identity)  # as its expiry does, a minute later

    assert [process["identity"] for process in still_there] == [server.identity]
    assert ruby.processes() == []
