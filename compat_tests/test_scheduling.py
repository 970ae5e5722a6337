"""Jobs for later and jobs to be retried: both schedulers move both sides' entries, each exactly once."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import pytest
from redis import Redis

from compat_tests import HANDLERS
from compat_tests.eager import EAGER, eager_server
from compat_tests.ruby import Ruby
from sidekiq_py import Client
from tests.helpers import eventually
from tests.server_process import ServerProcess

SidekiqPy: TypeAlias = Callable[..., ServerProcess]

FAR_OFF = 4_000_000_000.5  # epoch seconds
LONG_AGO = 1.5

# Texts in which two JSON libraries may differ; `reschedule` in Ruby parses and writes them anew.
DELICATE_ARGS: list[Any] = [
    'é 日本 😀 \u2028 \x01\x1f\x7f / < " \\ \t\n',
    {"b": {"ü": [None, True]}, "a": []},
    [0.1, -0.0, 1e20, 1.5e300, 1e16, 1e15, 1e-4, 1e-5, 123456789012.5, 100.0],
    [2**70, -1, 0],
]


# As other programs write JSON: what is stored again must not be theirs but Ruby's spelling.
FOREIGN_ARGS: list[bytes] = [
    b'[ "\\u00e9 \\/ \\u001F" ,\t1.50, 1E2, {"a" : null} ]',
    b"[1e20, 1.0e20, 100000000000000000000.0, 1e-5, 0.00001, 1.0e-05, -0.0, 1e16, 10000000000000000.0]",
    b'["\\ud83d\\ude00", "\\b\\f\\n\\r\\t\\"\\\\", "\xc3\xa9"]',
]

# Fields on which Ruby's client raises or its pages do, and bytes that its parser refuses. Its scheduler takes
# an entry out before it finds out, and loses it.
CHOKING: dict[str, bytes] = {
    "tags a string": b'"tags":"x"',
    "tags an object": b'"tags":{"a":1}',
    "at": b'"at":1.5',
    "at a string": b'"at":"tomorrow"',
    "retry_for a string": b'"retry_for":"x"',
    "retry_for a moment": b'"retry_for":1800000000',
    "retry_queue a number": b'"retry_queue":7',
    "queue null": b'"queue":null',
    "created_at text": b'"created_at":"2026-01-01T00:00:00Z"',
    "failed_at text": b'"failed_at":"x","retry_count":1',
    "retry_count text": b'"retry_count":"x"',
    "a key twice": b'"x":1,"x":2',
    "too large": b'"x":1e400',
    "too deep": b'"x":' + b"[" * 120 + b"]" * 120,
    "half a surrogate": b'"x":"\\ud800"',
    "no UTF-8": b'"x":"\xff"',
}


def schedule(ruby: Ruby, over: float, count: int) -> dict[str, float]:
    """Jobs of both sides for a queue nobody serves, due in turn over so many seconds: jid → due."""
    ours = Client(url=ruby.redis_url, dialect=ruby.major)
    pushes = [ours.push, partial(ruby.call, "push")]
    now = time.time()
    due = [now + over * number / count for number in range(count)]
    items = [{"class": "HardJob", "args": [], "queue": "nobody", "at": at} for at in due]
    return {str(pushes[number % 2](item)): due[number] for number, item in enumerate(items)}


def queued(raw: Redis, queue: str) -> list[dict[str, Any]]:
    """The queue's jobs in the order they will run."""
    return [json.loads(text) for text in reversed(raw.lrange(f"queue:{queue}", 0, -1))]


def seconds(timestamp: float) -> float:
    return timestamp if isinstance(timestamp, float) else timestamp / 1000


@pytest.mark.row("F2")
@pytest.mark.parametrize("poller", ["ruby", "python", "both"])
def test_every_due_job_is_moved_once_and_not_before_its_time(
    ruby: Ruby, raw: Redis, sidekiq_py: SidekiqPy, poller: str
) -> None:
    if poller != "python":
        eager_server(ruby, queues=["other"])
    if poller != "ruby":
        sidekiq_py(HANDLERS, "-q", "other")

    due = schedule(ruby, 1.0, 300)

    eventually(lambda: raw.zcard("schedule") == 0 and raw.llen("queue:nobody") >= len(due), 30)
    moved = queued(raw, "nobody")
    assert sorted(job["jid"] for job in moved) == sorted(due)
    assert all(-0.01 < seconds(job["enqueued_at"]) - due[job["jid"]] < 5 for job in moved)
    assert raw.smembers("queues") == {b"nobody"}


