"""What the scripts promise beyond what their users' tests show, on each generation of servers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from sidekiq_py import keys
from sidekiq_py.errors import RedisAuthError, RedisError
from sidekiq_py.redis_connection import RedisOptions, RedisPool
from sidekiq_py.scripts import load
from tests.redis.parts import IDENTITY
from tests.servers import Server


@pytest.fixture
def server(matrix_server: Server) -> Iterator[RedisPool]:
    """An empty server of each generation; this process beats there."""
    pool = RedisPool(RedisOptions.from_url(matrix_server.url))
    pool.call("FLUSHALL")
    pool.call("HSET", IDENTITY, "info", "{}")
    yield pool
    pool.call("CONFIG", "SET", "maxmemory", 0)
    pool.close()


def claim(queue: str) -> str:
    return keys.claim(IDENTITY, queue)


def fetch(
    redis: RedisPool, *queues: str, want: int, processes: int = 1, quotas: list[int] | None = None
) -> Any:
    wanted = quotas or [want] * len(queues)
    return redis.run_script(load("fetch"), places(queues), [len(queues), want, processes, *queues, *wanted])


def places(queues: Sequence[str]) -> list[str]:
    return [IDENTITY, keys.PAUSED, *map(keys.queue, queues), *map(claim, queues)]


def push(redis: RedisPool, queue: str, count: int, payload: str = "") -> None:
    for n in range(count):
        redis.call("LPUSH", keys.queue(queue), payload or f"{queue}{n}")


# -- fetch ---------------------------------------------------------------------------------------------


@pytest.mark.row("H3")
@pytest.mark.parametrize(
    ("waiting", "processes", "taken"),
    [(10, 1, 10), (10, 2, 5), (10, 5, 2), (10, 7, 2), (10, 100, 1), (1, 5, 1)],
)
def test_a_fetch_takes_no_more_than_an_even_share_of_what_waits(server, waiting, processes, taken):
    push(server, "a", waiting)

    [jobs] = fetch(server, "a", want=50, processes=processes)

    assert len(jobs) == taken
    assert jobs == [f"a{n}".encode() for n in range(taken)]
    assert server.call("LRANGE", claim("a"), 0, -1) == jobs[::-1]
    assert server.call("LLEN", "queue:a") == waiting - taken


def test_quotas_come_first_and_free_slots_are_filled_in_order(server):
    push(server, "a", 5)
    push(server, "b", 1)
    push(server, "c", 5)

    taken = fetch(server, "a", "b", "c", want=6, quotas=[2, 3, 1])

    assert [len(jobs) for jobs in taken] == [4, 1, 1]


@pytest.mark.row("E11")
def test_a_fetch_stops_at_a_megabyte_but_takes_one_job_of_any_size(server):
    push(server, "a", 10, "x" * 600_000)
    push(server, "b", 1, "y" * 5_000_000)

    [jobs] = fetch(server, "a", want=10)
    [large] = fetch(server, "b", want=10)

    assert (len(jobs), len(large)) == (2, 1)


def test_each_queue_has_its_own_slot_in_the_answer(server):
    push(server, "good", 2)
    push(server, "paused", 2)
    server.call("SADD", "paused", "paused")
    server.call("SET", "queue:bad", "x")

    empty, paused, bad, good = fetch(server, "empty", "paused", "bad", "good", want=9)

    assert (empty, paused, good) == ([], None, [b"good0", b"good1"])
    assert bad.startswith(b"WRONGTYPE")
    assert server.call("LLEN", "queue:paused") == 2


def test_without_a_heartbeat_nothing_is_taken(server):
    push(server, "a", 1)
    server.call("DEL", IDENTITY)

    assert fetch(server, "a", want=1) == b"FENCED"
    assert server.call("LLEN", "queue:a") == 1


@pytest.mark.row("H9")
def test_a_fetch_from_thirty_queues_asks_only_of_those_that_it_reaches(server):
    queues = [f"queue{number}" for number in range(30)]
    for name in queues[7:]:
        push(server, name, 1)
    server.call("CONFIG", "RESETSTAT")

    fetch(server, *queues, want=1)

    asked = calls(server)
    assert (asked["llen"], asked["rpop"]) == (7 + 2, 1)  # seven are empty
    assert asked["lpush"] <= 2  # Redis 6.2 is tried first


def calls(server: RedisPool) -> dict[str, int]:
    """How often each command was called, by scripts too."""
    stats = server.call("INFO", "commandstats").decode()
    return {name: int(count) for name, count in re.findall(r"cmdstat_(\S+?):calls=(\d+)", stats)}


# -- what a full Redis still does ----------------------------------------------------------------------

ENTRY = b'{"class":"A"}'
WHEN_FULL: dict[str, tuple[list[str], list[Any], Any]] = {
    "acknowledge": ([claim("a")], [1, ENTRY], 0),
    "reschedule": ([claim("a"), "retry"], [ENTRY, ENTRY, "1.5"], 1),
    "hand_back": ([claim("a"), "schedule", "counter"], [ENTRY, ENTRY, "1.5", 100, 60], 1),
    "bury": ([claim("a"), "dead"], ["list", "9.5", "1.5", 100, ENTRY, ENTRY], [1]),
    "requeue": ([claim("a"), "queue:a"], [ENTRY], 1),
    "rescue": (["gone", claim("a"), "queue:a"], [ENTRY], 1),
    "look": (["signals", "retry", "schedule"], [], [None, None, b"1"]),
    "promote": (["schedule", "queues"], [ENTRY, "a", ENTRY], 1),
    "adopt": ([IDENTITY, claim("a"), claim("b")], [ENTRY], 1),
    "sign_off": (["work", "workers", "processes", "sidekiq-py:processes"], [IDENTITY], []),
    "lock": (["sidekiq-py:sweep"], [1000], 1),
    "signal": (["signals"], ["TERM", 60], None),
    "set_score": (["schedule"], [ENTRY, 5], 1),
    "walk": (["schedule"], ["ZRANGE", 10, ENTRY, "0.5"], [ENTRY, b"1"]),
    "clear": (["queue:b", "queues"], ["LLEN", "b"], 1),
    "fetch": ([IDENTITY, "paused", "queue:b", claim("b")], [1, 1, 1, "b", 1], [[ENTRY]]),
}


@pytest.mark.parametrize("name", WHEN_FULL)
def test_jobs_move_on_when_redis_is_full(server, name):
    arguments, words, answer = WHEN_FULL[name]
    server.call("LPUSH", claim("a"), ENTRY)
    server.call("ZADD", "schedule", 1, ENTRY)
    server.call("LPUSH", "queue:b", ENTRY)
    server.call("CONFIG", "SET", "maxmemory", 1)

    assert server.run_script(load(name), arguments, words) == answer


# -- all or nothing ------------------------------------------------------------------------------------


def run(name: str) -> Callable[[RedisPool], Any]:
    arguments, words, _ = WHEN_FULL[name]
    return lambda redis: redis.run_script(load(name), arguments, words)


@pytest.mark.parametrize(
    ("name", "target", "source"),
    [
        ("reschedule", "retry", claim("a")),
        ("bury", "dead", claim("a")),
        ("hand_back", "schedule", claim("a")),
        ("requeue", "queue:a", claim("a")),
        ("rescue", "queue:a", claim("a")),
        ("promote", "queues", "schedule"),
        ("adopt", claim("b"), claim("a")),
    ],
)
def test_a_target_of_another_type_leaves_the_job_where_it_is(server, name, target, source):
    server.call("LPUSH", claim("a"), ENTRY)
    server.call("ZADD", "schedule", 1, ENTRY)
    server.call("SET", target, "x")

    with pytest.raises(RedisError, match="WRONGTYPE"):
        run(name)(server)

    assert server.call("EXISTS", source) == 1


def test_a_promotion_to_a_queue_of_another_type_leaves_that_job_alone(server):
    server.call("ZADD", "schedule", 1, "one", 2, "two")
    server.call("SET", "queue:bad", "x")

    moved = server.run_script(
        load("promote"), ["schedule", "queues"], ["one", "bad", "1", "two", "good", "2"]
    )

    assert moved == 1
    assert server.call("ZRANGE", "schedule", 0, -1) == [b"one"]
    assert server.call("LRANGE", "queue:good", 0, -1) == [b"2"]
    assert server.call("SMEMBERS", "queues") == [b"good"]


def test_acknowledging_says_how_many_were_not_there_any_more(server):
    server.call("LPUSH", claim("a"), "1", "2")
    server.call("LPUSH", claim("b"), "3")

    missed = server.run_script(
        load("acknowledge"), [claim("a"), claim("b")], [3, "1", "gone", "1", 2, "3", "3"]
    )

    assert missed == 3
    assert server.call("LRANGE", claim("a"), 0, -1) == [b"2"]
    assert server.call("EXISTS", claim("b")) == 0


def test_burying_says_which_jobs_it_moved(server):
    server.call("ZADD", "retry", 1, "one", 2, "three")

    moved = server.run_script(
        load("bury"),
        ["retry", "dead"],
        ["zset", "9.5", "1.5", 100, *("one", "1"), *("two", "2"), *("three", "three")],
    )

    assert moved == [1, 3]
    assert server.call("ZRANGE", "dead", 0, -1, "WITHSCORES") == [b"1", b"9.5", b"three", b"9.5"]


# -- rights that are missing ---------------------------------------------------------------------------


@pytest.mark.parametrize("memory", ["enough", "full"])
@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("requeue", "rpush"),
        ("rescue", "rpush"),
        ("adopt", "lpush"),
        ("fetch", "lpush"),
        ("bury", "zadd"),
        ("reschedule", "zadd"),
        ("set_score", "zadd"),
        ("hand_back", "zadd"),
        ("hand_back", "set"),
        ("hand_back", "rpush"),
        ("promote", "sadd"),
        ("promote", "lpush"),
        *((name, "lrem") for name in ("requeue", "rescue", "adopt", "hand_back")),
    ],
)
def test_a_right_that_is_missing_leaves_the_job_where_it_is(server, matrix_server, name, right, memory):
    server.call("LPUSH", claim("a"), ENTRY)
    server.call("ZADD", "schedule", 1, ENTRY)
    server.call("LPUSH", "queue:b", ENTRY)
    server.call("ACL", "SETUSER", "worker", "reset", "on", ">secret", "~*", "+@all", f"-{right}")
    worker = RedisPool(RedisOptions.from_url(matrix_server.url, username="worker", password="secret"))
    before = {key: server.call("DUMP", key) for key in server.call("KEYS", "*")}

    if memory == "full":
        server.call("CONFIG", "SET", "maxmemory", 1)
    with pytest.raises(RedisAuthError, match="allow it with ACL SETUSER"):
        run(name)(worker)
    server.call("CONFIG", "SET", "maxmemory", 0)

    assert {key: server.call("DUMP", key) for key in server.call("KEYS", "*")} == before
