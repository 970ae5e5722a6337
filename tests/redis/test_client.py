"""Pushes as they arrive in a real Redis, byte for byte as real Sidekiq wrote them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py

from sidekiq_py.client import Client
from sidekiq_py.clock import Clock
from sidekiq_py.errors import MaybeEnqueued, RedisDown, RedisError
from sidekiq_py.middleware import CallNext, Chain
from sidekiq_py.payload import Payload
from sidekiq_py.redis_connection import RedisPool
from tests.golden import golden
from tests.helpers import StillClock, at_once
from tests.redis.beats import beat
from tests.redis.canned_server import Answer, canned_server

DIALECT_OF = {"6.4.1": 6, "7.3.2": 7, "8.1.7": 8}
NOW = 1795490825.871201


class Moments(Clock):
    """A clock that shows these moments one after the other, and then the last one for ever."""

    def __init__(self, *moments: float) -> None:
        self._moments = list(moments)

    def now(self) -> float:
        return self._moments.pop(0) if len(self._moments) > 1 else self._moments[0]

    def monotonic(self) -> float:
        return self._moments[0]


@pytest.fixture
def client(redis: RedisPool) -> Client:
    return Client(redis=redis, middleware=Chain(), dialect=7, clock=Moments(NOW))


@pytest.fixture(params=DIALECT_OF)
def version(request: pytest.FixtureRequest) -> str:
    version: str = request.param
    return version


def moment(timestamp: float) -> float:
    """The clock reading behind a timestamp of either dialect."""
    return timestamp if isinstance(timestamp, float) else (timestamp + 0.5) / 1000


def item_of(text: str) -> tuple[dict[str, Any], list[float]]:
    """What a client must have been given for this payload, and when it was pushed."""
    job = json.loads(text)
    return job, [moment(job.pop(key)) for key in ("created_at", "enqueued_at") if key in job]


def payloads(raw: redis_py.Redis, queue: str = "default") -> list[Payload]:
    """The queue's jobs in the order they will run."""
    return [json.loads(text) for text in reversed(raw.lrange(f"queue:{queue}", 0, -1))]


@pytest.mark.parametrize("name", ["push_normal", "push_variants"])
def test_a_push_is_byte_for_byte_what_ruby_writes(
    redis: RedisPool, raw: redis_py.Redis, version: str, name: str
) -> None:
    queues = {key: texts for key, texts in golden(version, name).items() if key.startswith("queue:")}

    for texts in queues.values():
        for text in reversed(texts):
            item, moments = item_of(text)
            dialect = DIALECT_OF[version]
            Client(redis=redis, middleware=Chain(), dialect=dialect, clock=Moments(*moments)).push(item)

    for key, texts in queues.items():
        assert [text.decode() for text in raw.lrange(key, 0, -1)] == texts
    assert raw.smembers("queues") == {key.removeprefix("queue:").encode() for key in queues}


def test_a_bulk_push_is_byte_for_byte_what_ruby_writes(
    redis: RedisPool, raw: redis_py.Redis, version: str
) -> None:
    texts = golden(version, "push_bulk")["queue:default"]
    item, (created_at, enqueued_at) = item_of(texts[-1])
    del item["jid"]
    clock = Moments(created_at, created_at, enqueued_at)
    client = Client(redis=redis, middleware=Chain(), dialect=DIALECT_OF[version], clock=clock)

    jids = client.push_bulk({**item, "args": [[1], [2], [3]]})

    expected = [
        text.replace(json.loads(text)["jid"], str(jid))
        for text, jid in zip(texts, reversed(jids), strict=True)
    ]
    assert [text.decode() for text in raw.lrange("queue:default", 0, -1)] == expected


def test_a_scheduled_push_is_byte_for_byte_what_ruby_writes(
    redis: RedisPool, raw: redis_py.Redis, version: str
) -> None:
    entries = golden(version, "scheduled")["schedule"]

    for entry in entries:
        item, moments = item_of(entry["value"])
        at = float(entry["score"]) if "." in entry["score"] else int(entry["score"])
        clock = Moments(*moments)
        Client(redis=redis, middleware=Chain(), dialect=DIALECT_OF[version], clock=clock).push(
            {**item, "at": at}
        )

    stored = [(value.decode(), score) for value, score in raw.zrange("schedule", 0, -1, withscores=True)]
    assert stored == [(entry["value"], float(entry["score"])) for entry in entries]
    assert not raw.exists("queues")