SIGNED = """
require_relative "eager"

class SignsWhatItMoves
  include Sidekiq::ClientMiddleware if defined?(Sidekiq::ClientMiddleware)

  def call(_class, job, _queue, _redis)
    job["moved_by"] = "ruby"
    yield
  end
end

Sidekiq.configure_server { |config| config.client_middleware { |chain| chain.add SignsWhatItMoves } }
"""


@pytest.mark.row("F2")
@pytest.mark.parametrize("count", [2_000, pytest.param(10_000, marks=pytest.mark.soak)])
def test_ten_pollers_of_ours_and_one_of_rubys_move_a_multitude_once_each_and_each_runs_once(
    ruby: Ruby, raw: Redis, sidekiq_py: SidekiqPy, count: int
) -> None:
    ruby.write("eager.rb", EAGER)
    ruby.server(poll_interval=0.1, require=ruby.write("signed.rb", SIGNED))
    sidekiq_py(HANDLERS, "-c", "2", "-p", "10", "-t", "5")
    eventually(lambda: raw.scard("processes") == 11, 30)
    movers: Counter[str] = Counter()
    jids: list[str] = []

    for _ in range(20):  # until each side got its hands on some
        jobs = [f"{len(jids) + number:024x}" for number in range(count)]
        jids += jobs
        due = time.time() + 0.5
        raw.zadd("retry", {plain_job(jid): due for jid in jobs[::2]})
        raw.zadd("schedule", {plain_job(jid): due for jid in jobs[1::2]})
        eventually(lambda: raw.zcard("schedule") == raw.zcard("retry") == 0, 60)
        eventually(lambda: raw.llen("queue:nobody") >= count, 30)
        moved = queued(raw, "nobody")
        assert sorted(job["jid"] for job in moved) == jobs
        movers.update(job.get("moved_by", "python") for job in moved)
        raw.rename("queue:nobody", "queue:default")
        eventually(lambda: raw.llen("queue:default") == 0, 60)
        if len(movers) == 2:
            break

    print(f"moved with Sidekiq {ruby.release}: {dict(movers)}")
    assert set(movers) == {"ruby", "python"}
    eventually(lambda: len(ruby.ran()) >= len(jids), 60, every=0.1)
    assert sorted(run["jid"] for run in ruby.ran()) == jids


def plain_job(jid: str) -> str:
    fields = {"retry": True, "queue": "nobody", "class": "HardJob", "args": [], "jid": jid, "created_at": 1.5}
    return json.dumps(fields)


@pytest.mark.parametrize("set_name", ["schedule", "retry"])
def test_a_promoted_job_is_spelt_as_ruby_spells_it(
    ruby: Ruby, raw: Redis, sidekiq_py: SidekiqPy, set_name: str
) -> None:
    failure = {"error_message": "é", "error_class": "E", "failed_at": LONG_AGO, "retry_count": 3}
    fields = {"queue": "nobody", "custom": {"é": [1, 2.5]}, **(failure if set_name == "retry" else {})}
    client = Client(url=ruby.redis_url, dialect=ruby.major)
    for args in DELICATE_ARGS:
        client.push({"class": "HardJob", "args": [args], "at": LONG_AGO, **fields})
    entries = dict(raw.zrange("schedule", 0, -1, withscores=True))
    raw.delete("schedule")

    def promoted() -> list[str]:
        raw.zadd(set_name, entries)
        eventually(lambda: raw.llen("queue:nobody") == len(entries), 30)
        texts = [text.decode() for text in raw.lrange("queue:nobody", 0, -1)]
        raw.delete("queue:nobody")
        return sorted(re.sub(r'("enqueued_at"):\d{10}(?:\d{3}|(\.)\d+)', r"\1:\2", text) for text in texts)

    theirs = eager_server(ruby, queues=["other"])
    by_ruby = promoted()
    theirs.kill()
    sidekiq_py(HANDLERS, "-q", "other")

    assert promoted() == by_ruby


ACTIONS = ["add_to_queue", "retry", "kill", "delete", "reschedule"]


@pytest.mark.parametrize("action", ACTIONS)
def test_what_ruby_does_to_our_scheduled_job_it_does_once(ruby: Ruby, raw: Redis, action: str) -> None:
    client = Client(url=ruby.redis_url, dialect=ruby.major)
    item = {"class": "HardJob", "args": DELICATE_ARGS, "queue": "nobody", "tags": ["é"], "x": 1e20}

    jid = client.push({**item, "at": FAR_OFF})

    acted_once(ruby, raw, "schedule", str(jid), action)


