"""Due jobs go to their queues: once, with their bytes, on time, whatever lies around them in the set."""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import pytest
import redis as redis_py

from sidekiq_py import keys
from sidekiq_py.api import DeadLimits
from sidekiq_py.clock import Clock
from sidekiq_py.component import ErrorReporter, RedisState
from sidekiq_py.config import Config
from sidekiq_py.dialect import Dialect
from sidekiq_py.middleware import Chain
from sidekiq_py.redis_connection import RedisOptions
from sidekiq_py.scheduled import BATCH, POSTPONE, Poller, poll_interval
from tests.golden import VERSIONS, golden
from tests.helpers import StillClock
from tests.redis.parts import NOW, Reports, Surroundings, soon

SETS = pytest.mark.parametrize("name", ["schedule", "retry"])


class Bench:
    def __init__(self, options: RedisOptions, raw: redis_py.Redis) -> None:
        self.options, self.raw = options, raw
        self.clock = StillClock(NOW)
        self.surroundings = Surroundings()
        self.reports = Reports()
        self.middleware: list[Any] = []
        self.interval = 5.0
        self.redis_state = RedisState(self.clock)

    def poller(self, clock: Clock | None = None) -> Poller:
        return Poller(
            connection=self.options.connect(),
            client_middleware=Chain(self.middleware),
            surroundings=self.surroundings,
            clock=clock or self.clock,
            redis_state=self.redis_state,
            report=ErrorReporter([self.reports]),
            poll_interval=lambda processes: self.interval * processes,
            dead_limits=DeadLimits(),
        )

    def poll(self) -> float:
        poller = self.poller()
        pause = poller.tick()
        poller.disconnect()
        return pause

    def queued(self, queue: str = "default") -> list[bytes]:
        """What waits in the queue, next to run first."""
        return list(reversed(self.raw.lrange(keys.queue(queue), 0, -1)))

    def jids(self, queue: str = "default") -> list[str]:
        return [json.loads(payload)["jid"] for payload in self.queued(queue)]


@pytest.fixture
def bench(redis_options: RedisOptions, raw: redis_py.Redis) -> Bench:
    return Bench(redis_options, raw)


def job(jid: str = "j1", **fields: Any) -> bytes:
    values = {"retry": True, "queue": "default", "class": "A", "args": [1], "jid": jid, "created_at": 1.5}
    return json.dumps({**values, **fields}, ensure_ascii=False, separators=(",", ":")).encode()


# -- promotion -----------------------------------------------------------------------------------------


@SETS
def test_what_is_due_goes_to_its_queue_and_what_is_not_stays(bench, raw, name):
    raw.zadd(name, {job("due", queue="low"): NOW, job("later", queue="low"): NOW + 0.001})

    bench.poll()

    assert bench.jids("low") == ["due"]
    assert raw.smembers("queues") == {b"low"}
    assert [json.loads(member)["jid"] for member in raw.zrange(name, 0, -1)] == ["later"]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_promoted_job_has_the_bytes_that_ruby_s_poller_writes(bench, raw, version):
    sample = golden(version, "promoted")
    [before], [after] = sample["schedule_before"], sample["queue:default_after"]
    enqueued_at = json.loads(after)["enqueued_at"]
    now = (enqueued_at + 0.5) / 1000 if isinstance(enqueued_at, int) else enqueued_at
    raw.zadd("schedule", {before["value"]: float(before["score"])})
    bench.clock.moment = now

    bench.poll()

    assert bench.queued() == [after.encode()]


def test_bytes_that_promotion_does_not_concern_stay_as_they_are(bench, raw):
    odd = (
        b'{"jid":"a","x":1.50,"class":"A","args":[1e400, 12345678901234567890123,"\\u00e9"],'
        b'"enqueued_at":1.5,"queue":"q","retry":0,"created_at":1.0,"unknown":{"b":1, "a":2}}'
    )
    raw.zadd("retry", {odd: 1})

    bench.poll()

    assert bench.queued("q") == [odd.replace(b'"enqueued_at":1.5', f'"enqueued_at":{NOW}'.encode())]


@pytest.mark.parametrize(
    ("created_at", "dialect", "enqueued_at"),
    [
        (1.5, Dialect.EIGHT, NOW),
        (1_795_000_000_000, Dialect.SIX, int(NOW * 1000)),
        (None, Dialect.SEVEN, NOW),
        (None, Dialect.EIGHT, int(NOW * 1000)),
    ],
)
def test_enqueued_at_has_the_style_of_the_job_then_of_the_ruby_processes(
    bench, raw, created_at, dialect, enqueued_at
):
    bench.surroundings.dialect = dialect
    raw.zadd("schedule", {job(created_at=created_at): 1})

    bench.poll()

    written = json.loads(bench.queued()[0])["enqueued_at"]
    assert (written, type(written)) == (enqueued_at, type(enqueued_at))


