"""A queue: looking at it while others work on it, and taking jobs off it."""

from __future__ import annotations

import json

import pytest
import redis as redis_py

from sidekiq_py.api import DeadLimits, JobKilled, Queue, queue_summaries
from sidekiq_py.errors import RedisError
from sidekiq_py.redis_connection import RedisPool
from tests.helpers import StillClock, at_once, full

NOW = 1_795_490_000.25


def payload(jid: str, **fields: object) -> bytes:
    job = {"class": "HardJob", "args": [1.0], "jid": jid, "queue": "default", **fields}
    return json.dumps(job, separators=(",", ":")).encode()


def push(raw: redis_py.Redis, *jids: str, name: str = "default") -> None:
    """The first one runs first."""
    raw.sadd("queues", name)
    raw.lpush(f"queue:{name}", *map(payload, jids))


def waiting(raw: redis_py.Redis, name: str = "default") -> list[str]:
    """The jids on the queue, the newest first."""
    return [json.loads(text)["jid"] for text in raw.lrange(f"queue:{name}", 0, -1)]


@pytest.fixture
def queue(redis: RedisPool) -> Queue:
    return Queue("default", redis, clock=StillClock(NOW))


# -- looking -------------------------------------------------------------------------------------------


def test_all_queues_come_by_name(redis, raw):
    raw.sadd("queues", "low", "critical", "default")

    assert [queue.name for queue in Queue.all(redis)] == ["critical", "default", "low"]


def test_jobs_come_from_the_newest_to_the_one_that_runs_next(queue, raw):
    jids = [f"{number:03}" for number in range(250)]
    push(raw, *jids)

    assert [job.jid for job in queue] == jids[::-1]
    assert queue.size == 250


def test_a_job_knows_its_queue_whatever_its_payload_says(queue, raw):
    raw.lpush("queue:default", payload("a", queue="other"))

    [job] = queue

    assert (job.queue, job.job_class, job.args) == ("default", "HardJob", [1.0])


def test_jobs_pushed_during_the_walk_repeat_none(queue, raw):
    jids = [f"{number:03}" for number in range(250)]
    push(raw, *jids)

    seen = []
    for number, job in enumerate(queue):
        seen.append(job.jid)
        if number % 50 == 0:
            push(raw, f"new{number}")

    assert seen == jids[::-1]


@pytest.mark.parametrize("keep", [0, 3], ids=["all", "all but every third"])
def test_deleting_during_the_walk_hides_none_of_the_rest(queue, raw, keep):
    jids = [f"{number:03}" for number in range(350)]
    push(raw, *jids)

    seen = []
    for job in queue:
        seen.append(job.jid)
        if not keep or int(job.jid) % keep:
            assert job.delete()

    assert seen == jids[::-1]
    assert queue.size == (117 if keep else 0)


@pytest.mark.parametrize(
    ("newest_first", "start", "jids"),
    [
        (True, 0, ["e", "d"]),
        (True, 4, ["a"]),
        (True, 9, []),
        (False, 0, ["a", "b"]),
        (False, 4, ["e"]),
        (False, 9, []),
    ],
)
def test_a_page_begins_at_either_end(queue, raw, newest_first, start, jids):
    push(raw, *"abcde")

    page = queue.page(start, 2, newest_first=newest_first)

    assert [job.jid for job in page.jobs] == jids
    assert page.total == 5


def test_a_job_is_found_by_its_jid_and_not_by_its_mention(queue, raw):
    raw.lpush("queue:default", payload("a"), payload("b", args=["a"]), payload("c", parent_jid="a"))

    found = queue.find_job("a")

    assert found is not None
    assert found.raw == payload("a")
    assert queue.find_job("z") is None


def test_latency_is_how_long_the_next_job_has_waited(queue, raw):
    raw.lpush("queue:default", payload("first", enqueued_at=NOW - 7.5), payload("second", enqueued_at=NOW))

    assert queue.latency == 7.5


def test_latency_of_a_millisecond_timestamp_is_in_seconds_too(queue, raw):
    raw.lpush("queue:default", payload("a", enqueued_at=int((NOW - 7.5) * 1000)))

    assert queue.latency == pytest.approx(7.5)


@pytest.mark.parametrize("text", [None, b"not json", b'{"class":"A","args":[]}'])
def test_latency_is_0_where_nobody_can_tell(queue, raw, text):
    if text is not None:
        raw.lpush("queue:default", text)

    assert queue.latency == 0.0


def test_text_that_is_no_job_can_be_looked_at_and_deleted(queue, raw):
    raw.lpush("queue:default", b"{not json", b"\xff")

    assert [bool(job.problem) for job in queue] == [True, True]
    assert [job.delete() for job in queue] == [True, True]

    assert queue.size == 0


