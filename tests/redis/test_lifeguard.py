"""What a supervisor does for workers that died: no one's trouble is another's, and nothing is left over."""

from __future__ import annotations

import pytest

from sidekiq_py import keys
from sidekiq_py.idle_wait import longest_wait
from sidekiq_py.lifeguard import TOLD_AFTER, TRY_AGAIN, Lifeguard
from sidekiq_py.redis_connection import RedisOptions
from sidekiq_py.rescuer import last_look_after
from sidekiq_py.suspects import Suspect
from tests.helpers import StillClock
from tests.servers import Server

TTL = 60
JOB = b'{"class":"HardJob","args":[],"jid":"000000000000000000000001"}'


@pytest.fixture
def clock():
    return StillClock(1000.0)


@pytest.fixture
def lifeguard(redis_options: RedisOptions, clock):
    lifeguard = Lifeguard(redis_options.connect(), ttl=TTL, stall_after=5.0, clock=clock)
    yield lifeguard
    lifeguard.close()


def die(raw, lifeguard: Lifeguard, *identities: str) -> None:
    """Each holds a job that nobody here will run."""
    for identity in identities:
        raw.hset(identity, "beat", "1")
        raw.hset(keys.CLAIM_OWNERS, identity, b'{"queues":["low"]}')
        raw.lpush(keys.claim(identity, "low"), JOB)
        lifeguard.suspects.append(Suspect(identity, "low", JOB, 1, "was killed"))
    lifeguard.give_suspects_back()


@pytest.mark.row("A1")
def test_a_job_that_a_dead_worker_is_served_after_its_rescue_is_not_left_there(raw, lifeguard, clock):
    die(raw, lifeguard, "gone")
    lifeguard.tick([])
    assert raw.llen("queue:low") == 1
    assert not lifeguard.is_busy

    raw.lpush(keys.claim("gone", "low"), JOB)  # by a wait that a child of the dead keeps open
    clock.moment += last_look_after(TTL)
    lifeguard.tick([])

    assert raw.llen("queue:low") == 2
    assert not raw.exists("gone", keys.CLAIM_OWNERS)


@pytest.mark.row("A1")
def test_a_dead_worker_stays_an_owner_of_claims_while_it_may_be_served(raw, lifeguard, clock):
    die(raw, lifeguard, "gone")

    lifeguard.tick([])
    clock.moment += longest_wait(TTL)
    lifeguard.tick([])

    assert raw.hexists(keys.CLAIM_OWNERS, "gone")
    assert raw.ttl("gone") > last_look_after(TTL)


@pytest.mark.parametrize("ttl", [1, 2, 6, 12, 60, 600])
def test_the_last_look_comes_when_no_wait_is_left_and_before_the_heartbeat_expires(ttl):
    assert longest_wait(ttl) < last_look_after(ttl) < ttl


def test_a_worker_whose_jobs_can_not_be_brought_back_keeps_no_other_waiting(
    raw, redis_server: Server, clock, caplog
):
    raw.execute_command(
        *("ACL", "SETUSER", "half", "on", ">secret", "+@all", "~gone-2*", "~*:gone-2*", "~queue:*"),
        *("~processes", "~sidekiq-py:processes", "~sidekiq-py:nobody", "~sidekiq-py:sweep"),
    )
    options = RedisOptions.from_url(f"unix://half:secret@{redis_server.socket_path}")
    lifeguard = Lifeguard(options.connect(), ttl=TTL, stall_after=5.0, clock=clock)
    try:
        die(raw, lifeguard, "gone-1", "gone-2")
        lifeguard.tick([])
    finally:
        lifeguard.close()
        raw.execute_command("ACL", "DELUSER", "half")

    assert raw.lrange("queue:low", 0, -1) == [JOB]
    assert raw.lrange(keys.claim("gone-1", "low"), 0, -1) == [JOB]
    assert lifeguard.is_busy
    assert "jobs that were to run alone can't be brought back yet" in caplog.text
    assert caplog.messages[-1] == "jobs that were to run alone: 1 are back on their queues"


def test_a_worker_whose_claims_always_cost_the_connection_keeps_no_other_waiting(
    raw, lifeguard, clock, caplog
):
    """Redis hangs up on whoever asks for more than it may send."""
    [limits] = raw.config_get("client-output-buffer-limit").values()
    die(raw, lifeguard, "gone-1", "gone-2")
    raw.hset("alive", "beat", "1")
    raw.expire("alive", 5)
    raw.lpush(keys.claim("gone-1", "low"), *[bytes(100_000)] * 20)
    raw.config_set("client-output-buffer-limit", "normal 65536 0 0")
    try:
        lifeguard.suspects.append(Suspect("alive", "low", JOB, 1, "was killed"))
        for _ in range(2 * TOLD_AFTER):
            lifeguard.tick([])
            clock.moment += TRY_AGAIN
    finally:
        raw.config_set("client-output-buffer-limit", limits)

    assert raw.lrange("queue:low", 0, -1) == [JOB]
    assert raw.llen(keys.claim("gone-1", "low")) == 21
    assert lifeguard.is_busy
    assert caplog.text.count("jobs that were to run alone still wait to be brought back") == 1
    assert raw.ttl("alive") > 5
    lifeguard.tick([])
    assert raw.llen("queue:low") == 22