def test_missing_fields_are_filled_in_as_a_push_would(bench, raw):
    raw.zadd("schedule", {b'{"class":"A","args":[],"jid":"j1","at":12}': 1})

    bench.poll()

    stored = json.loads(bench.queued()[0])
    assert stored == {
        **{"class": "A", "args": [], "jid": "j1", "queue": "default", "retry": True},
        **{"created_at": NOW, "enqueued_at": NOW},
    }


def test_jobs_go_behind_those_that_wait_and_the_oldest_goes_first(bench, raw):
    raw.lpush("queue:default", job("waits"))
    raw.zadd("schedule", {job(f"{n}"): NOW - 10 + n for n in range(3)})

    bench.poll()

    assert bench.jids() == ["waits", "0", "1", "2"]


@pytest.mark.row("F3")
@SETS
def test_a_thousand_due_jobs_go_in_one_look_a_hundred_at_a_time(bench, raw, name):
    raw.zadd(name, {job(f"{n:04}"): 1 for n in range(1050)})
    raw.config_resetstat()

    bench.poll()

    assert bench.jids() == sorted(bench.jids())
    assert len(bench.jids()) == 1050
    stats = raw.info("commandstats")
    scripts = sum(stats.get(f"cmdstat_{each}", {"calls": 0})["calls"] for each in ("eval", "evalsha"))
    assert -(-1050 // BATCH) <= scripts <= 12


@pytest.mark.row("F4")
def test_a_long_retry_set_does_not_hold_up_the_schedule(bench, raw):
    raw.zadd("retry", {job(f"r{n:04}"): 1 for n in range(1000)})
    raw.zadd("schedule", {job("s"): 1})

    bench.poll()

    assert bench.jids().index("s") <= BATCH


# -- many pollers --------------------------------------------------------------------------------------


@pytest.mark.row("F2")
def test_pollers_that_race_promote_every_job_once(bench, raw):
    raw.zadd("schedule", {job(f"{n:04}"): n % 7 for n in range(2000)})
    threads = [threading.Thread(target=bench.poll) for _ in range(4)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bench.poll()

    assert sorted(bench.jids()) == [f"{n:04}" for n in range(2000)]


@pytest.mark.row("F2")
def test_a_poller_of_ruby_s_kind_beside_ours_doubles_and_loses_nothing(bench, raw):
    """Ruby takes the lowest due member out in a script of its own, then pushes it."""
    raw.zadd("schedule", {job(f"{n:04}"): 1 for n in range(1000)})
    pop = raw.register_script(
        "local m = redis.call('zrangebyscore', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, 1)[1] "
        "if m then redis.call('zrem', KEYS[1], m) end return m"
    )
    by_ruby = []

    def poll_as_ruby() -> None:
        while (member := pop(["schedule"], [NOW])) is not None:
            by_ruby.append(json.loads(member)["jid"])

    thread = threading.Thread(target=poll_as_ruby)
    thread.start()
    while raw.zcard("schedule"):
        bench.poll()
    thread.join()

    assert sorted(by_ruby + bench.jids()) == [f"{n:04}" for n in range(1000)]


# -- client middleware ---------------------------------------------------------------------------------


def test_client_middleware_sees_a_job_that_is_promoted_and_may_change_it(bench, raw):
    def link(job_class: str, job: dict[str, Any], queue: str, call_next: Callable[[], object]) -> object:
        job["seen"] = [job_class, queue]
        job["queue"] = "high"
        return call_next()

    bench.middleware = [link]
    raw.zadd("schedule", {job(): 1})

    bench.poll()

    assert json.loads(bench.queued("high")[0])["seen"] == ["A", "default"]


def test_client_middleware_may_return_another_job_as_at_a_push(bench, raw):
    bench.middleware = [lambda job_class, job, queue, call_next: {**job, "tags": ["new"]}]
    raw.zadd("schedule", {job(): 1})

    bench.poll()

    assert json.loads(bench.queued()[0])["tags"] == ["new"]


def test_client_middleware_may_stop_a_job_which_is_gone_then(bench, raw):
    bench.middleware = [lambda job_class, job, queue, call_next: None]
    raw.zadd("schedule", {job(): 1})

    bench.poll()

    assert raw.keys("*") == []


def broken(job_class: str, job: dict[str, Any], queue: str, call_next: Callable[[], object]) -> object:
    raise ZeroDivisionError


def nonsense(job_class: str, job: dict[str, Any], queue: str, call_next: Callable[[], object]) -> object:
    job["x"] = object()
    return call_next()


@pytest.mark.parametrize("link", [broken, nonsense])
def test_a_job_that_client_middleware_chokes_on_is_tried_again_in_a_minute(bench, raw, link):
    bench.middleware = [link]
    raw.zadd("schedule", {job(): 1, job("later"): NOW + 5})

    bench.poll()

    assert raw.zscore("schedule", job()) == NOW + POSTPONE
    assert raw.zscore("schedule", job("later")) == NOW + 5
    assert bench.reports.contexts == ["client middleware failed at promotion"]
    bench.middleware = []
    bench.clock.moment += POSTPONE
    bench.poll()
    assert sorted(bench.jids()) == ["j1", "later"]


@pytest.mark.parametrize("queue", [None, 7, "", "gone"])
def test_middleware_that_leaves_no_queue_leaves_the_default_one(bench, raw, queue):
    def link(job_class: str, job: dict[str, Any], name: str, call_next: Callable[[], object]) -> object:
        job.update(queue=queue)
        if queue == "gone":
            del job["queue"]
        return call_next()

    bench.middleware = [link]
    raw.zadd("schedule", {job(): 1})

    bench.poll()

    assert bench.jids() == ["j1"]


# -- damage --------------------------------------------------------------------------------------------

GARBAGE = [b"", b"{oops", b"\xff\xfe", b"\x00", b"null", b"[1]", b'{"args":[]}', b'{"class":"A","args":7}']


@pytest.mark.row("F10")
@SETS
def test_garbage_goes_to_the_dead_set_and_stops_nobody(bench, raw, caplog, name):
    raw.zadd(name, {**{each: n for n, each in enumerate(GARBAGE)}, job(): 99, job("k", args=[2]): 3.5})

    bench.poll()

    assert sorted(bench.jids()) == ["j1", "k"]
    assert raw.zcard(name) == 0
    dead = raw.zrange("dead", 0, -1)
    assert len(dead) == len(GARBAGE)
    assert {b"", b"{oops", b"\xff\xfe", b"\x00"} < set(dead)
    assert len([each for each in caplog.records if "is no job" in each.getMessage()]) == len(GARBAGE)


def test_more_garbage_than_a_batch_holds_does_not_hide_the_jobs_behind_it(bench, raw):
    raw.zadd("schedule", {**{f"{{{n}": 1 for n in range(250)}, job(): 2})

    soon(lambda: bench.poll() and bench.jids() == ["j1"])

    assert raw.zcard("dead") == 250


def test_jobs_whose_queue_is_no_list_are_put_off_with_one_complaint_and_go_when_it_is_one(bench, raw, caplog):
    raw.set("queue:bad", "x")
    stuck = {job(f"{n}", queue="bad"): 1 for n in range(BATCH + 20)}
    raw.zadd("schedule", {**stuck, job(): 2})

    soon(lambda: bench.poll() > 0.1)  # nobody spins

    assert bench.jids() == ["j1"]
    assert raw.zcount("schedule", NOW + 1, "+inf") == len(stuck)
    assert {each.getMessage() for each in caplog.records} == {
        "jobs of schedule can't go to 'queue:bad', which is not a list"
    }
    raw.delete("queue:bad")
    bench.clock.moment += POSTPONE
    bench.poll()
    assert len(bench.jids("bad")) == len(stuck)


@pytest.mark.parametrize(("damaged", "healthy"), [("retry", "schedule"), ("schedule", "retry")])
def test_a_set_of_another_type_does_not_stop_the_other_one(bench, raw, caplog, damaged, healthy):
    raw.set(damaged, "x")
    raw.zadd(healthy, {job(): 1, job("later"): NOW + 1})
    poller = bench.poller()

    pauses = [poller.tick() for _ in range(3)]
    bench.clock.moment += 2
    poller.tick()
    poller.disconnect()

    assert bench.jids() == ["j1", "later"]
    assert min(pauses) > 0.1
    complaints = [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR]
    assert len(complaints) == 1
    assert complaints[0].startswith(f"{damaged} can't be polled: WRONGTYPE")


def test_a_dead_set_of_another_type_stops_no_job_and_loses_no_garbage(bench, raw):
    raw.set("dead", "x")
    raw.zadd("schedule", {b"{oops": 1, job(): 2})

    pause = bench.poll()

    assert bench.jids() == ["j1"]
    assert raw.zrange("schedule", 0, -1, withscores=True) == [(b"{oops", NOW + POSTPONE)]
    assert pause > 0.1


def test_promotion_goes_on_when_redis_is_full(bench, raw):
    raw.zadd("schedule", {job(f"{n}"): 1 for n in range(10)})
    raw.config_set("maxmemory", 1)
    try:
        bench.poll()
    finally:
        raw.config_set("maxmemory", 0)

    assert len(bench.jids()) == 10


# -- when to look --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["schedule", "retry"])
def test_the_next_look_is_when_the_next_job_is_due(bench, raw, name):
    raw.zadd(name, {job(): NOW + 0.125, job("later"): NOW + 3})

    assert bench.poll() == pytest.approx(0.125, abs=0.001)


def test_a_due_time_far_away_does_not_keep_from_looking(bench, raw):
    raw.zadd("schedule", {job(): NOW + 3600})

    assert {2.5 <= bench.poll() <= 5 for _ in range(30)} == {True}


def test_of_many_processes_each_looks_less_often_and_not_all_at_the_same_moment(bench, raw):
    bench.surroundings.process_count = 100
    raw.zadd("schedule", {job(): NOW + 0.125})

    pauses = [bench.poll() for _ in range(50)]
    raw.delete("schedule")

    assert all(0.125 <= pause <= 0.376 for pause in pauses)
    assert max(pauses) - min(pauses) > 0.05
    assert {250 <= bench.poll() <= 500 for _ in range(30)} == {True}


@pytest.mark.parametrize(
    ("average", "own", "processes", "seconds"), [(5.0, None, 0, 5), (5.0, None, 4, 20), (5.0, 2.0, 4, 2)]
)
def test_the_configured_poll_interval_is_the_longest_wait(average, own, processes, seconds):
    config = Config(average_scheduled_poll_interval=average, poll_interval_average=own)

    assert poll_interval(config, processes) == seconds


def looks(raw: redis_py.Redis) -> int:
    """How often both sets were asked what is due first."""
    return raw.info("commandstats").get("cmdstat_zrange", {"calls": 0})["calls"] // 2


@contextmanager
def running(bench: Bench, *, interval: float) -> Iterator[Poller]:
    """A poller at rest: it has looked once, and looks by itself at most every `interval` seconds."""
    bench.interval = interval
    poller = bench.poller(Clock())
    bench.raw.config_resetstat()
    poller.start()
    soon(lambda: looks(bench.raw) == 1)
    yield poller
    poller.stop(timeout=30)
    poller.disconnect()


@pytest.mark.usefixtures("hub")
def test_a_job_that_the_poller_hears_of_moves_when_it_is_due(bench, raw):
    with running(bench, interval=1e6) as poller:
        due = time.time() + 1.0
        raw.zadd("schedule", {job(): due})

        poller.hear_of_due(due)
        poller.hear_of_due(math.inf)  # what was seen before the job came
        soon(lambda: bench.jids() == ["j1"])

    enqueued_at = json.loads(bench.queued()[0])["enqueued_at"]
    assert due <= enqueued_at < due + 2.0


@pytest.mark.usefixtures("hub")
def test_a_poller_that_hears_asks_nothing_itself_and_one_that_does_not_looks(bench, raw):
    with running(bench, interval=2.0) as poller:
        until = time.monotonic() + 3.0
        while time.monotonic() < until:
            poller.hear_of_due(time.time() + 3600)
            gevent.sleep(0.05)

        assert looks(raw) == 1
        raw.zadd("schedule", {job(): 1})
        soon(lambda: bench.jids() == ["j1"])


@pytest.mark.usefixtures("hub")
def test_what_is_heard_in_an_outage_does_not_put_off_the_next_try(bench, raw):
    with running(bench, interval=1e6) as poller:
        raw.zadd("schedule", {job(): 1})
        raw.config_set("min-replicas-to-write", 1)
        try:
            poller.hear_of_due(1)
            soon(lambda: bench.redis_state.is_down)
        finally:
            raw.config_set("min-replicas-to-write", 0)

        def hears_and_is_up() -> bool:
            poller.hear_of_due(math.inf)
            return not bench.redis_state.is_down

        soon(hears_and_is_up)


@pytest.mark.usefixtures("hub")
def test_a_poller_at_rest_stops_at_once(bench):
    with running(bench, interval=1e6) as poller:
        began = time.monotonic()
        poller.stop(timeout=30)

    assert time.monotonic() - began < 15


def test_what_comes_due_while_the_other_set_is_moved_does_not_wait_for_its_end(bench, raw):
    late = job("s")

    def link(job_class: str, job: dict[str, Any], queue: str, call_next: Callable[[], object]) -> object:
        if job["jid"] == "r0150":
            raw.zadd("schedule", {late: 1})
        return call_next()

    bench.middleware = [link]
    raw.zadd("retry", {job(f"r{n:04}"): 1 for n in range(1000)})

    bench.poll()

    assert bench.jids().index("s") < 4 * BATCH