def test_a_score_is_sent_as_ruby_spells_it(redis: RedisPool, raw: redis_py.Redis, client: Client) -> None:
    with raw.monitor() as monitor:
        client.push({"class": "HardJob", "args": [], "at": 1795489432, "jid": "a"})
        client.push({"class": "HardJob", "args": [], "at": 1795489391.035813, "jid": "b"})
        commands = (command["command"] for command in monitor.listen())
        scores = [next(text for text in commands if text.startswith("ZADD")).split()[2] for _ in range(2)]

    assert scores == ["1795489432", "1795489391.035813"]


def test_a_push_is_one_sadd_and_one_lpush(redis: RedisPool, raw: redis_py.Redis, client: Client) -> None:
    redis.call("PING")  # connects, so that only the push is seen

    with raw.monitor() as monitor:
        client.push({"class": "HardJob", "args": [1], "queue": "low"})
        commands = [monitor.next_command()["command"].split()[:2] for _ in range(2)]

    assert commands == [["SADD", "queues"], ["LPUSH", "queue:low"]]


def test_scheduling_removes_a_stale_enqueued_at_and_does_not_store_at(
    raw: redis_py.Redis, client: Client
) -> None:
    client.push({"class": "HardJob", "args": [], "at": NOW - 60, "enqueued_at": 5.0})

    [(value, score)] = raw.zrange("schedule", 0, -1, withscores=True)
    assert score == NOW - 60
    assert not {"at", "enqueued_at"} & json.loads(value).keys()


def test_a_job_keeps_the_jid_and_creation_time_it_comes_with(raw: redis_py.Redis, client: Client) -> None:
    jid = client.push({"class": "HardJob", "args": [], "jid": "mine", "created_at": 5.25})

    [job] = payloads(raw)
    assert jid == job["jid"] == "mine"
    assert job["created_at"] == 5.25
    assert job["enqueued_at"] == NOW


def test_a_new_jid_is_24_hex_digits(client: Client) -> None:
    jid = client.push({"class": "HardJob", "args": []})

    assert jid is not None
    assert len(jid) == 24
    assert int(jid, 16) >= 0


def test_bulk_jobs_go_a_thousand_at_a_time_and_run_in_order(raw: redis_py.Redis, client: Client) -> None:
    before = raw.info("commandstats").get("cmdstat_lpush", {"calls": 0})["calls"]

    jids = client.push_bulk({"class": "HardJob", "args": ([number] for number in range(2_500))})

    assert raw.info("commandstats")["cmdstat_lpush"]["calls"] - before == 3
    assert [job["args"] for job in payloads(raw)] == [[number] for number in range(2_500)]
    assert [job["jid"] for job in payloads(raw)] == jids
    assert len(set(jids)) == 2_500


def test_scheduled_bulk_jobs_go_a_hundred_at_a_time(raw: redis_py.Redis, client: Client) -> None:
    before = raw.info("commandstats").get("cmdstat_zadd", {"calls": 0})["calls"]

    client.push_bulk({"class": "HardJob", "args": [[number] for number in range(250)], "at": NOW + 60})

    assert raw.info("commandstats")["cmdstat_zadd"]["calls"] - before == 3
    assert raw.zcount("schedule", NOW + 60, NOW + 60) == 250


def test_each_bulk_job_has_its_own_due_time(raw: redis_py.Redis, client: Client) -> None:
    client.push_bulk({"class": "HardJob", "args": [[1], [2]], "at": [NOW + 2, NOW + 1]})

    entries = raw.zrange("schedule", 0, -1, withscores=True)
    assert [(json.loads(value)["args"], score) for value, score in entries] == [
        ([2], NOW + 1),
        ([1], NOW + 2),
    ]


