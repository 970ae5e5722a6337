"""Ruby's workers and ours on the same queues: each job runs, as often as it should, on one side."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import TypeAlias

import pytest
from redis import Redis

from compat_tests import HANDLERS
from compat_tests.eager import eager_server
from compat_tests.ruby import RAN, Ruby
from compat_tests.ruby_server import RubyServer
from sidekiq_py import Client
from tests.helpers import eventually
from tests.server_process import ServerProcess

SidekiqPy: TypeAlias = Callable[..., ServerProcess]

RAN_HERE = "ran:python"
OURS = HANDLERS.replace(RAN, RAN_HERE)  # tells elsewhere, so that it is known who ran a job
SIDES = {"ruby": RAN, "python": RAN_HERE}
LONG_AGO = 1.5  # epoch seconds


def ran(raw: Redis, side: str) -> Counter[str]:
    """How often this side has begun each job, by jid."""
    return Counter(json.loads(told)["jid"] for told in raw.lrange(SIDES[side], 0, -1))


def hurry(raw: Redis) -> None:
    """Let everything that waits for its retry be due now."""
    if members := raw.zrange("retry", 0, -1):
        raw.zadd("retry", dict.fromkeys(members, LONG_AGO), xx=True)


@pytest.mark.timeout(180)
def test_five_thousand_jobs_are_shared_without_loss_or_double_run(
    ruby: Ruby, raw: Redis, sidekiq_py: SidekiqPy
) -> None:
    client = Client(url=ruby.redis_url, dialect=ruby.major)
    pushes = (
        ruby.push_bulk,
        lambda name, args, **more: client.push_bulk({"class": name, "args": args, **more}),
    )
    expected: Counter[str] = Counter()
    now = float(ruby.eval("Time.now.to_f"))
    for push in pushes:
        expected.update(push("SlowJob", [[0.004, number] for number in range(2000)]))
        expected.update(push("HardJob", [["é", number] for number in range(200)], queue="low"))
        expected.update(push("HardJob", [[number] for number in range(200)], at=now + 2))
        expected.update(2 * push("FlakyJob", [[1, number] for number in range(100)]))

    eager_server(ruby, queues=["default,2", "low"], concurrency=5)
    sidekiq_py(OURS, "-c", "5", "-q", "default,2", "-q", "low")

    def all_ran() -> Counter[str] | None:
        hurry(raw)
        total = ran(raw, "ruby") + ran(raw, "python")
        return total if total.total() >= expected.total() else None

    assert eventually(all_ran, 90, every=0.2) == expected
    shares = [ran(raw, side).total() / expected.total() for side in SIDES]
    assert min(shares) > 0.15, shares
    for name in ("queue:default", "queue:low", "schedule", "retry", "dead"):
        assert raw.exists(name) == 0, name


class Pair:
    """Both sides on one queue; `start` one, `quiet` or `stop` it."""

    def __init__(self, ruby: Ruby, sidekiq_py: SidekiqPy) -> None:
        self._ruby = ruby
        self._sidekiq_py = sidekiq_py
        self._started: dict[str, RubyServer | ServerProcess] = {}

    def start(self, side: str, concurrency: int = 2) -> None:
        if side == "ruby":
            self._started[side] = self._ruby.server(concurrency=concurrency, timeout=1)
        else:
            self._started[side] = self._sidekiq_py(OURS, "-c", str(concurrency), "-t", "1")

    def quiet(self, side: str) -> None:
        server = self._started[side]
        if isinstance(server, RubyServer):
            server.quiet()
            eventually(lambda: "no longer accepting new work" in server.log, 30)
        else:
            server.signal("TSTP")
            server.wait_for_log("no new jobs")

    def stop(self, side: str) -> None:
        server = self._started[side]
        assert server.stop() == 0, server.log


@pytest.fixture
def pair(ruby: Ruby, sidekiq_py: SidekiqPy) -> Pair:
    return Pair(ruby, sidekiq_py)


@pytest.mark.parametrize(("leaving", "staying"), [("ruby", "python"), ("python", "ruby")])
def test_a_stop_hands_running_and_waiting_jobs_to_the_other_side(
    ruby: Ruby, raw: Redis, pair: Pair, leaving: str, staying: str
) -> None:
    slow = ruby.push_bulk("SlowJob", [[60, number] for number in range(2)])
    waiting = ruby.push_bulk("HardJob", [[number] for number in range(20)])
    pair.start(leaving)
    eventually(lambda: set(ran(raw, leaving)) == set(slow), 30)

    pair.stop(leaving)

    assert {job["jid"] for job in ruby.queue()["jobs"]} == {*slow, *waiting}
    pair.start(staying, concurrency=3)
    eventually(lambda: ran(raw, staying).total() == len(slow + waiting), 30)
    assert ran(raw, staying) == Counter(slow + waiting)
    assert ran(raw, leaving) == Counter(slow)
    assert raw.exists("retry", "dead") == 0


@pytest.mark.parametrize(("leaving", "staying"), [("ruby", "python"), ("python", "ruby")])
def test_a_quiet_side_leaves_all_new_jobs_to_the_other(
    ruby: Ruby, raw: Redis, pair: Pair, leaving: str, staying: str
) -> None:
    pair.start(leaving)
    pair.quiet(leaving)
    pair.start(staying)

    jids = ruby.push_bulk("HardJob", [[number] for number in range(50)])

    eventually(lambda: ran(raw, staying).total() == len(jids), 30)
    assert ran(raw, staying) == Counter(jids)
    assert ran(raw, leaving).total() == 0


@pytest.mark.row("H4")
def test_idle_processes_of_one_slot_get_single_jobs_in_turn(ruby: Ruby, raw: Redis, pair: Pair) -> None:
    pair.start("ruby", concurrency=1)
    pair.start("python", concurrency=1)

    for count in range(1, 51):
        ruby.push("HardJob", count)
        eventually(lambda count=count: sum(ran(raw, side).total() for side in SIDES) == count, 30)
        eventually(lambda: raw.info("clients")["blocked_clients"] == 2, 30)  # both stand in line again

    assert 20 <= ran(raw, "python").total() <= 30


def test_a_queue_that_is_paused_waits_for_its_release(ruby: Ruby, raw: Redis, sidekiq_py: SidekiqPy) -> None:
    raw.sadd("paused", "low")
    paused = ruby.push("HardJob", "paused", queue="low")
    other = ruby.push("HardJob", "other")
    sidekiq_py(HANDLERS, "-q", "low", "-q", "default")

    ruby.wait_until_ran(other, 30)
    assert ruby.queue("low")["size"] == 1
    raw.srem("paused", "low")

    ruby.wait_until_ran(paused, 30)
