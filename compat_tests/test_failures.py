"""A job that fails, on either side: recorded alike, retried on from the other side, buried alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import pytest
from redis import Redis

from compat_tests import HANDLERS
from compat_tests.ruby import Ruby
from sidekiq_py.dialect import Dialect
from tests.helpers import eventually
from tests.server_process import ServerProcess

SidekiqPy: TypeAlias = Callable[..., ServerProcess]

SETS = ("retry", "dead")
TIMES = ("created_at", "enqueued_at", "failed_at", "retried_at")
LONG_AGO = 1_700_000_000.25  # epoch seconds
FIRST_FAILURE = {"error_message": "x", "error_class": "X", "failed_at": LONG_AGO, "retry_count": 0}

# Payload keys of a job that is about to fail. The last one must be stored: it tells that all have run.
FAILING: dict[str, dict[str, Any]] = {
    "retry false": {"retry": False},
    "dead false": {"retry": 0, "dead": False},
    "retry true": {},
    "retry null": {"retry": None},
    "retry a string": {"retry": "3"},
    "retry a float": {"retry": 2.0},
    "a number of retries": {"retry": 3, "tags": ["x"]},
    "no retries": {"retry": 0},
    "less than none": {"retry": -1},
    "backtrace": {"backtrace": True},
    "some of the backtrace": {"backtrace": 1},
    "no backtrace": {"backtrace": False},
    "retry_queue": {"retry_queue": "low"},
    "own keys": {"custom": {"é": [1.5, None]}, "bid": "b1", "retry": 2},
    "second failure": {**FIRST_FAILURE, "retry": 5},
    "third failure": {**FIRST_FAILURE, "retry_count": 1, "retried_at": LONG_AGO + 1},
    "after retry now": {**FIRST_FAILURE, "retry_count": -1},
    "last failure": {**FIRST_FAILURE, "retry": 2, "retry_count": 1},
    "last of 25": {**FIRST_FAILURE, "retry_count": 24},
    "revived from the dead": {**FIRST_FAILURE, "retry_count": 25},
    "unknown class": {"class": "NobodyKnowsIt"},
    "time enough to retry": {"retry_for": 3600},
}
SINCE_7: dict[str, dict[str, Any]] = {
    "no time to retry": {"retry_for": 0},
    "time is over": {**FIRST_FAILURE, "retry_for": 60},
}
SINCE_8: dict[str, dict[str, Any]] = {"time counts, not retries": {"retry": 0, "retry_for": 3600}}

LOUD_IN_RUBY = """
class LoudJob
  include Sidekiq::Worker

  def perform
    raise "é😀\\n<\\u2028" * 4_000
  end
end
"""
LOUD_IN_PYTHON = """
from sidekiq_py import job

@job("LoudJob")
def loud_job():
    raise RuntimeError("é😀\\n<\\u2028" * 4_000)