def test_spread_jobs_are_due_within_the_interval(raw: redis_py.Redis, client: Client) -> None:
    client.push_bulk({"class": "HardJob", "args": [[1]] * 50, "spread_interval": 60})

    scores = [score for _, score in raw.zrange("schedule", 0, -1, withscores=True)]
    assert NOW <= min(scores) < max(scores) <= NOW + 60
    assert "spread_interval" not in json.loads(raw.zrange("schedule", 0, 0)[0])


@pytest.mark.parametrize("first", [True, False])
def test_a_jid_of_none_counts_as_none_given_wherever_it_stands(
    raw: redis_py.Redis, client: Client, first: bool
) -> None:
    none, rest = {"jid": None}, {"class": "HardJob", "args": [[1], [2]]}

    jids = client.push_bulk({**none, **rest} if first else {**rest, **none})

    assert [(job["jid"], job["args"]) for job in payloads(raw)] == list(zip(jids, [[1], [2]], strict=True))


def test_the_one_job_of_a_bulk_push_may_bring_its_jid(raw: redis_py.Redis, client: Client) -> None:
    assert client.push_bulk({"class": "HardJob", "args": [[1]], "jid": "mine"}) == ["mine"]
    assert [job["jid"] for job in payloads(raw)] == ["mine"]


def test_jobs_with_and_without_quick_arguments_look_the_same(raw: redis_py.Redis, client: Client) -> None:
    rows = [["plain"], [{"deep": [1.5, None, 'é " \\ \u2028']}], [1e20], []]

    client.push_bulk({"class": "HardJob", "args": rows, "custom": {"a": 1}})

    alike = raw.lrange("queue:default", 0, -1)
    raw.delete("queue:default")
    for row, text in zip(rows, reversed(alike), strict=True):
        client.push({"class": "HardJob", "args": row, "custom": {"a": 1}, "jid": json.loads(text)["jid"]})
    assert [json.loads(text) for text in raw.lrange("queue:default", 0, -1)] == [json.loads(t) for t in alike]
    assert {len(text) for text in raw.lrange("queue:default", 0, -1)} == {len(text) for text in alike}


def test_a_falsy_link_stops_the_push(redis: RedisPool, raw: redis_py.Redis) -> None:
    def only_odd(job_class: str, job: Payload, queue: str, call_next: CallNext) -> object:
        return call_next() if job["args"][0] % 2 else None

    client = Client(redis=redis, middleware=Chain([only_odd]), dialect=7)

    stopped, passed = (
        client.push({"class": "HardJob", "args": [2]}),
        client.push({"class": "HardJob", "args": [1]}),
    )
    bulk = client.push_bulk({"class": "HardJob", "args": [[number] for number in range(4)]})

    assert stopped is None
    assert [job["jid"] for job in payloads(raw)] == [passed, bulk[1], bulk[3]]
    assert bulk[0] is bulk[2] is None


def test_links_may_change_the_job_or_return_another(redis: RedisPool, raw: redis_py.Redis) -> None:
    def tag(job_class: str, job: Payload, queue: str, call_next: CallNext) -> object:
        job["locale"] = f"{job_class} of {queue}"
        return call_next()

    def replace(job_class: str, job: Payload, queue: str, call_next: CallNext) -> object:
        call_next()
        return {**job, "cattr": {"user": 1}}

    Client(redis=redis, middleware=Chain([tag, replace]), dialect=7).push({"class": "HardJob", "args": []})

    [job] = payloads(raw)
    assert list(job)[-3:] == ["locale", "cattr", "enqueued_at"]
    assert job["locale"] == "HardJob of default"


def test_bulk_jobs_that_middleware_sent_elsewhere_go_there(redis: RedisPool, raw: redis_py.Redis) -> None:
    def route(job_class: str, job: Payload, queue: str, call_next: CallNext) -> object:
        job["queue"] = f"q{job['args'][0] % 2}"
        if job["args"][0] == 3:
            job["at"] = NOW + 5
        return call_next()

    client = Client(redis=redis, middleware=Chain([route]), dialect=7)

    client.push_bulk({"class": "HardJob", "args": [[number] for number in range(4)]})

    assert [job["args"] for job in payloads(raw, "q0")] == [[0], [2]]
    assert [job["args"] for job in payloads(raw, "q1")] == [[1]]
    assert raw.smembers("queues") == {b"q0", b"q1"}
    assert raw.zcard("schedule") == 1


