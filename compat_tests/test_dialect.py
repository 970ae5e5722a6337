"""We write as the oldest Sidekiq that works on this Redis, unless we are told which one to follow."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import pytest
from redis import Redis

from compat_tests import HANDLERS
from compat_tests.ruby import Ruby
from sidekiq_py import Client
from sidekiq_py.redis_connection import RedisPool
from tests.helpers import eventually
from tests.server_process import ServerProcess

SidekiqPy: TypeAlias = Callable[..., ServerProcess]
Rubies: TypeAlias = dict[str, Ruby]

# Who works on this Redis, what `--dialect` says, and how moments are written then. Sidekiq 8 writes integer
# milliseconds, 6 and 7 float seconds, which 8 reads too.
ALIVE: list[tuple[Sequence[str], str | None, type]] = [
    ((), None, float),
    (("6.4",), None, float),
    (("7.3",), None, float),
    (("8.1",), None, int),
    (("7.3", "8.1"), None, float),
    (("6.4", "7.3", "8.1"), None, float),
    (("8.1",), "7", float),
    (("7.3",), "8", int),
]
NO_TIMES = b'{"class":"PlainBoom","args":[],"jid":"no times","retry":true,"queue":"default"}'
FLOATS = (
    b'{"class":"PlainBoom","args":[],"jid":"floats","retry":true,"queue":"default","created_at":1795490000.5}'
)
MILLISECONDS = FLOATS.replace(b"floats", b"milliseconds").replace(b"1795490000.5", b"1795490000500")


@pytest.mark.parametrize(("alive", "told", "style"), ALIVE, ids=str)
def test_pushes_and_failures_are_written_as_the_oldest_ruby_here_writes(
    rubies: Rubies,
    raw: Redis,
    redis: RedisPool,
    sidekiq_py: SidekiqPy,
    alive: Sequence[str],
    told: str | None,
    style: type,
) -> None:
    for name in alive:
        rubies[name].server(queues=["other"])

    Client(redis=redis, dialect=told and int(told)).push({"class": "HardJob", "args": [], "queue": "nobody"})
    raw.lpush("queue:default", NO_TIMES, FLOATS, MILLISECONDS)
    sidekiq_py(HANDLERS, *(["--dialect", told] if told else []))
    failed = eventually(lambda: len(found := retries(raw)) == 3 and found, 30)

    pushed = json.loads(raw.lindex("queue:nobody", 0))
    assert (type(pushed["created_at"]), type(pushed["enqueued_at"])) == (style, style)
    assert {jid: type(job["failed_at"]) for jid, job in failed.items()} == {
        "no times": style,
        "floats": float,
        "milliseconds": int,
    }
    for name in alive:
        assert rubies[name].get("/retries").status == 200


def retries(raw: Redis) -> dict[str, dict[str, Any]]:
    return {job["jid"]: job for job in map(json.loads, raw.zrange("retry", 0, -1))}


@pytest.mark.parametrize(("wrote", "runs"), [("7.3", "8.1"), ("8.1", "7.3"), ("8.1", "6.4")])
def test_a_job_keeps_the_style_that_it_came_with(
    rubies: Rubies, raw: Redis, sidekiq_py: SidekiqPy, wrote: str, runs: str
) -> None:
    jid = rubies[wrote].push("PlainBoom")
    rubies[runs].server(queues=["other"])

    sidekiq_py(HANDLERS)

    job = eventually(lambda: retries(raw).get(jid), 30)
    assert {type(job[name]) for name in ("created_at", "enqueued_at", "failed_at")} == {
        type(job["created_at"])
    }


def test_each_generation_sees_what_runs_here_and_what_has_run(
    rubies: Rubies, raw: Redis, sidekiq_py: SidekiqPy
) -> None:
    for ruby in rubies.values():
        ruby.server(queues=["other"])
    server = sidekiq_py(HANDLERS, "-c", "2", "-t", "0.1")
    done = rubies["8.1"].push("HardJob")
    running = rubies["8.1"].push("SlowJob", 60)
    for jid in (done, running):
        rubies["8.1"].wait_until_ran(jid, 30)

    server.signal("TSTP")  # beats at once

    for ruby in rubies.values():
        assert eventually(partial(working_on, ruby), 30, every=0.1) == [running]
    assert server.stop() == 0
    for name in ("7.3", "8.1"):
        assert rubies[name].call("metrics", {"minutes": 60})["jobs"]["HardJob"]["totals"]["p"] == 1


def working_on(ruby: Ruby) -> list[str]:
    payloads = [work["payload"] for work in ruby.work()]
    return [(json.loads(each) if isinstance(each, str) else each)["jid"] for each in payloads]
