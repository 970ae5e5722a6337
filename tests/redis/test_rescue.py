"""Jobs of a process that died go back to their queues: all, once, in order, and none of one that lives."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path

import pytest
import redis as redis_py

from sidekiq_py import keys
from sidekiq_py.errors import RedisDown
from sidekiq_py.redis_connection import RedisOptions, RedisPool
from sidekiq_py.rescue import BATCH, orphans, owners, rescue, server_uptime, unregistered
from tests.redis.relay import relay
from tests.servers import Server

GONE = "worker-9:13:abcdefabcdef"


class Dead:
    """A process that died with claimed jobs."""

    def __init__(self, raw: redis_py.Redis) -> None:
        self.raw = raw

    def claims(self, queue: str, *payloads: str, identity: str = GONE) -> None:
        """The first given was claimed first; the process is in the registry."""
        self.raw.lpush(keys.claim(identity, queue), *payloads)
        known = json.loads(self.raw.hget(keys.CLAIM_OWNERS, identity) or "{}").get("queues", [])
        entry = {"hostname": "worker-9", "pid": 13, "started_at": 1.5, "queues": [*known, queue]}
        self.raw.hset(keys.CLAIM_OWNERS, identity, json.dumps(entry))

    def beats(self, identity: str = GONE) -> None:
        self.raw.hset(identity, "info", "{}")

    def waiting(self, queue: str) -> list[str]:
        """Next to run first."""
        return [payload.decode() for payload in reversed(self.raw.lrange(keys.queue(queue), 0, -1))]

    def claimed(self, queue: str) -> list[str]:
        return [payload.decode() for payload in reversed(self.raw.lrange(keys.claim(GONE, queue), 0, -1))]


@pytest.fixture
def dead(raw: redis_py.Redis) -> Dead:
    return Dead(raw)


# -- who is an orphan ----------------------------------------------------------------------------------


def test_who_owns_claims_and_does_not_beat_is_an_orphan(dead, redis: RedisPool):
    dead.claims("a", "1")
    dead.claims("b", "2")
    dead.claims("a", "3", identity="worker-1:1:alive")
    dead.beats("worker-1:1:alive")

    found = orphans(redis)

    assert list(found) == [GONE]
    assert (found[GONE].hostname, found[GONE].pid, found[GONE].queues) == ("worker-9", 13, ["a", "b"])


def test_where_nobody_is_registered_there_are_no_orphans(redis: RedisPool):
    assert orphans(redis) == {}


@pytest.mark.parametrize("entry", [b"", b"{oops", b"null", b'{"queues":7}', b"\xff"])
def test_a_registry_entry_that_is_damaged_is_an_owner_of_nothing_known(dead, raw, redis: RedisPool, entry):
    raw.hset(keys.CLAIM_OWNERS, GONE, entry)

    assert owners(redis)[GONE].queues == []


def test_ruby_s_pruning_of_processes_does_not_hide_an_orphan(dead, raw, redis: RedisPool):
    dead.claims("a", "1")
    raw.srem("processes", GONE)

    assert list(orphans(redis)) == [GONE]


@pytest.mark.parametrize("queue", ["a", "a|b", "a:b", "with space", "ünïcode", "*", "a\nb"])
def test_claims_that_the_registry_does_not_know_are_found_by_their_keys(raw, redis: RedisPool, queue):
    raw.lpush(keys.claim(GONE, queue), "1")
    raw.lpush(keys.claim("worker-1:1:alive", queue), "2")
    raw.hset("worker-1:1:alive", "info", "{}")
    raw.lpush(keys.claim("worker-2:1:registered", queue), "3")
    raw.hset(keys.CLAIM_OWNERS, "worker-2:1:registered", "{}")

    found = unregistered(redis)

    assert {identity: owner.queues for identity, owner in found.items()} == {GONE: [queue]}


# -- back to the queues --------------------------------------------------------------------------------


def test_all_jobs_go_back_to_the_head_of_their_queues_in_their_old_order(dead, raw, redis: RedisPool):
    raw.lpush("queue:a", "later")
    dead.claims("a", "1", "2", "3")
    dead.claims("b", "4")

    rescued = rescue(redis, GONE, ["a", "b", "never used"])

    assert rescued is not None
    assert (rescued.requeued, rescued.suspects) == (4, [])
    assert (dead.waiting("a"), dead.waiting("b")) == (["1", "2", "3", "later"], ["4"])
    assert owners(redis) == {}


def test_more_jobs_than_one_step_moves_keep_their_order_too(dead, redis: RedisPool):
    payloads = [f"{n:04}" for n in range(2 * BATCH + 7)]
    dead.claims("a", *payloads)

    rescue(redis, GONE, ["a"])

    assert dead.waiting("a") == payloads


@pytest.mark.parametrize("payload", [b"\xff\xfe", b"", b"{oops", b"x" * 1_000_000])
def test_bytes_come_back_as_they_were(dead, raw, redis: RedisPool, payload):
    raw.lpush(keys.claim(GONE, "a"), payload)

    rescue(redis, GONE, ["a"])

    assert raw.lrange("queue:a", 0, -1) == [payload]


def test_two_equal_jobs_both_come_back(dead, redis: RedisPool):
    dead.claims("a", "same", "same", "other")

    rescue(redis, GONE, ["a"])

    assert dead.waiting("a") == ["same", "same", "other"]


def test_nothing_is_taken_from_a_process_that_beats_after_all(dead, redis: RedisPool):
    dead.claims("a", "1")
    dead.beats()

    assert rescue(redis, GONE, ["a"]) is None

    assert (dead.claimed("a"), dead.waiting("a")) == (["1"], [])
    assert GONE in owners(redis)


def test_suspects_stay_claimed_and_their_owner_registered(dead, redis: RedisPool):
    dead.claims("a", "1", "pill", "2")
    dead.claims("b", "3")

    rescued = rescue(redis, GONE, ["a", "b"], is_suspect=lambda raw: raw == b"pill")

    assert rescued is not None
    assert (rescued.requeued, rescued.suspects) == (3, [("a", b"pill")])
    assert (dead.claimed("a"), dead.waiting("a"), dead.waiting("b")) == (["pill"], ["1", "2"], ["3"])
    assert GONE in owners(redis)


def test_a_second_rescue_finds_nothing_more(dead, redis: RedisPool):
    dead.claims("a", "1", "2")

    rescues = [rescue(redis, GONE, ["a"]) for _ in range(2)]

    assert [each.requeued for each in rescues if each] == [2, 0]
    assert dead.waiting("a") == ["1", "2"]


@pytest.mark.row("A13")
def test_rescuers_that_race_bring_every_job_back_once(dead, redis_options: RedisOptions):
    payloads = [f"{n:05}" for n in range(3000)]
    dead.claims("a", *payloads)
    counted = []

    def race() -> None:
        pool = RedisPool(redis_options)
        rescued = rescue(pool, GONE, ["a"])
        counted.append(rescued.requeued if rescued else 0)
        pool.close()

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(counted) == 3000
    assert sorted(dead.waiting("a")) == payloads


@pytest.mark.row("A12")
def test_a_rescue_whose_answer_got_lost_doubles_nothing_when_repeated(
    dead, redis_server: Server, redis: RedisPool, tmp_path: Path
):
    dead.claims("a", *(f"{n}" for n in range(5)))
    rescue(redis, "nobody", ["a"])  # the server knows the script
    with relay(tmp_path, Path(redis_server.socket_path)) as (wire, url):
        wire.lose = "EVALSHA"
        cut_off = RedisPool(RedisOptions.from_url(url))
        with pytest.raises(RedisDown):
            rescue(cut_off, GONE, ["a"])
        cut_off.close()

    rescue(redis, GONE, ["a"])

    assert dead.waiting("a") == ["0", "1", "2", "3", "4"]
    assert dead.claimed("a") == []


def test_a_queue_key_of_another_type_keeps_its_own_jobs_only_and_they_are_not_forgotten(
    dead, raw, redis: RedisPool, caplog
):
    raw.set("queue:bad", "x")
    dead.claims("bad", "1")
    dead.claims("good", "2")

    with caplog.at_level(logging.ERROR, "sidekiq"):
        rescued = rescue(redis, GONE, ["bad", "good"])

    assert rescued is not None
    assert (dead.claimed("bad"), dead.waiting("good")) == (["1"], ["2"])
    assert GONE in owners(redis)
    assert any("queue:bad" in record.getMessage() for record in caplog.records)
    raw.delete("queue:bad")
    rescue(redis, GONE, ["bad", "good"])
    assert dead.waiting("bad") == ["1"]


def test_jobs_come_back_when_redis_is_full(dead, raw, redis: RedisPool):
    dead.claims("a", *(f"{n}" for n in range(10)))
    raw.config_set("maxmemory", 1)
    try:
        rescue(redis, GONE, ["a"])
    finally:
        raw.config_set("maxmemory", 0)

    assert len(dead.waiting("a")) == 10


def test_the_server_tells_how_long_it_has_been_up(redis: RedisPool):
    assert 0 <= server_uptime(redis) < 86_400