@pytest.mark.parametrize(
    ("versions", "kind"),
    [
        ([], float),
        (["8.1.7"], int),
        (["8.1.7", "8.0.0"], int),
        (["8.1.7", "7.3.2"], float),
        (["8.1.7", None], float),
        (["9.0.0"], int),
    ],
)
def test_timestamps_follow_the_oldest_live_ruby_process(
    redis: RedisPool, raw: redis_py.Redis, versions: list[str | None], kind: type
) -> None:
    for number, version in enumerate(versions):
        beat(raw, f"ruby:{number}:a", labels=[], **({"version": version} if version else {}))

    Client(redis=redis, middleware=Chain()).push({"class": "HardJob", "args": []})

    [job] = payloads(raw)
    assert type(job["created_at"]) is type(job["enqueued_at"]) is kind


def test_our_own_processes_and_dead_ones_have_no_say(redis: RedisPool, raw: redis_py.Redis) -> None:
    beat(raw, "ruby:1:a", version="8.1.7", labels=["blue"])
    beat(raw, "python:1:a", version="7.0.0", labels=["python"])
    raw.sadd("processes", "dead:1:a")
    for number, info in enumerate([b"not json", b'{"version":"6","odd":' + b"[" * 99_999]):
        raw.sadd("processes", f"odd:{number}:a")
        raw.hset(f"odd:{number}:a", "info", info)

    Client(redis=redis, middleware=Chain()).push({"class": "HardJob", "args": []})

    assert isinstance(payloads(raw)[0]["created_at"], int)


def test_the_dialect_is_asked_for_once_a_minute(redis: RedisPool, raw: redis_py.Redis) -> None:
    clock = StillClock(0.0)
    client = Client(redis=redis, middleware=Chain(), clock=clock)
    client.push({"class": "HardJob", "args": []})
    beat(raw, "ruby:1:a", version="8.1.7", labels=[])

    clock.moment = 59.9
    client.push({"class": "HardJob", "args": []})
    clock.moment = 60.0
    client.push({"class": "HardJob", "args": []})

    assert [type(job["created_at"]) for job in payloads(raw)] == [float, float, int]


def test_a_url_is_enough(redis_url: str, raw: redis_py.Redis) -> None:
    client = Client(redis_url, middleware=Chain())

    client.push({"class": "RubyOnlyJob", "args": [1, 2], "queue": "low"})

    assert [job["class"] for job in payloads(raw, "low")] == ["RubyOnlyJob"]


def test_threads_may_share_a_client(raw: redis_py.Redis, redis: RedisPool) -> None:
    client = Client(redis=redis, middleware=Chain())

    def push() -> None:
        for _ in range(50):
            client.push({"class": "HardJob", "args": []})

    at_once(*[push] * 8)

    assert len({job["jid"] for job in payloads(raw)}) == 400


class Wire:
    """Stands between client and server: passes commands on, and cuts or answers in the server's place."""

    def __init__(self, raw: redis_py.Redis) -> None:
        self._raw = raw
        self.seen: list[str] = []
        self.cut_reply_of: str | None = None
        self.cut_from = 0
        self.refusals: dict[str, list[bytes]] = {}

    def __call__(self, command: list[bytes]) -> bytes:
        name = command[0].decode().upper()
        self.seen.append(name)
        if self.refusals.get(name):
            return self.refusals[name].pop(0)
        if name in ("SADD", "LPUSH", "ZADD", "SMEMBERS"):
            reply = self._raw.execute_command(*command)
            if name == self.cut_reply_of and self.seen.count(name) > self.cut_from:
                raise ConnectionResetError
            return b"*0\r\n" if name == "SMEMBERS" else f":{reply}\r\n".encode()
        return b"+OK\r\n"


@pytest.fixture
def wire(raw: redis_py.Redis) -> Wire:
    return Wire(raw)


