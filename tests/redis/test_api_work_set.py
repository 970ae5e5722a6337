"""The running jobs, whichever generation of Sidekiq lists them."""

from __future__ import annotations

import json

import pytest

from sidekiq_py.api import WorkSet
from sidekiq_py.redis_connection import RedisPool
from tests.golden import VERSIONS, golden
from tests.redis.beats import beat, beat_as_ruby


@pytest.fixture
def works(redis: RedisPool) -> WorkSet:
    return WorkSet(redis)


def running(jid: str, run_at: object = 1_795_490_000, **more: object) -> str:
    payload = json.dumps({"class": "HardJob", "args": [1], "jid": jid})
    return json.dumps({"queue": "default", "payload": payload, "run_at": run_at, **more})


@pytest.mark.parametrize("version", VERSIONS)
def test_a_ruby_process_tells_what_it_runs(works, raw, version):
    identity = beat_as_ruby(raw, version)
    listed = golden(version, "work")["hash"]

    found = {work.tid: work for work in works}

    assert works.size == 2
    assert found.keys() == listed.keys()
    for tid, text in listed.items():
        work, told = found[tid], json.loads(text)
        assert (work.process, work.queue, work.run_at) == (identity, told["queue"], told["run_at"])
        assert (work.job.raw.decode(), work.job.queue) == (told["payload"], told["queue"])
        assert work.job.job_class == "SlowJob"


def test_the_job_that_runs_longest_comes_first(works, raw):
    beat(raw, "a:1:x")
    beat(raw, "b:1:x")
    raw.hset("a:1:x:work", mapping={"t1": running("new", 30), "t2": running("oldest", 10)})
    raw.hset("b:1:x:work", mapping={"t1": running("middle", 20.5)})

    assert [(work.job.jid, work.process) for work in works] == [
        ("oldest", "a:1:x"),
        ("middle", "b:1:x"),
        ("new", "a:1:x"),
    ]


def test_a_job_under_both_names_of_the_hash_comes_once(works, raw):
    beat(raw, "host:1:x")
    raw.hset("host:1:x:work", "t1", running("j1"))
    raw.hset("host:1:x:workers", "t1", running("j1"))

    assert [work.job.jid for work in works] == ["j1"]


def test_only_members_of_the_process_set_count(works, raw):
    raw.hset("gone:1:x:work", "t1", running("j1"))

    assert list(works) == []


def test_the_size_is_the_processes_own_count(works, raw):
    beat(raw, "a:1:x", {"busy": 2})
    beat(raw, "b:1:x", {"busy": "many"})
    raw.sadd("processes", "gone:1:x")

    assert works.size == 2


def test_nothing_runs_where_no_process_is(works):
    assert (list(works), works.size, works.find_work("j1")) == ([], 0, None)


def test_a_running_job_is_found_by_its_jid(works, raw):
    beat(raw, "host:1:x")
    raw.hset("host:1:x:work", mapping={"t1": running("j1"), "t2": running("j2")})

    assert works.find_work("j2").tid == "t2"
    assert works.find_work("j3") is None


@pytest.mark.parametrize(
    ("run_at", "seconds"),
    [(1_795_490_000, 1_795_490_000), (1_795_490_000.5, 1_795_490_000.5), ("soon", None)],
)
def test_the_start_is_read_in_every_style(works, raw, run_at, seconds):
    beat(raw, "host:1:x")
    raw.hset("host:1:x:work", "t1", running("j1", run_at))

    [work] = works

    assert work.run_at == seconds


def test_the_payload_may_be_an_object_as_before_sidekiq_6(works, raw):
    beat(raw, "host:1:x")
    raw.hset("host:1:x:work", "t1", running("", payload={"class": "OldJob", "args": [1.0], "jid": "old"}))

    [work] = works

    assert (work.job.job_class, work.job.jid, work.job.args) == ("OldJob", "old", [1.0])


@pytest.mark.parametrize("text", [b"not json", b"\xff", b"[]", b'{"queue":7,"payload":7}', b"{}"])
def test_entries_that_are_no_work_do_no_harm(works, raw, text):
    beat(raw, "host:1:x")
    raw.hset("host:1:x:work", mapping={"t1": text, "t2": running("j2")})

    found = {work.tid: work for work in works}

    assert (found["t1"].queue, found["t1"].run_at, found["t1"].job.jid) == ("", None, "")
    assert found["t2"].job.jid == "j2"


def test_keys_of_another_type_are_passed_over(works, raw):
    beat(raw, "host:1:x")
    raw.set("host:1:x:work", "text")
    raw.hset("host:1:x:workers", "t1", running("j1"))

    assert [work.job.jid for work in works] == ["j1"]