def test_a_key_that_is_no_list_is_an_error_that_names_the_type(queue, raw):
    raw.set("queue:default", "text")

    with pytest.raises(RedisError, match="WRONGTYPE"):
        list(queue)


# -- pausing -------------------------------------------------------------------------------------------


def test_pause_is_the_set_that_pro_reads(queue, raw):
    queue.pause()

    assert queue.paused
    assert raw.smembers("paused") == {b"default"}


def test_unpause_leaves_other_queues_paused(queue, raw):
    raw.sadd("paused", "default", "low")

    queue.unpause()

    assert not queue.paused
    assert raw.smembers("paused") == {b"low"}


# -- taking jobs off -----------------------------------------------------------------------------------


def test_delete_takes_exactly_the_job_and_says_so_once(queue, raw):
    push(raw, "a", "b", "c")
    job = queue.find_job("b")

    assert [job.delete(), job.delete()] == [True, False]

    assert waiting(raw) == ["c", "a"]


def test_kill_moves_the_same_bytes_to_the_dead_set_at_the_present(queue, raw):
    push(raw, "a", "b")

    assert queue.find_job("a").kill()

    assert raw.zrange("dead", 0, -1, withscores=True) == [(payload("a"), NOW)]
    assert waiting(raw) == ["b"]


def test_kill_of_a_job_that_was_fetched_meanwhile_buries_nothing(queue, raw):
    push(raw, "a")
    job = queue.find_job("a")
    raw.rpop("queue:default")
    told = []

    assert not job.kill([lambda *given: told.append(given)])

    assert raw.exists("dead") == 0
    assert told == []


def test_kill_tells_the_death_handlers_and_trims_the_dead_set(redis, raw):
    queue = Queue("default", redis, clock=StillClock(NOW), dead_limits=DeadLimits(max_jobs=2))
    raw.zadd("dead", {"old1": NOW - 2, "old2": NOW - 1})
    push(raw, "a")
    told = []

    queue.find_job("a").kill([lambda job, error: told.append((job["jid"], type(error)))])

    assert told == [("a", JobKilled)]
    assert raw.zrange("dead", 0, -1) == [payload("a")]


def test_clear_deletes_the_jobs_and_the_name_and_says_how_many(queue, raw):
    push(raw, "a", "b")
    push(raw, "c", name="low")

    assert queue.clear() == 2

    assert raw.smembers("queues") == {b"low"}
    assert queue.size == 0
    assert waiting(raw, "low") == ["c"]


def test_a_page_is_shown_and_clear_works_when_redis_is_full(queue, raw):
    push(raw, "a", "b")
    with full(raw):
        assert queue.page(0, 1).total == 2
        assert queue.clear() == 2

    assert not raw.exists("queue:default", "queues")


def test_many_that_kill_and_delete_at_once_lose_and_double_nothing(redis, raw):
    jids = [f"{number:03}" for number in range(200)]
    push(raw, *jids)

    def kill() -> list[str]:
        return [job.jid for job in Queue("default", redis) if job.kill()]

    def delete() -> list[str]:
        return [job.jid for job in Queue("default", redis) if job.delete()]

    killed1, deleted1, killed2, deleted2 = at_once(kill, delete, kill, delete)

    dead = [json.loads(text)["jid"] for text in raw.zrange("dead", 0, -1)]
    assert sorted(dead) == sorted(killed1 + killed2)
    assert sorted(dead + deleted1 + deleted2 + waiting(raw)) == jids


# -- all queues at once --------------------------------------------------------------------------------


def test_summaries_tell_each_queue_by_name(redis, raw):
    push(raw, "a", "b", name="low")
    raw.sadd("queues", "empty")
    raw.lpush("queue:critical", payload("c", enqueued_at=NOW - 3))
    raw.sadd("queues", "critical")
    raw.sadd("paused", "low", "elsewhere")

    found = queue_summaries(redis, clock=StillClock(NOW))

    assert [(each.name, each.size, each.latency, each.paused) for each in found] == [
        ("critical", 1, 3.0, False),
        ("empty", 0, 0.0, False),
        ("low", 2, 0.0, True),
    ]


def test_there_are_no_summaries_without_queues(redis):
    assert queue_summaries(redis) == []


def test_a_queue_whose_key_is_no_list_is_summed_up_as_empty(redis, raw):
    raw.sadd("queues", "odd")
    raw.set("queue:odd", "text")

    [odd] = queue_summaries(redis)

    assert (odd.size, odd.latency) == (0, 0.0)