@pytest.mark.parametrize("action", ACTIONS)
def test_what_ruby_does_to_our_retries_it_does_once(
    ruby: Ruby, raw: Redis, sidekiq_py: SidekiqPy, action: str
) -> None:
    ruby.server(queues=["other"])
    sidekiq_py(HANDLERS, "-q", "python")
    envelope = (
        b'{"class": "PlainBoom", "retry_queue": "nobody","queue": "python", "jid": "foreign-%d", "args": %s}'
    )
    foreign = [envelope % each for each in enumerate(FOREIGN_ARGS)]
    raw.lpush("queue:python", *foreign)
    jids = [f"foreign-{number}" for number in range(len(foreign))]
    jids.append(ruby.push("PlainBoom", *DELICATE_ARGS, queue="python", retry_queue="nobody", backtrace=True))
    eventually(lambda: raw.zcard("retry") == len(jids), 30)

    for jid in jids:
        acted_once(ruby, raw, "retry", jid, action)


def acted_once(ruby: Ruby, raw: Redis, set_name: str, jid: str, action: str) -> None:
    """Let Ruby do it; the job must be in one place, the right one, and as it was before."""
    before = ruby.call("find_job", set_name, jid)
    size = raw.zcard(set_name)
    ruby.entry_action(set_name, jid, action, *([FAR_OFF + 60] if action == "reschedule" else []))

    if action == "reschedule":
        assert raw.zcard(set_name) == size
        after = ruby.call("find_job", set_name, jid)
        assert after["score"] == pytest.approx(FAR_OFF + 60, abs=0.001)
        assert after["value"] == before["value"]
        return
    assert raw.zcard(set_name) == size - 1
    places = [
        text for text in raw.lrange("queue:nobody", 0, -1) + raw.zrange("dead", 0, -1) if jid.encode() in text
    ]
    assert len(places) == (0 if action == "delete" else 1)
    for text in places:
        job = json.loads(text)
        assert (job["args"], job["jid"]) == (before["args"], jid)
        count = before["item"].get("retry_count")
        assert job.get("retry_count") == (count - 1 if action == "retry" and count is not None else count)


@pytest.mark.parametrize(("set_name", "job_class"), [("retry", "PlainBoom"), ("schedule", "NobodyKnowsIt")])
def test_ruby_finds_nothing_that_it_would_choke_on(
    ruby: Ruby, raw: Redis, sidekiq_py: SidekiqPy, set_name: str, job_class: str
) -> None:
    theirs = eager_server(ruby, queues=["other"])
    ours = sidekiq_py(HANDLERS, "-q", "python", "--unknown", "handback")
    envelope = b'{"class":"%s","args":[1],"jid":"choking-%d",%s}'
    for number, fields in enumerate(CHOKING.values()):
        raw.lpush("queue:python", envelope % (job_class.encode(), number, fields))
    eventually(lambda: sum(map(raw.zcard, ("schedule", "retry", "dead"))) == len(CHOKING), 30)
    ours.stop()

    raw.zadd(set_name, dict.fromkeys(raw.zrange(set_name, 0, -1), LONG_AGO), xx=True)

    eventually(lambda: raw.zcard(set_name) == 0, 30)
    kept = [*raw.lrange("queue:python", 0, -1), *raw.zrange("dead", 0, -1)]
    jids = sorted(int(re.findall(rb"choking-(\d+)", text)[0]) for text in kept)
    assert jids == list(range(len(CHOKING)))
    assert "ERROR" not in theirs.log
    assert raw.zcard("schedule") == 0
    assert [ruby.get(page).status for page in ("/queues", "/queues/python", "/morgue")] == [200] * 3


def test_we_move_or_bury_due_entries_that_ruby_would_lose(
    ruby: Ruby, raw: Redis, sidekiq_py: SidekiqPy
) -> None:
    envelope = b'{"class":"HardJob","args":[1],"jid":"choking-%d",%s}'
    entries = [envelope % each for each in enumerate(CHOKING.values())]
    no_jobs = [b'{"class": oops', b"[1]", b"null", b'{"class":"HardJob","args":{}}', b'{"args":[]}']
    raw.zadd("schedule", dict.fromkeys(entries + no_jobs, LONG_AGO))

    sidekiq_py(HANDLERS, "-q", "other")

    eventually(lambda: raw.zcard("schedule") == 0, 30)
    queues = [name.decode() for name in raw.smembers("queues")]
    assert sum(raw.llen(f"queue:{name}") for name in queues) + raw.zcard("dead") == len(entries + no_jobs)
    pages = ["/", "/queues", "/morgue", *(f"/queues/{name}" for name in queues)]
    assert {page: ruby.get(page).status for page in pages} == dict.fromkeys(pages, 200)
