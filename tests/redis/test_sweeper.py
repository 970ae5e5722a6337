"""Sweeps: whose jobs a process brings back whose death nobody saw, and whose it leaves alone."""

from __future__ import annotations

import pytest

from sidekiq_py import keys
from sidekiq_py.rescue import server_uptime
from sidekiq_py.rescuer import Sweeper, rescue_worker
from sidekiq_py.running_table import fingerprint
from sidekiq_py.suspects import Suspect, count_crash
from tests.helpers import StillClock, eventually, full

DEAD = "gone:1:aaaaaaaaaaaa"
JOB = b'{"class":"HardJob","args":[],"jid":"000000000000000000000001"}'


@pytest.fixture
def clock():
    return StillClock(1000.0)


@pytest.fixture
def sweeper(raw, redis, clock):
    raw.hset(keys.CLAIM_OWNERS, DEAD, b'{"queues":["low"]}')
    raw.lpush(keys.claim(DEAD, "low"), JOB)
    eventually(lambda: server_uptime(redis) >= 1)
    sweeper = Sweeper(redis, ttl=0, clock=clock)
    sweeper.every = 0.001
    return sweeper


def test_the_jobs_of_a_dead_process_are_back_and_its_crash_is_counted(raw, sweeper):
    raw.sadd(keys.PROCESSES, DEAD)

    assert sweeper.sweep() == 1

    assert raw.smembers(keys.PROCESSES) == set()
    assert raw.lrange("queue:low", 0, -1) == [JOB]
    assert raw.smembers(keys.crashes("000000000000000000000001")) == {DEAD.encode()}


@pytest.fixture
def mourn(raw, redis):
    """What a supervisor does that saw the process die while it ran JOB."""

    def mourn(identity: str = DEAD, *, was_alone: bool = False) -> tuple[int, list[Suspect]]:
        raw.hset(identity, "beat", "1")
        raw.hset(keys.CLAIM_OWNERS, identity, b'{"queues":["low"]}')
        raw.delete(keys.claim(identity, "low"))
        raw.lpush(keys.claim(identity, "low"), JOB)
        stories = {fingerprint(JOB): "was killed"}
        return rescue_worker(redis, identity, ["low"], stories=stories, was_alone=was_alone, hold_for=60)

    return mourn


def test_suspects_that_wait_for_their_turn_are_left_to_the_supervisor_that_saw_the_death(raw, sweeper, mourn):
    mourn()

    assert sweeper.sweep() == 0

    assert raw.lrange(keys.claim(DEAD, "low"), 0, -1) == [JOB]
    assert raw.lrange("queue:low", 0, -1) == []
    assert not raw.sismember("processes", DEAD)


def test_a_death_counts_once_however_many_note_it(raw, sweeper, mourn):
    mourn()
    raw.delete(DEAD)  # that supervisor died as well

    sweeper.sweep()

    assert raw.smembers(keys.crashes("000000000000000000000001")) == {DEAD.encode()}


@pytest.mark.row("A7")
def test_only_a_crash_alone_in_a_process_convicts(mourn):
    [crowd] = [mourn(f"gone:{pid}:aaaaaaaaaaaa")[1] for pid in range(1, 6)][-1:]
    alone = mourn("gone:9:aaaaaaaaaaaa", was_alone=True)[1]

    assert [suspect.is_convicted for suspect in crowd] == [False]
    assert [suspect.is_convicted for suspect in alone] == [True]


def test_crashes_are_counted_when_redis_is_full(redis, raw):
    with full(raw):
        assert count_crash(redis, JOB, identity=DEAD, was_alone=True) == 1


@pytest.mark.row("D3")
def test_a_sweep_brings_jobs_back_when_redis_is_full(sweeper, raw):
    with full(raw):
        assert sweeper.sweep() == 1


def test_only_one_process_sweeps_at_a_time(raw, sweeper):
    raw.set(keys.SWEEP_LOCK, "1", px=60_000)

    assert sweeper.sweep() == 0


@pytest.mark.row("D3")
def test_what_a_killed_worker_ran_is_found_when_redis_is_full(raw, redis):
    raw.lpush(keys.claim(DEAD, "low"), b"fetched", JOB)
    raw.sadd("processes", DEAD)
    with full(raw):
        requeued, [suspect] = rescue_worker(
            redis, DEAD, ["low"], stories={fingerprint(JOB): "was killed"}, was_alone=False, hold_for=60
        )

    assert (requeued, suspect.raw) == (1, JOB)
    assert raw.smembers("processes") == set()


def test_a_processes_of_another_type_keeps_no_job_claimed_and_is_named(raw, mourn, caplog):
    raw.set("processes", "damaged")

    _, suspects = mourn()

    assert [each.raw for each in suspects] == [JOB]
    assert "can't be taken out of 'processes'" in caplog.text


@pytest.mark.row("C13", "C17")
def test_nobody_is_judged_before_all_had_the_time_to_beat(raw, redis, clock):
    sweeper = Sweeper(redis, ttl=60, clock=clock)
    raw.hset(keys.CLAIM_OWNERS, DEAD, b'{"queues":["low"]}')
    raw.lpush(keys.claim(DEAD, "low"), JOB)

    assert sweeper.sweep() == 0

    assert raw.llen("queue:low") == 0


def test_a_sweeper_that_stood_still_waits_until_the_living_have_spoken(raw, redis, clock):
    """After a freeze of us and Redis together every heartbeat has expired, and nobody is dead."""
    sweeper = Sweeper(redis, ttl=1.0, clock=clock)
    eventually(lambda: server_uptime(redis) > 2)
    clock.moment += sweeper.every
    assert sweeper.sweep() == 0
    raw.hset(keys.CLAIM_OWNERS, DEAD, b'{"queues":["low"]}')
    raw.lpush(keys.claim(DEAD, "low"), JOB)

    rescued = []
    for pause in (1.1, *[sweeper.every] * 6):
        clock.moment += pause
        raw.delete(keys.SWEEP_LOCK)
        rescued.append(sweeper.sweep())

    assert rescued == [0, 0, 0, 0, 0, 1, 0]
