"""The live processes as their beats describe them, and the signals they are sent."""

from __future__ import annotations

import pytest
import redis as redis_py

from sidekiq_py.api import EmbeddedProcess, ProcessCapsule, ProcessSet
from sidekiq_py.redis_connection import RedisPool
from tests.golden import VERSIONS, golden
from tests.helpers import full
from tests.redis.beats import beat, beat_as_ruby

WEIGHTS = {"critical": 0, "default": 0}


@pytest.fixture
def processes(redis: RedisPool) -> ProcessSet:
    return ProcessSet(redis)


def signals(raw: redis_py.Redis, identity: str) -> list[bytes]:
    return raw.lrange(f"{identity}-signals", 0, -1)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_ruby_process_tells_all_about_itself(processes, raw, version):
    identity = beat_as_ruby(raw, version)

    [process] = processes

    assert (process.identity, process.hostname, process.tag) == (identity, "worker-1", "shop")
    assert process.pid == int(identity.split(":")[1])
    assert (process.labels, process.queues) == (["blue"], ["critical", "default"])
    assert (process.concurrency, process.busy) == (2, 2)
    assert process.version == ("" if version == "6.4.1" else version)
    assert not process.embedded
    assert not process.is_quiet
    assert 1_795_490_800 < process.started_at < process.beat < 1_795_491_000
    assert 30_000 < process.rss < 40_000
    assert 100 < process.rtt_us < 200


@pytest.mark.parametrize(
    ("version", "capsules"),
    [
        ("6.4.1", {}),
        ("7.3.2", {"default": ProcessCapsule(0, "", WEIGHTS)}),
        ("8.1.7", {"default": ProcessCapsule(2, "strict", WEIGHTS)}),
    ],
)
def test_capsules_are_told_as_far_as_the_generation_tells_them(processes, raw, version, capsules):
    identity = beat_as_ruby(raw, version)

    found = processes.find(identity)

    assert found is not None
    assert found.capsules == capsules


def test_newest_processes_may_list_their_queues_in_capsules_only(processes, raw):
    capsule = {"concurrency": 3, "mode": "weighted", "weights": {"a": 2, "b": 1}}
    beat(raw, "host:1:x", capsules={"default": capsule, "slow": {**capsule, "weights": {"b": 0, "c": 0}}})

    [process] = processes

    assert process.queues == ["a", "b", "c"]
    assert process.concurrency == 6


def test_processes_come_by_identity(processes, raw):
    for identity in ("b:1:x", "c:1:x", "a:1:x"):
        beat(raw, identity)

    assert [process.identity for process in processes] == ["a:1:x", "b:1:x", "c:1:x"]


def test_without_any_process_there_is_nothing_to_tell_or_to_signal(processes):
    assert list(processes) == []
    assert processes.find("host:1:x") is None
    assert (processes.quiet_all(), processes.stop_all(), processes.cleanup()) == (0, 0, 0)
    assert processes.leader == ""


def test_a_process_whose_beat_has_expired_is_not_live(processes, raw):
    raw.sadd("processes", "gone:1:x")

    assert list(processes) == []
    assert processes.find("gone:1:x") is None


def test_a_process_that_signed_off_is_not_found_though_its_hash_lingers(processes, raw):
    beat(raw, "host:1:x")
    raw.srem("processes", "host:1:x")

    assert processes.find("host:1:x") is None


@pytest.mark.parametrize(
    "info",
    [
        b"not json",
        b"[1]",
        b"\xff",
        b'{"pid":"7","labels":"blue","queues":{"a":1},"capsules":[1],"started_at":true,"tag":null}',
        b'{"capsules":{"default":7,"other":{"weights":[1],"concurrency":"9","mode":3}},"weights":7}',
    ],
)
def test_what_a_process_says_in_other_types_does_no_harm(processes, raw, info):
    raw.sadd("processes", "odd:1:x")
    raw.hset("odd:1:x", mapping={"info": info, "busy": "many", "beat": "now", "rss": "", "quiet": "maybe"})

    [process] = processes

    assert (process.pid, process.tag, process.labels, process.queues) == (0, "", [], [])
    assert (process.busy, process.beat, process.rss, process.started_at) == (0, 0.0, 0, 0.0)
    assert not process.is_quiet


def test_a_member_whose_key_is_no_hash_is_passed_over(processes, raw):
    raw.sadd("processes", "odd:1:x")
    raw.set("odd:1:x", "text")
    beat(raw, "host:1:x")

    assert [process.identity for process in processes] == ["host:1:x"]
    assert processes.find("odd:1:x") is None


# -- signals -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_quiet_leaves_what_rubys_page_leaves(processes, raw, version):
    identity = beat_as_ruby(raw, version)

    processes.find(identity).quiet()

    expected = golden(version, "signals")
    assert raw.keys("*-signals") == [expected["key"].encode()]
    assert raw.lrange(expected["key"], 0, -1) == [signal.encode() for signal in expected["list"]]
    assert raw.ttl(expected["key"]) == expected["ttl"]


def test_each_verb_has_its_signal_and_the_first_sent_is_the_first_read(processes, raw):
    beat(raw, "host:1:x")
    process = processes.find("host:1:x")

    process.quiet()
    process.dump_threads()
    process.stop()

    assert [raw.rpop("host:1:x-signals") for _ in range(3)] == [b"TSTP", b"TTIN", b"TERM"]


def test_an_embedded_process_can_only_be_asked_for_its_stacks(processes, raw):
    beat(raw, "host:1:x", embedded=True)
    process = processes.find("host:1:x")

    for refused in (process.quiet, process.stop):
        with pytest.raises(EmbeddedProcess, match="host:1:x is embedded"):
            refused()
    process.dump_threads()

    assert signals(raw, "host:1:x") == [b"TTIN"]


@pytest.mark.parametrize(("verb", "signal"), [("quiet_all", b"TSTP"), ("stop_all", b"TERM")])
def test_all_but_embedded_processes_are_signalled_at_once(processes, raw, verb, signal):
    beat(raw, "a:1:x")
    beat(raw, "b:1:x", embedded=True)
    beat(raw, "c:1:x")

    assert getattr(processes, verb)() == 2

    assert [signals(raw, identity) for identity in ("a:1:x", "b:1:x", "c:1:x")] == [[signal], [], [signal]]
    assert raw.ttl("a:1:x-signals") == 60


def test_processes_are_signalled_and_cleaned_up_when_redis_is_full(processes, raw):
    beat(raw, "live:1:x")
    raw.sadd("processes", "gone:1:x")

    with full(raw):
        assert (processes.quiet_all(), processes.stop_all()) == (1, 1)
        processes.find("live:1:x").dump_threads()
        assert processes.cleanup() == 1

    assert signals(raw, "live:1:x") == [b"TTIN", b"TERM", b"TSTP"]


# -- those that are gone -------------------------------------------------------------------------------


def test_cleanup_strikes_off_who_beats_no_more(processes, raw):
    beat(raw, "live:1:x")
    raw.sadd("processes", "gone:1:x", "gone:2:x")

    assert processes.cleanup() == 2

    assert raw.smembers("processes") == {b"live:1:x"}


def test_cleanup_happens_once_a_minute_whoever_asks(processes, raw):
    processes.cleanup()
    raw.sadd("processes", "gone:1:x")

    assert processes.cleanup() == 0

    assert raw.smembers("processes") == {b"gone:1:x"}
    assert 0 < raw.ttl("process_cleanup") <= 60


def test_the_leader_is_whom_enterprise_elected(processes, raw):
    raw.set("dear-leader", "host:1:x")

    assert processes.leader == "host:1:x"