"""

NO_JSON = [
    b'{"class": oops who',
    b"who",
    b'{"class":"HardJob","args":["who"],}',
    b'{"class":"HardJob","args":["who \n"]}',
    b'{"class":"HardJob","args":["who",NaN]}',
]
# JSON that is no job, and bytes that are no text: Ruby drops them, or loses them when they fail.
NO_JOBS = [
    b"[1]",
    b'"x"',
    b"null",
    b"7",
    b"",
    b'{"args":[],"jid":"j1"}',
    b'{"class":1,"args":[],"jid":"j2"}',
    b'{"class":"HardJob","args":{},"jid":"j3"}',
    b'{"class":"HardJob","args":["\xff"],"jid":"j4"}',
    b'{"class":"HardJob","jid":"j5","args":' + b"[" * 2000 + b"]" * 2000 + b"}",
]


def failing(ruby: Ruby) -> dict[str, dict[str, Any]]:
    """The failures that this generation and we treat alike, with times as it writes them."""
    jobs = {**(SINCE_8 if ruby.major >= 8 else {}), **(SINCE_7 if ruby.major >= 7 else {}), **FAILING}
    return {name: {key: told(ruby, key, value) for key, value in job.items()} for name, job in jobs.items()}


def told(ruby: Ruby, key: str, value: Any) -> Any:
    return Dialect(ruby.major).timestamp(value) if key in TIMES else value


def where_it_is(ruby: Ruby, jid: str) -> tuple[str, dict[str, Any]] | None:
    """The set that the job is in, and the entry as Ruby reads it."""
    for name in SETS:
        if entry := ruby.call("find_job", name, jid):
            return name, entry
    return None


def pushed(ruby: Ruby, queue: str) -> dict[str, str]:
    """One job for each kind of failure, into this queue; their jids."""
    return {
        name: ruby.push(str(job.pop("class", "PlainBoom")), name, queue=queue, **job)
        for name, job in failing(ruby).items()
    }


def recorded(ruby: Ruby, jids: dict[str, str]) -> dict[str, Any]:
    """What became of each job: the set it is in, its delay, and all its fields, times by their types."""
    eventually(lambda: where_it_is(ruby, list(jids.values())[-1]), 30, every=0.05)
    found = {name: where_it_is(ruby, jid) for name, jid in jids.items()}
    return {name: place and (place[0], described(*place)) for name, place in found.items()}


def described(set_name: str, entry: dict[str, Any]) -> dict[str, Any]:
    item = dict(entry["item"])
    failed_at = item.get("retried_at", item["failed_at"])
    delay = entry["score"] - (failed_at if isinstance(failed_at, float) else failed_at / 1000)
    count = max(item["retry_count"], 0)
    least = count**4 + 15 if set_name == "retry" else 0
    assert least - 0.01 <= delay <= least + 10 * (count + 1) + 5
    item["jid"] = item["queue"] = "as given"
    item["error_message"] = item["error_message"].partition("\n")[0]  # Ruby 3.1 goes on with source code
    for name in TIMES:
        if name in item and item[name] not in (LONG_AGO, int(LONG_AGO * 1000)):
            item[name] = type(item[name]).__name__
    if "error_backtrace" in item:
        item["error_backtrace"] = "some lines" if entry["error_backtrace"] else "none"
    return {"keys": list(item), **item}


def test_failures_are_recorded_as_ruby_records_them(ruby: Ruby, sidekiq_py: SidekiqPy) -> None:
    ruby.server(queues=["ruby"], concurrency=1)
    sidekiq_py(HANDLERS, "-q", "python", "-c", "1")

    theirs, ours = pushed(ruby, "ruby"), pushed(ruby, "python")

    assert recorded(ruby, ours) == recorded(ruby, theirs)


def test_a_message_is_cut_where_ruby_cuts_it(ruby: Ruby, sidekiq_py: SidekiqPy) -> None:
    file = ruby.write("loud.rb", LOUD_IN_RUBY)
    ruby.server(queues=["ruby"], require=file)
    sidekiq_py(LOUD_IN_PYTHON, "-q", "python")

    jids = [ruby.push("LoudJob", queue=queue) for queue in ("ruby", "python")]

    theirs, ours = (eventually(partial(where_it_is, ruby, jid), 30, every=0.05) for jid in jids)
    assert ours[1]["item"]["error_message"] == theirs[1]["item"]["error_message"]


@pytest.mark.parametrize("first", ["ruby", "python"])
def test_retries_go_on_counting_across_languages(
    ruby: Ruby, raw: Redis, sidekiq_py: SidekiqPy, first: str
) -> None:
    options = {"retry": 3, "queue": "ruby", "retry_queue": "low", "backtrace": True, "dead": True}
    servers = {
        "ruby": lambda: ruby.server(queues=["low", "ruby"]),
        "python": lambda: sidekiq_py(HANDLERS, "-q", "low", "-q", "ruby"),
    }
    second = next(name for name in servers if name != first)
    jid = ruby.perform_async("PlainBoom", "é", **options)
    failed_at = None

    for count, side in enumerate([first, second, first, second]):
        server = servers[side]()
        set_name, entry = eventually(partial(failed, ruby, jid, count), 30, every=0.05)
        server.kill()
        # Redis may not know yet that it is gone, and would give it the next job.
        eventually(lambda: raw.info("clients")["blocked_clients"] == 0, 30)
        item = entry["item"]
        assert set_name == ("dead" if count == 3 else "retry")
        assert (item["queue"], item["args"], item["error_message"]) == ("low", ["é"], "plain boom")
        assert item["failed_at"] == (failed_at or item["failed_at"])
        assert any(("jobs.rb" if side == "ruby" else ".py") in line for line in entry["error_backtrace"])
        failed_at = item["failed_at"]
        if set_name == "retry":
            ruby.entry_action("retry", jid, "add_to_queue")

    assert [told["jid"] for told in ruby.ran()] == [jid] * 4


def failed(ruby: Ruby, jid: str, count: int) -> tuple[str, dict[str, Any]] | None:
    """Where the job is after its failure number `count`, from 0; None while that is still to come."""
    place = where_it_is(ruby, jid)
    return place if place and place[1]["item"]["retry_count"] == count else None


@pytest.mark.row("E1")
def test_text_that_is_no_json_is_buried_byte_for_byte_as_ruby_does(
    ruby: Ruby, raw: Redis, sidekiq_py: SidekiqPy
) -> None:
    ruby.server(queues=["ruby"], concurrency=1)
    sidekiq_py(HANDLERS, "-q", "python", "-c", "1")
    for queue in ("ruby", "python"):
        raw.lpush(f"queue:{queue}", *(text.replace(b"who", queue.encode()) for text in NO_JSON))

    buried = eventually(lambda: len(found := raw.zrange("dead", 0, -1)) == 2 * len(NO_JSON) and found, 30)

    theirs = {text for text in buried if b"ruby" in text}
    ours = {text.replace(b"python", b"ruby") for text in buried if b"python" in text}
    assert ours == theirs
    assert len(ruby.entries("dead")) == len(buried)
    assert ruby.get("/morgue").status == 200


def test_what_ruby_would_lose_lies_in_the_dead_set_where_its_pages_show_it(
    ruby: Ruby, raw: Redis, sidekiq_py: SidekiqPy
) -> None:
    raw.lpush("queue:default", *NO_JOBS)
    sidekiq_py(HANDLERS, "-c", "1")

    eventually(lambda: ruby.call("set_size", "dead") == len(NO_JOBS), 30)

    page = ruby.get("/morgue")
    assert page.status == 200
    assert page.body.count("InvalidPayload") >= len(NO_JOBS) - 3  # the others are no JSON, and shown raw
    assert raw.llen("queue:default") == 0


@pytest.mark.row("F6")
def test_the_dead_set_is_trimmed_to_what_ruby_keeps(ruby: Ruby, raw: Redis, sidekiq_py: SidekiqPy) -> None:
    limits = {"dead_max_jobs": 6, "dead_timeout_in_seconds": 1000}
    now = float(ruby.eval("Time.now.to_f"))
    old = {f'{{"jid":"old {age}"}}': now - age for age in (10, 20, 30, 40, 50, 60, 1500, 2000)}

    def left_after_a_death(queue: str) -> list[str]:
        raw.zadd("dead", old)
        jid = ruby.push("ZeroJob", queue=queue, retry=0)
        eventually(lambda: ruby.call("find_job", "dead", jid), 30)
        left = [json.loads(text)["jid"] for text in raw.zrange("dead", 0, -1)]
        raw.delete("dead")
        return ["new" if each == jid else each for each in left]

    ruby.server(queues=["ruby"], more=limits)
    environ = {f"SIDEKIQ_{name.upper()}": str(value) for name, value in limits.items()}
    sidekiq_py(HANDLERS, "-q", "python", environ=environ)

    assert left_after_a_death("python") == left_after_a_death("ruby")
