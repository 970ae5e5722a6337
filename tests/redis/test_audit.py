"""Claims that memory doesn't know: healed when it is certain that their reply is lost, and not before."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import gevent
import pytest
import redis as redis_py

from sidekiq_py import keys
from sidekiq_py.audit import Audit
from sidekiq_py.capsule import Capsule
from sidekiq_py.claims import UnitOfWork
from sidekiq_py.clock import Clock
from sidekiq_py.component import ErrorReporter, RedisState
from sidekiq_py.fetch import Fetcher
from sidekiq_py.kept_jobs import KeptJobs
from sidekiq_py.redis_connection import RedisOptions
from sidekiq_py.work_state import Running, WorkState
from tests.redis.parts import IDENTITY, Reports, Surroundings, soon

pytestmark = pytest.mark.usefixtures("hub")


class Bench:
    """A process that beats and fetches, and looks at its own claims when the test says so."""

    def __init__(self, options: RedisOptions, raw: redis_py.Redis) -> None:
        self.options, self.raw = options, raw
        self.fetchers: list[Fetcher] = []
        self.work_state = WorkState()
        self.parts = {"redis_state": RedisState(Clock()), "report": ErrorReporter([Reports()])}
        self.kept = KeptJobs(redis=options.connect(), every=10.0, **self.parts)
        raw.hset(IDENTITY, "info", "{}")

    def fetcher(self, *queues: str, concurrency: int = 1) -> Fetcher:
        made = Fetcher(
            identity=IDENTITY,
            capsule=Capsule(queues=queues or ("default",), concurrency=concurrency),
            connect=lambda: self.options.connect(read_timeout=5.0),
            surroundings=Surroundings(),
            **self.parts,
        )
        self.fetchers.append(made)
        return made

    def audit(self) -> Audit:
        """One that has started already: its first tick is a look."""
        audit = Audit(
            identity=IDENTITY,
            connection=self.options.connect(),
            fetchers=self.fetchers,
            work_state=self.work_state,
            kept=self.kept,
            every=10.0,
            **self.parts,
        )
        audit.tick()
        return audit

    def claim(self, *payloads: bytes, queue: str = "default") -> None:
        """What a fetch does whose reply is lost."""
        self.raw.lpush(keys.claim(IDENTITY, queue), *payloads)

    def claimed(self, queue: str = "default") -> list[bytes]:
        return list(self.raw.lrange(keys.claim(IDENTITY, queue), 0, -1))

    def stop(self) -> None:
        for fetcher in self.fetchers:
            fetcher.stop(timeout=30)
            fetcher.disconnect()


@pytest.fixture
def bench(redis_options: RedisOptions, raw: redis_py.Redis) -> Iterator[Bench]:
    bench = Bench(redis_options, raw)
    yield bench
    bench.stop()


def arrived(fetcher: Fetcher) -> list[bytes]:
    """What processors would get now, with as much of it as is there."""
    return sorted(fetcher.in_memory().elements())


@pytest.mark.row("C2", "C3")
def test_a_claim_that_never_arrived_runs_at_the_second_look(bench, caplog):
    fetcher, audit = bench.fetcher(), bench.audit()
    bench.claim(b"lost")

    audit.tick()
    assert arrived(fetcher) == []
    with caplog.at_level(logging.WARNING):
        audit.tick()

    assert arrived(fetcher) == [b"lost"]
    assert fetcher.retrieve_work().raw == b"lost"
    assert "was claimed, but never arrived" in caplog.text


def test_a_claim_is_healed_once(bench):
    fetcher, audit = bench.fetcher(), bench.audit()
    bench.claim(b"lost")

    for _ in range(5):
        audit.tick()

    assert arrived(fetcher) == [b"lost"]


def test_as_many_of_equal_payloads_run_as_were_lost(bench):
    fetcher, audit = bench.fetcher(concurrency=5), bench.audit()
    fetcher.adopt(UnitOfWork("default", b"same"))
    bench.claim(b"same", b"same", b"same")

    for _ in range(4):
        audit.tick()

    assert arrived(fetcher) == [b"same"] * 3


def test_a_running_job_is_no_lost_one(bench):
    fetcher, audit = bench.fetcher(), bench.audit()
    bench.claim(b"running")
    bench.work_state.begin("tid", Running(UnitOfWork("default", b"running"), {}, 0.0))

    for _ in range(3):
        audit.tick()

    assert arrived(fetcher) == []


def test_a_claim_that_vanishes_between_two_looks_is_forgotten(bench):
    fetcher, audit = bench.fetcher(), bench.audit()
    bench.claim(b"brief")

    audit.tick()
    bench.raw.delete(keys.claim(IDENTITY, "default"))
    audit.tick()
    bench.claim(b"brief")
    audit.tick()

    assert arrived(fetcher) == []


@pytest.mark.row("C4", "D8")
def test_a_job_whose_acknowledgement_redis_forgot_is_struck_out_again(bench, caplog):
    fetcher = bench.fetcher()
    fetcher.start()
    bench.raw.lpush("queue:default", b"done")
    fetcher.acknowledge(fetcher.retrieve_work())
    soon(lambda: not bench.claimed() and fetcher.has_acknowledged(b"done"))
    audit = bench.audit()

    bench.claim(b"done")  # as a replica that lagged behind still has it
    with caplog.at_level(logging.WARNING):
        soon(lambda: audit.tick() and not bench.claimed())

    assert arrived(fetcher) == []
    assert "acknowledged, but Redis had forgotten it" in caplog.text


def test_two_capsules_that_share_a_queue_do_not_look_twice_at_once(bench):
    fetchers = [bench.fetcher("default"), bench.fetcher("default", "other")]
    audit = bench.audit()
    bench.claim(b"on its way")

    audit.tick()

    assert [arrived(fetcher) for fetcher in fetchers] == [[], []]
    audit.tick()
    assert sum((arrived(fetcher) for fetcher in fetchers), []) == [b"on its way"]


def test_a_reply_that_is_slow_to_come_is_not_lost(bench):
    """BLMOVE was sent before the first look and is not answered at the second: the claim may be its job."""
    fetcher = bench.fetcher()
    fetcher.start()
    soon(lambda: bench.raw.info("clients")["blocked_clients"])
    audit = bench.audit()
    bench.claim(b"of that BLMOVE, for all we know")

    audit.tick()
    audit.tick()
    assert arrived(fetcher) == []

    soon(lambda: audit.tick() and arrived(fetcher))
    assert arrived(fetcher) == [b"of that BLMOVE, for all we know"]


def test_what_is_adopted_after_quiet_goes_back_to_its_queue(bench):
    fetcher = bench.fetcher()
    fetcher.start()
    fetcher.quiet()
    assert fetcher.retrieve_work() is None

    bench.claim(b"late")
    fetcher.adopt(UnitOfWork("default", b"late"))

    soon(lambda: bench.raw.lrange("queue:default", 0, -1) == [b"late"])
    assert bench.claimed() == []


def test_a_job_that_stays_claimed_on_purpose_is_not_run_again(bench):
    fetcher, audit = bench.fetcher(), bench.audit()
    bench.claim(b"kept")
    fetcher.adopt(UnitOfWork("default", b"kept"))

    fetcher.keep(fetcher.retrieve_work())
    for _ in range(3):
        audit.tick()

    assert not len(fetcher._ready)
    assert bench.claimed() == [b"kept"]
    gevent.sleep(0)
