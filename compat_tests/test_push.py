"""A push from either side: the same bytes in Redis, and the same arguments where the job runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis

from compat_tests import HANDLERS
from compat_tests.console import RubyError
from compat_tests.ruby import Ruby
from sidekiq_py import Client, job
from sidekiq_py.errors import InvalidJob
from sidekiq_py.job import Job
from sidekiq_py.redis_connection import RedisPool
from sidekiq_py.registry import registry
from tests.helpers import eventually
from tests.server_process import ServerProcess

FAR_OFF = 4_000_000_000.5  # epoch seconds

# Whatever JSON can say, and where languages differ: text, big and tiny numbers, order, depth.
ODD_ARGS: list[list[Any]] = [
    [],
    [None, True, False, "", [], {}],
    ['é ü 日本 😀 \u2028\u2029\x7f </script> \x01 " \\ / \t\r\n'],
    [0, -1, 2**53 + 1, -(2**63), 2**64, 10**40],
    [0.1, -0.0, 100.0, 1.5e300, 1e20, 1e16, 1e15, 1e-5, 1e-4, 123456789.123456789],
    [{"b": 1, "a": {"z": [{"é": None}], "": 2}}, [[[["deep"]]]]],
    ["x" * 20_000],
]

OPTIONS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "queue": {"queue": "low"},
    "odd queue": {"queue": "é: x"},
    "retry number": {"retry": 3},
    "retry zero": {"retry": 0},
    "retry false": {"retry": False},
    "retry null": {"retry": None},
    "retry_for": {"retry_for": 3600},
    "all of sidekiq_options": {
        "tags": ["x", "é"],
        "retry_queue": "low",
        "dead": False,
        "backtrace": 7,
        "queue": "critical",
        "retry": 2,
    },
    "own jid": {"jid": "abcdefabcdefabcdefabcdef"},
    "own created_at": {"created_at": 1795490000.25},
    "unknown keys": {"custom": {"a": [1, {"b": None}]}, "bid": "b1", "locale": "fr"},
    "scheduled": {"at": FAR_OFF, "queue": "low"},
    "scheduled to the second": {"at": 4_000_000_000},
    "scheduled in the past": {"at": 1.5},
}

# What both refuse, in all generations.
REFUSED: dict[str, dict[str, Any]] = {
    "no class": {"args": []},
    "no args": {"class": "HardJob"},
    "args no array": {"class": "HardJob", "args": "x"},
    "args null": {"class": "HardJob", "args": None},
    "class a number": {"class": 7, "args": []},
    "at a string": {"class": "HardJob", "args": [], "at": "tomorrow"},
    "at null": {"class": "HardJob", "args": [], "at": None},
    "tags a string": {"class": "HardJob", "args": [], "tags": "x"},
    "queue empty": {"class": "HardJob", "args": [], "queue": ""},
    "queue null": {"class": "HardJob", "args": [], "queue": None},
}


@pytest.fixture
def client(ruby: Ruby, redis: RedisPool) -> Client:
    """Ours, writing as this Ruby does."""
    return Client(redis=redis, dialect=ruby.major)


@pytest.fixture
def queue_boom() -> Iterator[Job[..., None]]:
    """Our twin of the Ruby class with the most options."""

    @job("QueueBoom", queue="critical", retry=5, retry_queue="low", tags=["t1"])
    def queue_boom(*args: Any) -> None: ...

    yield queue_boom
    registry.discard(["QueueBoom"])


def stored(raw: Redis) -> dict[bytes, Any]:
    """All that lies in Redis, with the values that differ from push to push replaced by what they are."""
    found: dict[bytes, Any] = {b"queues": raw.smembers("queues")}
    for key in raw.keys("queue:*"):
        found[key] = [masked(text) for text in raw.lrange(key, 0, -1)]
    found[b"schedule"] = [
        (masked(text), score) for text, score in raw.zrange("schedule", 0, -1, withscores=True)
    ]
    raw.flushall()
    return found


def masked(text: bytes) -> str:
    """The stored bytes with jids and clock readings replaced; of a time its JSON type is left."""
    jid_gone = re.sub(r'"jid":"[0-9a-f]{24}"', '"jid":JID', text.decode())
    floats_gone = re.sub(r'("(?:created|enqueued)_at"):\d{10}\.\d+', r"\1:FLOAT", jid_gone)
    return re.sub(r'("(?:created|enqueued)_at"):\d{13}', r"\1:MILLISECONDS", floats_gone)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_a_push_by_name_is_stored_as_ruby_stores_it(
    ruby: Ruby, raw: Redis, client: Client, options: dict[str, Any]
) -> None:
    ruby.push("HardJob", "bob", 5, **options)
    by_ruby = stored(raw)

    client.push({"class": "HardJob", "args": ["bob", 5], **options})

    assert stored(raw) == by_ruby


@pytest.mark.parametrize("args", ODD_ARGS, ids=lambda args: repr(args)[:30])
def test_arguments_are_spelt_as_ruby_spells_them(
    ruby: Ruby, raw: Redis, client: Client, args: list[Any]
) -> None:
    ruby.push("HardJob", *args)
    by_ruby = stored(raw)

    client.push({"class": "HardJob", "args": args})

    assert stored(raw) == by_ruby


def test_a_declared_job_is_stored_as_ruby_stores_the_class(
    ruby: Ruby, raw: Redis, client: Client, queue_boom: Job[..., None]
) -> None:
    ruby.eval("QueueBoom.perform_async('z', 1) && QueueBoom.perform_in(args[0], 'z', 1)", FAR_OFF)
    by_ruby = stored(raw)

    queue_boom.via(client).perform_async("z", 1)
    queue_boom.via(client).perform_in(FAR_OFF, "z", 1)

    assert stored(raw) == by_ruby


@pytest.mark.parametrize(
    "options",
    [{"queue": "other"}, {"tags": ["x"], "retry": False}, {"backtrace": True, "custom": 1}],
    ids=repr,
)
def test_options_for_one_push_go_where_ruby_puts_them(
    ruby: Ruby, raw: Redis, client: Client, queue_boom: Job[..., None], options: dict[str, Any]
) -> None:
    ruby.perform_async("QueueBoom", "z", 1, **options)
    ruby.perform_in("QueueBoom", FAR_OFF, "z", 1, **options)
    by_ruby = stored(raw)

    queue_boom.via(client).set(**options).perform_async("z", 1)
    queue_boom.via(client).set(**options).perform_in(FAR_OFF, "z", 1)

    assert stored(raw) == by_ruby


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"queue": "low", "tags": ["x"]},
        {"at": FAR_OFF},
        {"at": [FAR_OFF, FAR_OFF + 1, FAR_OFF + 2]},
    ],
    ids=repr,
)
def test_a_bulk_push_is_stored_as_ruby_stores_it(
    ruby: Ruby, raw: Redis, client: Client, options: dict[str, Any]
) -> None:
    rows: list[list[Any]] = [[1, "é"], [2.5, None], [{"a": []}]]
    jids = ruby.push_bulk("HardJob", rows, **options)
    by_ruby = stored(raw)

    assert len(client.push_bulk({"class": "HardJob", "args": rows, **options})) == len(jids)
    assert stored(raw) == by_ruby


@pytest.mark.parametrize("item", REFUSED.values(), ids=REFUSED.keys())
def test_what_ruby_refuses_we_refuse(ruby: Ruby, raw: Redis, client: Client, item: dict[str, Any]) -> None:
    with pytest.raises(RubyError) as caught:
        ruby.call("push", item)
    with pytest.raises(InvalidJob):
        client.push(item)

    assert caught.value.ruby_class == "ArgumentError"
    assert raw.keys("*") == []


def test_ruby_reads_our_job_as_its_own(ruby: Ruby, client: Client) -> None:
    before = float(ruby.eval("Time.now.to_f"))

    jid = client.push({"class": "HardJob", "args": ["é", 1], "queue": "low", "tags": ["a"], "bid": "b1"})

    [entry] = ruby.queue("low")["jobs"]
    assert (entry["jid"], entry["klass"], entry["args"], entry["tags"]) == (jid, "HardJob", ["é", 1], ["a"])
    assert before - 0.01 <= entry["created_at"] <= entry["enqueued_at"] <= before + 30
    assert 0 <= ruby.queue("low")["latency"] < 30
    assert ruby.call("queues") == {"low": 1}


def test_ruby_sees_when_our_scheduled_job_is_due(ruby: Ruby, client: Client) -> None:
    jid = client.push({"class": "HardJob", "args": [1], "at": FAR_OFF})

    [entry] = ruby.entries("schedule")
    assert (entry["jid"], entry["score"]) == (jid, FAR_OFF)
    assert entry["at"] == pytest.approx(FAR_OFF, abs=0.001)


def test_ruby_runs_what_we_push_with_every_argument_as_it_was(ruby: Ruby, client: Client) -> None:
    jids = {client.push({"class": "HardJob", "args": args}): args for args in ODD_ARGS}
    rows: list[list[Any]] = [[number, {"n": [number]}] for number in range(30)]
    jids |= dict(zip(client.push_bulk({"class": "HardJob", "args": rows}), rows, strict=True))

    ruby.server(concurrency=5)

    assert {jid: ruby.wait_until_ran(str(jid), 30)["args"] for jid in jids} == jids
    assert len(ruby.ran()) == len(jids)


def test_we_run_what_ruby_pushes_with_every_argument_as_it_was(
    ruby: Ruby, sidekiq_py: Callable[..., ServerProcess]
) -> None:
    jids = {ruby.push("HardJob", *args): args for args in ODD_ARGS}
    jids |= {ruby.perform_async("HardJob", *args, tags=["x"]): args for args in ODD_ARGS}
    rows = [[number, {"n": [number]}] for number in range(30)]
    jids |= dict(zip(ruby.push_bulk("HardJob", rows), rows, strict=True))
    jids[ruby.perform_in("HardJob", 0.5, "later")] = ["later"]
    jids[ruby.push("HardJob", "overdue", at=1.5)] = ["overdue"]

    sidekiq_py(HANDLERS, "-c", "5")

    assert {jid: ruby.wait_until_ran(jid, 30)["args"] for jid in jids} == jids
    assert len(ruby.ran()) == len(jids)


def test_a_job_goes_from_ruby_to_python_and_back(
    ruby: Ruby, sidekiq_py: Callable[..., ServerProcess]
) -> None:
    sidekiq_py(HANDLERS, "-q", "py")
    ruby.server(queues=["ruby"])

    ruby.push("ForwardJob", "HardJob", "ruby", [{"é": [2**64, 0.1]}], queue="py")

    [there, back] = eventually(lambda: len(told := ruby.ran()) == 2 and told, 30)
    assert (there["class"], back["class"]) == ("ForwardJob", "HardJob")
    assert back["args"] == [{"é": [2**64, 0.1]}]