@pytest.fixture
def wired(wire: Wire, tmp_path: Path) -> Iterator[Client]:
    answer: Answer = wire
    with canned_server(tmp_path / "wire.sock", answer) as url:
        yield Client(url, middleware=Chain(), dialect=7)


@pytest.mark.row("C6")
def test_a_reply_that_got_lost_leaves_the_job_once_and_says_so(
    wired: Client, wire: Wire, raw: redis_py.Redis
) -> None:
    wire.cut_reply_of = "LPUSH"

    with pytest.raises(MaybeEnqueued, match="may be stored or not") as caught:
        wired.push({"class": "HardJob", "args": []})

    assert [job["jid"] for job in payloads(raw)] == caught.value.jids
    assert wire.seen.count("LPUSH") == 1


def test_a_bulk_push_cut_in_the_middle_names_all_jobs_that_may_be_stored(
    wired: Client, wire: Wire, raw: redis_py.Redis
) -> None:
    wire.cut_reply_of, wire.cut_from = "LPUSH", 1

    with pytest.raises(
        MaybeEnqueued, match="the first 10 of 30 jobs are stored, then: 10 jobs may be"
    ) as caught:
        wired.push_bulk({"class": "HardJob", "args": [[1]] * 30}, batch_size=10)

    assert [job["jid"] for job in payloads(raw)] == caught.value.jids
    assert len(caught.value.jids) == 20


@pytest.mark.parametrize("refusal", [b"-READONLY You can't write\r\n", b"-NOREPLICAS Not enough\r\n"])
def test_a_server_that_can_t_write_now_gets_a_second_try(
    wired: Client, wire: Wire, raw: redis_py.Redis, refusal: bytes
) -> None:
    wire.refusals = {"SADD": [refusal], "LPUSH": [refusal]}

    jid = wired.push({"class": "HardJob", "args": []})

    assert [job["jid"] for job in payloads(raw)] == [jid]


def test_a_server_that_still_can_t_write_is_down(wired: Client, wire: Wire, raw: redis_py.Redis) -> None:
    refusal = b"-READONLY You can't write\r\n"
    wire.refusals = {"SADD": [refusal] * 2, "LPUSH": [refusal] * 2}

    with pytest.raises(RedisDown, match="READONLY") as caught:
        wired.push({"class": "HardJob", "args": []})

    assert not isinstance(caught.value, MaybeEnqueued)
    assert payloads(raw) == []


def test_a_push_of_which_only_a_part_was_done_says_so(wired: Client, wire: Wire, raw: redis_py.Redis) -> None:
    wire.refusals = {"SADD": [b"-OOM command not allowed\r\n"]}

    with pytest.raises(MaybeEnqueued, match="only a part of the push of job .* was done: OOM"):
        wired.push({"class": "HardJob", "args": []})

    assert len(payloads(raw)) == 1


def test_a_server_that_is_not_there_is_down_and_nothing_more(tmp_path: Path) -> None:
    client = Client(f"unix://{tmp_path}/nobody.sock", middleware=Chain())

    with pytest.raises(RedisDown) as caught:
        client.push({"class": "HardJob", "args": []})

    assert not isinstance(caught.value, MaybeEnqueued)


def test_a_key_of_the_wrong_type_is_an_error_and_nothing_is_stored(
    raw: redis_py.Redis, client: Client
) -> None:
    raw.set("queue:default", "a string")

    with pytest.raises(RedisError, match="WRONGTYPE"):
        client.push({"class": "HardJob", "args": []})


def test_who_may_not_look_at_processes_may_still_push(
    redis_url: str, raw: redis_py.Redis, client: Client
) -> None:
    raw.acl_setuser("pusher", enabled=True, nopass=True, keys=["*"], commands=["+sadd", "+lpush", "+select"])
    socket_path = redis_url.partition("://")[2].partition("?")[0]
    limited = Client(f"unix://pusher:x@{socket_path}", middleware=Chain())

    limited.push({"class": "HardJob", "args": []})

    assert isinstance(payloads(raw)[0]["created_at"], float)
    raw.acl_deluser("pusher")
