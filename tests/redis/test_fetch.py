"""Taking jobs off the queues: in the right order, only while we live, and with nothing lost on the way."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator

import gevent
import pytest
import redis as redis_py

from sidekiq_py import keys
from sidekiq_py.capsule import Capsule
from sidekiq_py.claims import UnitOfWork, requeue, requeue_leftovers
from sidekiq_py.clock import Clock
from sidekiq_py.component import ErrorReporter, RedisState
from sidekiq_py.fetch import Fetcher
from sidekiq_py.idle_wait import BLOCK
from sidekiq_py.redis_connection import RedisOptions, RedisPool
from tests.helpers import full
from tests.redis.parts import IDENTITY, Reports, Surroundings, soon

pytestmark = pytest.mark.usefixtures("hub")


class Bench:
    """Fetchers of one process that beats, and the queues they fetch from."""

    def __init__(self, redis_options: RedisOptions, raw: redis_py.Redis) -> None:
        self.options, self.raw = redis_options, raw
        self.surroundings = Surroundings()
        self.reports = Reports()
        self.fetchers: list[Fetcher] = []
        self.beat(IDENTITY)

    def beat(self, identity: str) -> None:
        self.raw.hset(identity, "info", "{}")

    def start(self, *queues: str, concurrency: int = 1, identity: str = IDENTITY) -> Fetcher:
        fetcher = Fetcher(
            identity=identity,
            capsule=Capsule(queues=queues or ("default",), concurrency=concurrency),
            connect=lambda: self.options.connect(read_timeout=5.0),
            surroundings=self.surroundings,
            redis_state=RedisState(Clock()),
            report=ErrorReporter([self.reports]),
        )
        self.fetchers.append(fetcher)
        fetcher.start()
        return fetcher

    def stop(self) -> None:
        for fetcher in self.fetchers:
            fetcher.stop(timeout=30)
            fetcher.disconnect()

    def push(self, queue: str, *payloads: str) -> None:
        """The first given runs first."""
        self.raw.lpush(keys.queue(queue), *payloads)

    def waiting(self, queue: str = "default") -> list[str]:
        """What is in the queue, next to run first."""
        return [payload.decode() for payload in reversed(self.raw.lrange(keys.queue(queue), 0, -1))]

    def claimed(self, queue: str = "default", identity: str = IDENTITY) -> list[str]:
        """What is claimed, oldest first."""
        return [payload.decode() for payload in reversed(self.raw.lrange(keys.claim(identity, queue), 0, -1))]

    def is_idle(self) -> bool:
        return bool(self.raw.info("clients")["blocked_clients"])


@pytest.fixture
def bench(redis_options: RedisOptions, raw: redis_py.Redis) -> Iterator[Bench]:
    bench = Bench(redis_options, raw)
    yield bench
    bench.stop()


def take(fetcher: Fetcher) -> UnitOfWork:
    with gevent.Timeout(30):
        work = fetcher.retrieve_work()
    assert work is not None
    return work


def run(fetcher: Fetcher, count: int) -> list[str]:
    """Take and finish jobs one after the other; returns their payloads."""
    done = []
    for _ in range(count):
        work = take(fetcher)
        done.append(work.raw.decode())
        fetcher.acknowledge(work)
    return done


# -- in which order ------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [1, 4, 25])
def test_a_strict_queue_is_emptied_before_the_next_one_is_touched(bench, concurrency):
    bench.push("low", *(f"low{n}" for n in range(3)))
    bench.push("high", *(f"high{n}" for n in range(3)))

    done = run(bench.start("high", "low", concurrency=concurrency), 6)

    assert done == ["high0", "high1", "high2", "low0", "low1", "low2"]


@pytest.mark.row("H1")
def test_a_late_job_of_a_strict_queue_overtakes_those_that_wait_below(bench):
    bench.push("low", *(f"low{n}" for n in range(9)))
    fetcher = bench.start("high", "low", concurrency=2)
    first = [take(fetcher), take(fetcher)]

    bench.push("high", "high")
    for work in first:
        fetcher.acknowledge(work)

    assert "high" in run(fetcher, 2)


def shares(bench: Bench, concurrency: int, **weights: int) -> list[float]:
    """Which part of the jobs taken came from each queue while all queues were full."""
    for name in weights:
        bench.push(name, *(name for _ in range(4000)))
    run(bench.start(*(f"{name},{weight}" for name, weight in weights.items()), concurrency=concurrency), 4000)
    with bench.raw.pipeline() as moment:  # one for all queues: the fetcher goes on claiming ahead
        for name in weights:
            moment.llen(keys.queue(name))
        taken = [4000 - waiting for waiting in moment.execute()]
    return [count / sum(taken) for count in taken]


@pytest.mark.row("H2")
@pytest.mark.parametrize("concurrency", [1, 12])
def test_weighted_queues_get_their_shares(bench, concurrency):
    assert shares(bench, concurrency, a=3, b=2, c=1) == pytest.approx([3 / 6, 2 / 6, 1 / 6], abs=0.05)


def test_queues_of_weight_1_get_equal_shares(bench):
    assert shares(bench, 1, a=1, b=1) == pytest.approx([1 / 2, 1 / 2], abs=0.05)


@pytest.mark.parametrize("queues", [("a,9", "b,1"), ("a,1", "b,1"), ("a", "b")])
def test_no_slot_stays_empty_while_any_queue_has_jobs(bench, queues):
    bench.push("b", *(f"b{n}" for n in range(20)))

    fetcher = bench.start(*queues, concurrency=20)

    assert len({take(fetcher).raw for _ in range(20)}) == 20


# -- paused --------------------------------------------------------------------------------------------


def test_a_damaged_paused_key_stops_nothing(bench):
    bench.raw.set("paused", "no set")
    bench.push("open", "o1")

    assert run(bench.start("open"), 1) == ["o1"]


@pytest.mark.parametrize("queues", [("paused", "open"), ("paused,5", "open,1")])
def test_a_paused_queue_is_passed_over_until_it_is_open_again(bench, queues):
    bench.raw.sadd("paused", "paused")
    bench.push("paused", "p1", "p2")
    bench.push("open", "o1", "o2")
    fetcher = bench.start(*queues, concurrency=2)

    assert sorted(run(fetcher, 2)) == ["o1", "o2"]
    assert bench.waiting("paused") == ["p1", "p2"]

    bench.raw.delete("paused")

    assert run(fetcher, 2) == ["p1", "p2"]


# -- only while we live --------------------------------------------------------------------------------


def test_nothing_is_fetched_by_a_process_whose_heartbeat_is_gone(bench):
    """Peers may have taken its claims for orphans."""
    bench.raw.delete(IDENTITY)
    bench.push("default", "job")

    fetcher = bench.start()
    soon(lambda: bench.surroundings.beats_requested)

    assert (bench.waiting(), bench.claimed()) == (["job"], [])
    bench.beat(IDENTITY)
    assert run(fetcher, 1) == ["job"]


def test_a_process_whose_heartbeat_is_gone_is_not_served_while_it_is_idle_either(bench):
    bench.raw.delete(IDENTITY)
    bench.start("default", "other", concurrency=3)
    soon(lambda: bench.surroundings.beats_requested)

    bench.push("default", "job")
    soon(lambda: bench.surroundings.beats_requested > 2)

    assert (bench.waiting(), bench.claimed()) == (["job"], [])


# -- claims --------------------------------------------------------------------------------------------


@pytest.mark.row("E16")
@pytest.mark.parametrize(
    "queue", ["default", "a:b", "a|b", "with space", "ünïcode ✓", "*", "a\nb", "queue:a", '"', "%s {}"]
)
def test_a_queue_may_have_any_name(bench, queue):
    bench.push(queue, "one", "two")
    fetcher = bench.start(queue, concurrency=2)

    works = [take(fetcher), take(fetcher)]
    assert bench.claimed(queue) == ["one", "two"]
    fetcher.acknowledge(works[0])
    fetcher.requeue(works[1:])
    fetcher.release()

    assert run(fetcher, 1) == ["two"]
    soon(lambda: not bench.claimed(queue))


@pytest.mark.parametrize("payload", [b"\xff\xfe", b"\x00\r\n", "é".encode(), b"{oops", b"x" * 2_000_000, b""])
def test_a_payload_comes_with_its_bytes(bench, payload):
    bench.raw.lpush("queue:default", payload)
    fetcher = bench.start()

    work = take(fetcher)
    assert work.raw == payload
    fetcher.acknowledge(work)

    soon(lambda: not bench.raw.exists(keys.claim(IDENTITY, "default")))


@pytest.mark.row("E15")
def test_of_two_equal_payloads_both_run_and_each_acknowledgement_removes_one(bench):
    bench.push("default", "same", "same")
    fetcher = bench.start(concurrency=3)
    works = [take(fetcher), take(fetcher)]

    fetcher.acknowledge(works[0])
    soon(lambda: bench.claimed() == ["same"])
    fetcher.acknowledge(works[1])

    soon(lambda: bench.claimed() == [])


def test_many_acknowledgements_go_in_a_few_round_trips(bench):
    bench.push("default", *(f"{n}" for n in range(500)))
    fetcher = bench.start(concurrency=50)
    before = calls_of_scripts(bench)

    run(fetcher, 500)
    soon(lambda: not bench.claimed())

    assert calls_of_scripts(bench) - before < 100


def calls_of_scripts(bench: Bench) -> int:
    stats = bench.raw.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("eval", "evalsha"))


def test_a_finished_job_that_a_peer_rescued_is_a_warning_and_no_more(bench, caplog):
    bench.push("default", "one", "two")
    fetcher = bench.start(concurrency=2)
    works = [take(fetcher), take(fetcher)]

    bench.raw.lrem(keys.claim(IDENTITY, "default"), 1, "one")
    with caplog.at_level(logging.WARNING, "sidekiq"):
        for work in works:
            fetcher.acknowledge(work)
        soon(lambda: not bench.claimed() and caplog.records)

    assert [record.getMessage() for record in caplog.records] == [
        "1 finished jobs were not ours any more: a peer rescued them, they may run twice"
    ]


# -- back to the queue ---------------------------------------------------------------------------------


def claim(bench: Bench, queue: str, *payloads: str) -> list[UnitOfWork]:
    """Claims as fetching leaves them, the first given is the oldest."""
    bench.raw.lpush(keys.claim(IDENTITY, queue), *payloads)
    return [UnitOfWork(queue, payload.encode()) for payload in payloads]


def test_jobs_that_are_put_back_run_next_in_the_order_given(bench, redis: RedisPool):
    bench.push("default", "later")
    works = claim(bench, "default", "1", "2", "3")

    with redis.connection() as connection:
        moved = requeue(connection, IDENTITY, works)

    assert moved == 3
    assert bench.waiting() == ["1", "2", "3", "later"]
    assert bench.claimed() == []


def test_a_job_is_put_back_once_and_only_while_it_is_ours(bench, redis: RedisPool):
    works = claim(bench, "default", "1", "2")
    bench.raw.lrem(keys.claim(IDENTITY, "default"), 1, "1")

    with redis.connection() as connection:
        moved = [requeue(connection, IDENTITY, works) for _ in range(2)]

    assert moved == [1, 0]
    assert bench.waiting() == ["2"]


def test_leftovers_of_all_queues_go_back_in_their_old_order(bench, redis: RedisPool):
    claim(bench, "a", "1", "2", "3")
    claim(bench, "b", "4")
    bench.push("a", "later")

    with redis.connection() as connection:
        moved = requeue_leftovers(connection, IDENTITY, ["a", "b", "never used"])

    assert moved == 4
    assert (bench.waiting("a"), bench.waiting("b")) == (["1", "2", "3", "later"], ["4"])


@pytest.mark.parametrize("put_back", [requeue, requeue_leftovers])
def test_a_queue_key_of_another_type_keeps_no_other_queue_s_jobs(
    bench, redis: RedisPool, caplog, put_back: Callable
):
    bench.raw.set("queue:bad", "x")
    works = [*claim(bench, "bad", "1"), *claim(bench, "good", "2")]

    with redis.connection() as connection:
        moved = put_back(connection, IDENTITY, works if put_back is requeue else ["bad", "good"])

    assert moved == 1
    assert (bench.claimed("bad"), bench.waiting("good")) == (["1"], ["2"])
    assert any("queue:bad" in record.getMessage() for record in caplog.records)


# -- damage --------------------------------------------------------------------------------------------


def test_a_queue_key_of_another_type_is_skipped_with_one_complaint_and_served_when_it_is_well(bench, caplog):
    bench.raw.set("queue:bad", "x")
    bench.push("good", *(f"{n}" for n in range(20)))
    fetcher = bench.start("bad", "good", concurrency=2)

    assert len(run(fetcher, 20)) == 20
    bench.raw.delete("queue:bad")
    bench.push("bad", "well again")
    assert run(fetcher, 1) == ["well again"]

    complaints = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(complaints) == 1
    assert "'queue:bad'" in complaints[0]


def test_a_claim_list_that_somebody_overwrote_costs_no_other_job(bench):
    bench.push("a", "one")
    fetcher = bench.start("a", "b", concurrency=2)
    work = take(fetcher)

    bench.raw.set(keys.claim(IDENTITY, "a"), "x")
    bench.push("b", "two")
    fetcher.acknowledge(work)

    assert run(fetcher, 1) == ["two"]


@pytest.mark.row("D19")
def test_a_running_job_whose_claim_was_deleted_ends_as_usual(bench):
    bench.push("default", "one", "two")
    fetcher = bench.start(concurrency=1)
    work = take(fetcher)

    bench.raw.flushall()
    bench.beat(IDENTITY)
    fetcher.acknowledge(work)
    bench.push("default", "three")

    assert run(fetcher, 1) == ["three"]


@pytest.mark.row("D1")
def test_a_server_that_forgets_its_scripts_is_given_them_again(bench):
    bench.push("default", *(f"{n}" for n in range(50)))
    fetcher = bench.start(concurrency=2)

    for _ in range(10):
        run(fetcher, 5)
        bench.raw.script_flush()

    assert bench.waiting() == []


def test_the_queue_drains_when_redis_is_full(bench):
    bench.push("default", *(f"{n}" for n in range(200)))
    with full(bench.raw):
        fetcher = bench.start(concurrency=10)
        done = run(fetcher, 200)
        soon(lambda: not bench.claimed())
    bench.push("default", "room again")

    assert done == [f"{n}" for n in range(200)]
    assert run(fetcher, 1) == ["room again"]


def test_what_an_outage_kept_from_going_back_runs_when_it_is_over(bench, caplog, monkeypatch):
    monkeypatch.setattr("sidekiq_py.fetch.LIES_READY", 1.0)
    bench.push("default", *(f"{n}" for n in range(2000)))
    fetcher = bench.start(concurrency=4)
    done = 0
    while bench.waiting():
        done += len(run(fetcher, 1))
    soon(lambda: len(bench.claimed()) == 2000 - done)
    works = [take(fetcher) for _ in range(1999 - done)]  # of a few dozen, for they are short; one lies ready
    bench.raw.config_set("min-replicas-to-write", 1)
    try:
        soon(lambda: "Redis is down" in caplog.text)
        for work in works:
            fetcher.acknowledge(work)
    finally:
        bench.raw.config_set("min-replicas-to-write", 0)

    assert len(works) >= 4
    run(fetcher, 1)
    soon(lambda: not bench.claimed())


def test_connections_that_are_cut_again_and_again_lose_nothing(bench):
    fetcher = bench.start("a", "b", concurrency=3)
    done = []

    for n in range(10):
        soon(bench.is_idle)
        bench.raw.client_kill_filter(_type="normal", skipme=True)
        bench.push("ab"[n % 2], f"{n}")
        done += run(fetcher, 1)

    assert done == [f"{n}" for n in range(10)]


# -- idle ----------------------------------------------------------------------------------------------


def test_an_idle_capsule_has_a_job_the_moment_it_is_pushed(bench):
    fetcher = bench.start("a", "b", concurrency=2)
    soon(lambda: bench.raw.info("clients")["blocked_clients"] == 2)

    bench.push("b", "job")

    assert bench.claimed("b") == ["job"]  # before anybody asked for it
    assert run(fetcher, 1) == ["job"]


@pytest.mark.row("H4")
def test_waiting_is_in_one_line_with_ruby_s(bench):
    """A BRPOP that came first is served first, the next push is ours."""
    with gevent.Timeout(30):
        ruby = redis_py.Redis.from_url(bench.options.url)
        waiting = gevent.spawn(ruby.brpop, ["queue:default"], 30)
        soon(bench.is_idle)
        fetcher = bench.start()
        soon(lambda: bench.raw.info("clients")["blocked_clients"] == 2)

        bench.push("default", "first")
        bench.push("default", "second")

        assert waiting.get() == (b"queue:default", b"first")
        assert run(fetcher, 1) == ["second"]
        ruby.close()


def test_more_jobs_than_slots_are_never_claimed(bench):
    fetcher = bench.start("a", "b", "c", concurrency=2)
    soon(lambda: bench.raw.info("clients")["blocked_clients"])

    for name in ("a", "b", "c"):
        bench.push(name, "1", "2", "3")
    works = [take(fetcher), take(fetcher)]

    claimed = [*bench.claimed("a"), *bench.claimed("b"), *bench.claimed("c")]
    assert sorted(claimed) == sorted(work.raw.decode() for work in works)


# -- quiet and stop ------------------------------------------------------------------------------------


@pytest.mark.row("G4")
def test_quiet_gives_back_what_nobody_started_and_ends_every_processor(bench):
    bench.push("default", *(f"{n}" for n in range(7)))
    fetcher = bench.start(concurrency=5)
    running = [take(fetcher), take(fetcher)]
    soon(lambda: len(bench.claimed()) == 5)

    fetcher.quiet()
    soon(lambda: bench.claimed() == ["0", "1"])
    with gevent.Timeout(30):
        assert [fetcher.retrieve_work() for _ in range(5)] == [None] * 5

    assert bench.waiting() == ["2", "3", "4", "5", "6"]
    assert [work.raw for work in running] == [b"0", b"1"]


def test_a_quiet_capsule_that_was_idle_takes_no_job_any_more(bench):
    fetcher = bench.start("a", "b", concurrency=2)
    soon(bench.is_idle)

    fetcher.quiet()
    with gevent.Timeout(30):
        assert fetcher.retrieve_work() is None
    bench.push("a", "job")

    assert not bench.is_idle()
    assert (bench.waiting("a"), bench.claimed("a")) == (["job"], [])


def test_quiet_is_quick_however_early_it_comes(bench):
    """A wait that is just about to begin must not run to its end."""
    started = time.monotonic()

    for turn in range(12):
        fetcher = bench.start(f"q{turn}")
        gevent.sleep(turn * 0.0003)
        fetcher.quiet()
        with gevent.Timeout(30):
            assert fetcher.retrieve_work() is None

    assert time.monotonic() - started < BLOCK


def test_acknowledgements_after_quiet_are_still_sent(bench):
    bench.push("default", "job")
    fetcher = bench.start()
    work = take(fetcher)
    fetcher.quiet()

    fetcher.acknowledge(work)

    soon(lambda: bench.claimed() == [])


def test_stop_sends_the_last_acknowledgements(bench):
    bench.push("default", "one", "two")
    fetcher = bench.start(concurrency=2)
    works = [take(fetcher), take(fetcher)]

    for work in works:
        fetcher.acknowledge(work)
    fetcher.stop(timeout=30)

    assert bench.claimed() == []
