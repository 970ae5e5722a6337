"""The beat: what the world sees of this process, and what it learns of the world."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py

from sidekiq_py import keys
from sidekiq_py.claims import UnitOfWork
from sidekiq_py.component import ErrorReporter, RedisState
from sidekiq_py.config import Config
from sidekiq_py.dialect import Dialect
from sidekiq_py.errors import RedisDown
from sidekiq_py.heartbeat import Heartbeat
from sidekiq_py.metrics import ExecutionTracker
from sidekiq_py.process_info import ProcessInfo
from sidekiq_py.redis_connection import RedisOptions, RedisPool
from sidekiq_py.rescue import owners
from sidekiq_py.work_state import Running, WorkState
from tests.golden import VERSIONS, golden
from tests.helpers import StillClock, eventually, full
from tests.redis.beats import beat as beat_of
from tests.redis.beats import beat_as_ruby
from tests.redis.parts import IDENTITY, NOW, Reports
from tests.redis.relay import relay
from tests.servers import Server

DAY = "2026-11-24"  # of the clock, in UTC


class Bench:
    """One heartbeat, and the state it reports."""

    def __init__(self, options: RedisOptions, raw: redis_py.Redis) -> None:
        self.options, self.raw = options, raw
        self.clock = StillClock(NOW)
        self.work = WorkState()
        self.tracker = ExecutionTracker()
        self.config = Config(tag="shop", labels=["blue"], hostname="worker-1")
        self.config.capsule("default", queues=["critical", "default"], concurrency=2)
        self.dialect: Dialect | None = None
        self.beats: list[bool] = []
        self.signals: list[str] = []
        self.due: list[float] = []
        self.titles: list[str] = []
        self.show_title: Callable[[str], object] = self.titles.append
        self.redis_state = RedisState(self.clock)
        self.error_handler: Callable[..., object] = Reports()
        self.on_signal: Callable[[str], object] = self.signals.append

    def heartbeat(self) -> Heartbeat:
        info = ProcessInfo(
            identity=IDENTITY, hostname="worker-1", pid=4711, started_at=1_795_480_000, config=self.config
        )
        return Heartbeat(
            info=info,
            connect=self.options.connect,
            work_state=self.work,
            tracker=self.tracker,
            clock=self.clock,
            redis_state=self.redis_state,
            report=ErrorReporter([self.error_handler]),
            dialect=self.dialect,
            on_beat=self.beats.append,
            on_signal=self.on_signal,
            on_due=self.due.append,
            show_title=self.show_title,
        )

    def run(self, tid: str, payload: bytes, queue: str = "default") -> None:
        self.work.begin(tid, Running(UnitOfWork(queue, payload), json.loads(payload), self.clock.now()))

    def hash(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.raw.hgetall(IDENTITY).items()}

    def info(self) -> dict[str, Any]:
        return json.loads(self.hash()["info"])

    def counters(self) -> dict[str, int]:
        return {key.decode(): int(self.raw.get(key)) for key in sorted(self.raw.keys("stat:*"))}


@pytest.fixture
def bench(redis_options: RedisOptions, raw: redis_py.Redis) -> Bench:
    return Bench(redis_options, raw)


JOB = b'{"retry":true,"queue":"default","args":["\xc3\xa9"],"class":"A","jid":"j1","created_at":1.5}'


# -- what the world sees -------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_the_process_hash_holds_all_that_each_generation_reads(bench, raw, version):
    bench.heartbeat().beat()

    sample = golden(version, "process")["hash"]
    assert set(sample) < set(bench.hash())
    theirs, ours = json.loads(sample["info"]), bench.info()
    assert [key for key in ours if key in theirs] == list(theirs)
    own = ("identity", "pid", "started_at", "labels", "version")
    assert {key: ours[key] for key in theirs if key not in own} == {
        key: value for key, value in theirs.items() if key not in own
    }
    assert raw.smembers("processes") == {IDENTITY.encode()}


def test_every_field_has_the_form_that_is_read(bench):
    bench.run("t1", JOB)
    heartbeat = bench.heartbeat()

    heartbeat.beat()

    shown = bench.hash()
    assert (shown["busy"], shown["concurrency"], shown["quiet"]) == ("1", "2", "false")
    assert shown["beat"] == "1795490000.25"
    assert int(shown["rtt_us"]) >= 0
    assert int(shown["rss"]) > 1000
    info = bench.info()
    assert info["started_at"] == 1_795_480_000
    assert isinstance(info["started_at"], float)
    assert info["labels"] == ["blue", "python"]
    assert info["version"].startswith("sidekiq-py ")
    assert (info["identity"], info["pid"], info["embedded"]) == (IDENTITY, 4711, False)

    heartbeat.is_quiet = True
    heartbeat.beat()
    assert bench.hash()["quiet"] == "true"


def test_capsules_are_told_as_sidekiq_8_does_and_their_queues_all_together(bench, redis: RedisPool):
    bench.config.capsule("default", queues=["high,3", "default,2", "low"], concurrency=3)
    bench.config.capsule("single", queues=["solo", "low"], concurrency=1)

    bench.heartbeat().beat()

    info = bench.info()
    assert info["capsules"] == {
        "default": {"concurrency": 3, "mode": "weighted", "weights": {"high": 3, "default": 2, "low": 0}},
        "single": {"concurrency": 1, "mode": "strict", "weights": {"solo": 0, "low": 0}},
    }
    assert info["queues"] == ["high", "default", "low", "solo"]
    assert info["weights"] == [{"high": 3, "default": 2, "low": 0}, {"solo": 0, "low": 0}]
    assert (info["concurrency"], bench.hash()["concurrency"]) == (4, "4")
    assert owners(redis)[IDENTITY].queues == ["high", "default", "low", "solo"]


def test_what_beats_lives_for_a_minute(bench, raw):
    bench.run("t1", JOB)

    bench.heartbeat().beat()

    for key in (IDENTITY, keys.work(IDENTITY), keys.workers(IDENTITY)):
        assert 55 <= raw.ttl(key) <= 60


def test_the_registry_names_the_owner_of_claims(bench, redis: RedisPool):
    bench.heartbeat().beat()

    owner = owners(redis)[IDENTITY]
    assert (owner.hostname, owner.pid, owner.started_at) == ("worker-1", 4711, 1_795_480_000)
    assert owner.queues == ["critical", "default"]


# -- running jobs --------------------------------------------------------------------------------------


def test_running_jobs_are_shown_with_the_payload_as_text_in_ruby_s_form(bench, raw):
    bench.run("t1", JOB, "critical")

    bench.heartbeat().beat()

    [(tid, value)] = raw.hgetall(keys.work(IDENTITY)).items()
    shown = json.loads(value)
    assert tid == b"t1"
    assert list(shown) == ["queue", "payload", "run_at"]
    assert (shown["queue"], shown["payload"], shown["run_at"]) == ("critical", JOB.decode(), 1_795_490_000)
    assert isinstance(shown["run_at"], int)


def test_a_job_that_has_ended_is_shown_no_longer(bench, raw):
    heartbeat = bench.heartbeat()
    bench.run("t1", JOB)
    bench.run("t2", JOB)
    heartbeat.beat()

    bench.work.end("t1", failed=False)
    heartbeat.beat()
    assert raw.hkeys(keys.work(IDENTITY)) == [b"t2"]

    bench.work.end("t2", failed=False)
    heartbeat.beat()
    assert not raw.exists(keys.work(IDENTITY), keys.workers(IDENTITY))


@pytest.mark.parametrize(
    ("dialect", "neighbours", "shown"),
    [
        (None, [], True),
        (None, ["6.4.1"], True),
        (None, ["6.4.1", "8.1.7"], True),
        (None, ["7.3.2"], False),
        (None, ["8.1.7"], False),
        (Dialect.SIX, ["8.1.7", "6.4.1"], True),
        (Dialect.EIGHT, [], False),
    ],
)
def test_the_old_name_of_running_jobs_is_written_while_a_6_4_may_read_it(
    bench, raw, dialect, neighbours, shown
):
    for version in neighbours:
        beat_as_ruby(raw, version)
    bench.dialect = dialect
    bench.run("t1", JOB)
    heartbeat = bench.heartbeat()
    heartbeat.beat()  # learns who is there
    raw.delete(keys.workers(IDENTITY))

    heartbeat.beat()

    assert bool(raw.exists(keys.workers(IDENTITY))) == shown
    if shown:
        assert raw.hgetall(keys.workers(IDENTITY)) == raw.hgetall(keys.work(IDENTITY))


# -- counters ------------------------------------------------------------------------------------------


def count(bench: Bench, processed: int, failed: int) -> None:
    bench.work.processed += processed
    bench.work.failed += failed


def totals(processed: int, failed: int) -> dict[str, int]:
    both = {"stat:failed": failed, f"stat:failed:{DAY}": failed}
    return {**both, "stat:processed": processed, f"stat:processed:{DAY}": processed}


def test_jobs_are_counted_in_all_and_by_utc_day_for_five_years(bench, raw):
    heartbeat = bench.heartbeat()
    count(bench, 3, 1)
    heartbeat.beat()
    count(bench, 2, 1)
    heartbeat.beat()
    heartbeat.beat()

    assert bench.counters() == totals(5, 2)
    for name in ("processed", "failed"):
        assert 157_679_900 < raw.ttl(f"stat:{name}:{DAY}") <= 157_680_000
        assert raw.ttl(f"stat:{name}") == -1


def test_where_nothing_ran_nothing_is_counted(bench):
    bench.heartbeat().beat()

    assert bench.counters() == {}


def test_counts_go_on_from_what_others_counted(bench, raw):
    raw.mset({"stat:processed": 100, "stat:failed": 7})
    count(bench, 3, 1)

    bench.heartbeat().beat()

    assert (raw.get("stat:processed"), raw.get("stat:failed")) == (b"103", b"8")


def test_counts_that_could_not_be_written_go_with_the_next_beat(bench, raw):
    heartbeat = bench.heartbeat()
    heartbeat.beat()
    count(bench, 3, 1)
    raw.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        with pytest.raises(RedisDown):
            heartbeat.beat()
    finally:
        raw.execute_command("REPLICAOF", "NO", "ONE")
    count(bench, 10, 0)

    heartbeat.beat()
    heartbeat.beat()

    assert bench.counters() == totals(13, 1)


@pytest.mark.row("C4")
def test_counts_whose_answer_got_lost_are_counted_once(bench, redis_server: Server, tmp_path: Path):
    with relay(tmp_path, Path(redis_server.socket_path)) as (wire, url):
        bench.options = RedisOptions.from_url(url)
        heartbeat = bench.heartbeat()
        heartbeat.beat()
        count(bench, 3, 1)

        for _ in range(2):
            wire.lose = "EVALSHA"
            with pytest.raises(RedisDown):
                heartbeat.beat()
            count(bench, 10, 0)
        heartbeat.beat()
        heartbeat.beat()

    assert bench.counters() == totals(23, 1)


@pytest.mark.parametrize("key", ["stat:processed", f"stat:failed:{DAY}"])
@pytest.mark.parametrize("damage", ["text", "another type"])
def test_a_damaged_counter_does_not_make_the_process_look_dead(bench, raw, caplog, key, damage):
    raw.set(key, "x") if damage == "text" else raw.lpush(key, "x")
    count(bench, 3, 1)
    heartbeat = bench.heartbeat()

    heartbeat.beat()
    count(bench, 1, 1)
    heartbeat.beat()

    assert raw.exists(IDENTITY)
    healthy = {name: value for name, value in totals(4, 2).items() if name != key}
    assert {name: int(raw.get(name)) for name in healthy} == healthy
    complaints = [record.getMessage() for record in caplog.records]
    assert len(complaints) == 1
    assert key in complaints[0]


@pytest.mark.parametrize("dialect", [None, *Dialect])
def test_metrics_are_written_for_the_pages_of_both_generations_whoever_lives(bench, raw, dialect):
    beat_as_ruby(raw, "8.1.7")
    bench.dialect = dialect
    bench.tracker.count("HardJob", 3.0)

    bench.heartbeat().beat()

    assert sorted(len(key.split(b"|")[1]) for key in raw.keys("j|*")) == [6, 6, 8]


def test_metrics_go_with_the_beat(bench, raw):
    bench.tracker.count("A", 12.0)

    bench.heartbeat().beat()

    assert raw.keys("j|*")


# -- signals -------------------------------------------------------------------------------------------


def test_signals_are_obeyed_one_a_look_the_first_sent_first(bench, raw):
    heartbeat = bench.heartbeat()
    for name in ("TSTP", "TTIN", "TERM"):
        raw.lpush(keys.signals(IDENTITY), name)

    heartbeat.look()
    assert bench.signals == ["TSTP"]
    for _ in range(3):
        heartbeat.look()

    assert bench.signals == ["TSTP", "TTIN", "TERM"]


@pytest.mark.parametrize("name", ["KILL", "tstp", "", "\x00", b"\xff"])
def test_a_word_that_is_no_signal_of_ours_is_a_warning(bench, raw, caplog, name):
    raw.lpush(keys.signals(IDENTITY), name)

    with caplog.at_level(logging.WARNING, "sidekiq"):
        bench.heartbeat().look()

    assert bench.signals == []
    assert len(caplog.records) == 1
    assert raw.llen(keys.signals(IDENTITY)) == 0


@pytest.mark.parametrize(
    ("retry", "schedule", "earliest"),
    [
        ({}, {}, math.inf),
        ({"a": 7.25}, {}, 7.25),
        ({}, {"b": 1_795_490_000.123456}, 1_795_490_000.123456),
        ({"a": 9, "b": 3.5}, {"c": 4, "d": 8}, 3.5),
        ({"a": math.inf}, {"b": -math.inf}, -math.inf),
    ],
)
def test_each_look_tells_when_the_next_job_is_due(bench, raw, retry, schedule, earliest):
    for name, entries in {"retry": retry, "schedule": schedule}.items():
        if entries:
            raw.zadd(name, entries)

    bench.heartbeat().look()

    assert bench.due == [earliest]


@pytest.mark.parametrize("damaged", ["retry", "schedule"])
def test_a_set_of_another_type_keeps_no_signal_and_sends_the_poller_there(bench, raw, damaged):
    raw.set(damaged, "x")
    raw.lpush(keys.signals(IDENTITY), "TSTP")

    bench.heartbeat().look()

    assert bench.due == [-math.inf]
    assert bench.signals == ["TSTP"]


# -- what it learns ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("neighbours", "dialect", "ruby_is_here", "count"),
    [
        ([], 7, False, 1),
        (["8.1.7"], 8, True, 2),
        (["7.3.2", "8.1.7"], 7, True, 3),
        (["6.4.1", "8.1.7"], 6, True, 3),
    ],
)
def test_live_processes_tell_how_many_we_are_and_what_they_speak(
    bench, raw, neighbours, dialect, ruby_is_here, count
):
    for version in neighbours:
        beat_as_ruby(raw, version)
    raw.sadd("processes", "worker-9:1:expired")
    heartbeat = bench.heartbeat()

    heartbeat.beat()

    assert heartbeat.dialect == dialect
    assert (heartbeat.ruby_is_here, heartbeat.process_count) == (ruby_is_here, count)


def test_processes_of_our_own_kind_have_no_say_in_the_dialect(bench, raw):
    beat_of(raw, "worker-2:1:aaaaaaaaaaaa", version="sidekiq-py 0.1", labels=["python"])
    heartbeat = bench.heartbeat()

    heartbeat.beat()

    assert (heartbeat.dialect, heartbeat.ruby_is_here, heartbeat.process_count) == (7, False, 2)


def test_a_configured_dialect_beats_what_is_seen(bench, raw):
    beat_as_ruby(raw, "6.4.1")
    bench.dialect = Dialect.EIGHT
    heartbeat = bench.heartbeat()

    heartbeat.beat()

    assert heartbeat.dialect == Dialect.EIGHT


def test_the_first_beat_and_the_first_after_an_outage_are_known_as_such(bench, raw):
    heartbeat = bench.heartbeat()

    heartbeat.beat()
    heartbeat.beat()
    raw.delete(IDENTITY)
    heartbeat.beat()

    assert bench.beats == [True, False, True]


def test_the_title_tells_how_busy_we_are(bench):
    heartbeat = bench.heartbeat()
    bench.run("t1", JOB)

    heartbeat.beat()
    heartbeat.is_quiet = True
    heartbeat.beat()

    assert bench.titles[0].startswith("sidekiq-py ")
    assert bench.titles[0].endswith(" shop [1 of 2 busy]")
    assert bench.titles[1] == bench.titles[0] + " stopping"


# -- trouble, thread, end ------------------------------------------------------------------------------


@pytest.mark.row("D3")
def test_the_beat_goes_on_when_redis_is_full(bench, raw):
    heartbeat = bench.heartbeat()
    bench.run("t1", JOB)
    with full(raw):
        for _ in range(2):
            try:
                heartbeat.beat()
            except RedisDown as error:  # metrics are the last part, and may wait
                assert "OOM" in str(error)

    assert raw.exists(IDENTITY, keys.work(IDENTITY)) == 2


def test_a_processes_of_another_type_does_not_make_a_process_look_dead_and_heals(bench, raw, caplog):
    heartbeat = bench.heartbeat()
    raw.set("processes", "damaged")

    heartbeat.beat()
    heartbeat.beat()

    assert raw.exists(IDENTITY)
    assert caplog.text.count("'processes' is no set") == 1
    raw.delete("processes")
    heartbeat.beat()
    assert raw.smembers("processes") == {IDENTITY.encode()}


@pytest.mark.row("D3")
def test_signing_off_works_when_redis_is_full(bench, raw, redis: RedisPool):
    heartbeat = bench.heartbeat()
    heartbeat.beat()
    with full(raw), redis.connection() as connection:
        heartbeat.sign_off(connection)

    assert not raw.exists("processes", keys.CLAIM_OWNERS)


def test_the_thread_beats_when_asked_and_ends_when_told(bench, raw):
    heartbeat = bench.heartbeat()
    heartbeat.beat()
    heartbeat.start()
    raw.delete(IDENTITY)

    heartbeat.request_beat()
    eventually(lambda: raw.exists(IDENTITY), timeout=30)
    raw.lpush(keys.signals(IDENTITY), "TTIN")
    eventually(lambda: bench.signals == ["TTIN"], timeout=30)
    heartbeat.stop()

    eventually(lambda: heartbeat.has_ended, timeout=30)


class Broken(logging.Handler):
    """Foreign code wherever we call it, even as a stream: it throws what no `except Exception` catches."""

    def throw(self, *_: object, **__: object) -> None:
        raise KeyboardInterrupt

    emit = write = flush = __call__ = throw


@pytest.fixture(params=["log handler", "log filter", "record factory", "error handler", "callback", "stderr"])
def broken_place(request, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> str:
    logger, broken = logging.getLogger("sidekiq"), Broken()
    if request.param == "log handler":
        monkeypatch.setattr(logger, "handlers", [broken])
    elif request.param == "record factory":
        monkeypatch.setattr(logging, "_logRecordFactory", broken)
    elif request.param == "error handler":
        bench.error_handler = broken
    elif request.param != "callback":
        monkeypatch.setattr(logger, "filters", [broken.throw])
    if request.param == "stderr":
        monkeypatch.setattr(sys, "stderr", broken)
    bench.on_signal = broken
    return str(request.param)


def test_a_heart_that_fails_and_fails_is_told_of_less_and_less_often_and_given_up_once(bench, caplog):
    given_up: list[float] = []
    attempts: list[str] = []

    def fail(title: str) -> None:
        attempts.append(title)
        raise MemoryError

    bench.show_title = fail
    heartbeat = bench.heartbeat()
    heartbeat.give_up = lambda seconds, _error: given_up.append(seconds)

    heartbeat.start()
    try:
        for count in range(1, 200):
            heartbeat.request_beat()
            eventually(lambda count=count: len(attempts) >= count, timeout=30)
            bench.clock.moment += 1
    finally:
        heartbeat.stop()
    eventually(lambda: heartbeat.has_ended, timeout=30)

    [seconds] = given_up
    assert bench.config.heartbeat_ttl < seconds < bench.config.heartbeat_ttl + 5
    assert 3 < caplog.text.count("heartbeat failed: ") < 15


def test_a_heart_that_redis_refuses_is_never_given_up(bench, raw, caplog):
    given_up: list[float] = []
    raw.set(IDENTITY, "no hash")
    heartbeat = bench.heartbeat()
    heartbeat.give_up = lambda seconds, _error: given_up.append(seconds)

    heartbeat.start()
    try:
        for _ in range(5):
            told = caplog.text.count("heartbeat failed: ")
            bench.clock.moment += 70
            heartbeat.request_beat()
            eventually(lambda told=told: caplog.text.count("heartbeat failed: ") > told, timeout=30)
    finally:
        heartbeat.stop()
    eventually(lambda: heartbeat.has_ended, timeout=30)

    assert given_up == []


@pytest.mark.usefixtures("broken_place")
def test_the_thread_outlives_whatever_foreign_code_throws_into_it(bench, raw):
    heartbeat = bench.heartbeat()
    heartbeat.start()
    try:
        raw.lpush(keys.signals(IDENTITY), "TTIN")
        heartbeat.request_beat()
        eventually(lambda: not raw.exists(keys.signals(IDENTITY)), timeout=30)
        raw.execute_command("REPLICAOF", "127.0.0.1", "1")
        heartbeat.request_beat()
        eventually(lambda: bench.redis_state.is_down, timeout=30)
        raw.execute_command("REPLICAOF", "NO", "ONE")
        heartbeat.request_beat()
        eventually(lambda: not bench.redis_state.is_down, timeout=30)

        raw.delete(IDENTITY)
        heartbeat.request_beat()
        eventually(lambda: raw.exists(IDENTITY), timeout=30)
    finally:
        raw.execute_command("REPLICAOF", "NO", "ONE")
        heartbeat.stop()
    eventually(lambda: heartbeat.has_ended, timeout=30)


def test_signing_off_writes_the_last_counts_and_leaves_the_hash_to_expire(bench, raw, redis: RedisPool):
    heartbeat = bench.heartbeat()
    bench.run("t1", JOB)
    heartbeat.beat()
    bench.work.end("t1", failed=True)
    bench.tracker.count("A", None)

    with redis.connection() as connection:
        heartbeat.sign_off(connection)

    assert bench.counters() == totals(1, 1)
    assert not raw.exists("processes", keys.work(IDENTITY), keys.workers(IDENTITY))
    assert owners(redis) == {}
    assert 0 < raw.ttl(IDENTITY) <= 60
    assert raw.keys("j|*")
