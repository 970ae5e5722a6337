"""The scheduled, retry and dead sets: looking, and edits that neither lose nor double a job."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis as redis_py

from sidekiq_py.api import DeadLimits, DeadSet, JobKilled, JobSet, RetrySet, ScheduledSet
from sidekiq_py.errors import InvalidPayload, RedisError
from sidekiq_py.redis_connection import RedisPool
from tests.helpers import StillClock, at_once, full

NOW = 1_795_490_000.25


def payload(jid: str, **fields: Any) -> bytes:
    job = {"retry": True, "queue": "default", "class": "HardJob", "args": [1, 2.0, "é"], "jid": jid}
    return json.dumps({**job, **fields}, ensure_ascii=False, separators=(",", ":")).encode()


@pytest.fixture
def retries(redis: RedisPool) -> RetrySet:
    return RetrySet(redis, clock=StillClock(NOW))


def everything(raw: redis_py.Redis) -> list[str]:
    """The jids of all jobs wherever they are, sorted."""
    found = [json.loads(text)["jid"] for key in raw.keys("queue:*") for text in raw.lrange(key, 0, -1)]
    for name in ("retry", "schedule", "dead"):
        found += [json.loads(text)["jid"] for text in raw.zrange(name, 0, -1)]
    return sorted(found)


# -- looking -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "key"), [(ScheduledSet, "schedule"), (RetrySet, "retry"), (DeadSet, "dead")]
)
def test_each_set_reads_its_own_key(redis, raw, kind: type[JobSet], key):
    raw.zadd(key, {payload("a"): 12.5})

    job_set = kind(redis)

    assert job_set.size == 1
    [entry] = job_set
    assert (entry.jid, entry.score, entry.at) == ("a", 12.5, 12.5)


def test_entries_come_with_the_highest_score_first(retries, raw):
    raw.zadd("retry", {payload(f"{n:04}"): n for n in range(250)})

    jids = [entry.jid for entry in retries]

    assert jids == [f"{n:04}" for n in reversed(range(250))]


def test_entries_come_oldest_first_when_asked(retries, raw):
    raw.zadd("retry", {payload(f"{n:04}"): n for n in range(250)})

    jids = [entry.jid for entry in retries.entries(newest_first=False)]

    assert jids == [f"{n:04}" for n in range(250)]


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("scores", [lambda n: 7.25, lambda n: n, lambda n: n // 120], ids=str)
def test_deleting_entries_during_the_walk_hides_none_of_the_rest(retries, raw, scores, newest_first):
    raw.zadd("retry", {payload(f"{n:04}"): scores(n) for n in range(450)})

    jids = []
    for entry in retries.entries(newest_first=newest_first):
        jids.append(entry.jid)
        entry.delete()

    assert sorted(jids) == [f"{n:04}" for n in range(450)]
    assert retries.size == 0


def test_entries_that_arrive_during_the_walk_repeat_none(retries, raw):
    raw.zadd("retry", {payload(f"{n:04}"): n for n in range(300)})

    jids = []
    for position, entry in enumerate(retries):
        jids.append(entry.jid)
        raw.zadd("retry", {payload(f"new{position}"): 1000 + position})

    assert jids == [f"{n:04}" for n in reversed(range(300))]


def test_a_page_tells_its_entries_and_the_total(retries, raw):
    raw.zadd("retry", {payload(f"{n}"): n for n in range(9)})

    first = retries.page(0, 3)
    last = retries.page(0, 2, newest_first=True)

    assert ([entry.jid for entry in first.entries], first.total) == (["0", "1", "2"], 9)
    assert [entry.jid for entry in last.entries] == ["8", "7"]


def test_scan_finds_text_in_the_stored_json(retries, raw):
    raw.zadd("retry", {payload("a", tags=["red"]): 1, payload("b", tags=["blue"]): 2})

    assert [entry.jid for entry in retries.scan("blue")] == ["b"]


def test_scan_takes_special_characters_as_they_are_unless_there_is_a_star(retries, raw):
    raw.zadd("retry", {payload("a", args=["what?"]): 1, payload("b", args=["whatx"]): 2})

    assert [entry.jid for entry in retries.scan("what?")] == ["a"]
    assert sorted(entry.jid for entry in retries.scan('*"what?"*')) == ["a", "b"]


def test_a_job_is_found_by_its_jid_and_not_by_its_mention(retries, raw):
    raw.zadd("retry", {payload(f"{n}", args=["the one"]): n for n in range(500)})
    raw.zadd("retry", {payload("the one"): 3})

    found = retries.find_job("the one")

    assert found is not None
    assert (found.jid, found.score) == ("the one", 3.0)


@pytest.mark.parametrize("jid", ["nobody", "", "*", "a[bc]"])
def test_a_jid_that_is_not_there_is_not_found(retries, raw, jid):
    raw.zadd("retry", {payload("ab"): 1})

    assert retries.find_job(jid) is None


def test_the_page_key_of_a_web_url_names_an_entry(retries, raw):
    raw.zadd("retry", {payload("a"): 1795490877.0612571, payload("b"): 1795490877.0612571})

    entry = retries.fetch_page_key("1795490877.0612571-b")

    assert entry is not None
    assert (entry.jid, entry.page_key) == ("b", "1795490877.0612571-b")


def test_a_whole_score_keeps_its_point_in_the_page_key(retries, raw):
    raw.zadd("retry", {payload("a"): 1795490877})

    [entry] = retries

    assert entry.page_key == "1795490877.0-a"


@pytest.mark.parametrize("page_key", ["", "-", "x-a", "12.5", "nan-a", "12.5-other", "1e5-a"])
def test_a_page_key_that_names_nothing_finds_nothing(retries, raw, page_key):
    raw.zadd("retry", {payload("a"): 12.5})

    assert retries.fetch_page_key(page_key) is None


def test_entries_that_are_no_jobs_can_be_looked_at_and_deleted(retries, raw):
    raw.zadd("retry", {b"{oops": 1, b"null": 2, b"\xff": 3})

    entries = list(retries)

    assert [entry.jid for entry in entries] == ["", "", ""]
    assert all(entry.problem for entry in entries)
    assert all(entry.delete() for entry in entries)


# -- back to the queue ---------------------------------------------------------------------------------


def test_retry_puts_the_job_on_its_queue_with_one_retry_less(retries, raw):
    raw.zadd("retry", {payload("a", queue="low", retry_count=3, created_at=NOW - 9, failed_at=NOW - 5): 99})

    [entry] = retries
    moved = entry.retry()

    assert moved
    assert raw.zcard("retry") == 0
    assert raw.smembers("queues") == {b"low"}
    [stored] = raw.lrange("queue:low", 0, -1)
    assert stored == payload(
        "a", queue="low", retry_count=2, created_at=NOW - 9, failed_at=NOW - 5, enqueued_at=NOW
    )


def test_retry_of_a_first_failure_writes_minus_one_as_ruby_does(retries, raw):
    raw.zadd("retry", {payload("a", retry_count=0, created_at=1.5): 99})

    [entry] = retries
    entry.retry()

    assert json.loads(raw.lindex("queue:default", 0))["retry_count"] == -1


def test_retry_of_a_job_that_never_failed_adds_no_count(redis, raw):
    raw.zadd("schedule", {payload("a", created_at=1.5): 99})

    [entry] = ScheduledSet(redis, clock=StillClock(NOW))
    entry.retry()

    assert raw.lrange("queue:default", 0, -1) == [payload("a", created_at=1.5, enqueued_at=NOW)]


def test_add_to_queue_leaves_the_count_alone(retries, raw):
    raw.zadd("retry", {payload("a", retry_count=3, created_at=1.5): 99})

    [entry] = retries
    entry.add_to_queue()

    assert json.loads(raw.lindex("queue:default", 0))["retry_count"] == 3


def test_enqueued_at_follows_the_style_of_the_job_itself(retries, raw):
    raw.zadd("retry", {payload("ms", created_at=1_795_489_000_000): 1, payload("s", created_at=1.5): 2})

    retries.retry_all()

    times = {job["jid"]: job["enqueued_at"] for job in map(json.loads, raw.lrange("queue:default", 0, -1))}
    assert times == {"ms": 1_795_490_000_250, "s": NOW}
    assert isinstance(times["ms"], int)


def test_bytes_that_the_edit_does_not_concern_stay_as_they_are(retries, raw):
    odd = (
        b'{"jid":"a","x":1.50,"class":"A","args":[1e400, 12345678901234567890123,"\\u00e9"],'
        b'"queue":"q","retry":0,"created_at":1.0}'
    )
    raw.zadd("retry", {odd: 1})

    [entry] = retries
    entry.retry()

    assert raw.lindex("queue:q", 0) == odd[:-1] + f',"enqueued_at":{NOW}}}'.encode()


def test_a_job_without_queue_goes_to_the_default_queue(retries, raw):
    raw.zadd("retry", {b'{"class":"A","args":[],"jid":"a","queue":null}': 1})

    [entry] = retries
    entry.retry()

    stored = json.loads(raw.lindex("queue:default", 0))
    assert (stored["queue"], stored["retry"], stored["created_at"]) == ("default", True, NOW)


def test_what_ruby_would_choke_on_is_mended_on_the_way(retries, raw):
    raw.zadd("retry", {payload("a", tags="red", at=12, created_at="2026-11-24T03:13:10Z"): 1})

    [entry] = retries
    entry.retry()

    stored = json.loads(raw.lindex("queue:default", 0))
    assert stored["tags"] == ["red"]
    assert "at" not in stored
    assert isinstance(stored["created_at"], float)


@pytest.mark.parametrize("raw_entry", [b"{oops", b"null", b'{"args":[]}', b'{"class":"A","args":7}', b"\xff"])
def test_bytes_that_no_server_could_run_are_refused_and_stay(retries, raw, raw_entry):
    raw.zadd("retry", {raw_entry: 1})

    [entry] = retries
    with pytest.raises(InvalidPayload):
        entry.retry()

    assert raw.zcard("retry") == 1


def test_retry_of_an_entry_that_has_gone_says_so_and_pushes_nothing(retries, raw):
    raw.zadd("retry", {payload("a"): 1})
    [entry] = retries
    raw.delete("retry")

    moved = entry.retry()

    assert not moved
    assert raw.keys("*") == []


def test_retry_all_moves_the_oldest_first_so_that_it_runs_first(retries, raw):
    raw.zadd("retry", {payload(f"{n:04}"): n for n in range(1200)})

    moved = retries.retry_all()

    assert moved == 1200
    assert retries.size == 0
    stored = [json.loads(text)["jid"] for text in raw.lrange("queue:default", 0, -1)]
    assert stored == [f"{n:04}" for n in reversed(range(1200))]


def test_retry_all_leaves_what_no_server_could_run(retries, raw):
    raw.zadd("retry", {b"{oops": 0, **{payload(f"{n}"): n for n in range(1, 4)}})

    moved = retries.retry_all()

    assert moved == 3
    assert raw.zrange("retry", 0, -1) == [b"{oops"]


def test_retry_all_of_a_filtered_set_touches_nothing_else(retries, raw):
    raw.zadd("retry", {payload(f"{n}", tags=["evil" if n % 3 == 0 else "good"]): n for n in range(900)})

    moved = retries.retry_all(retries.scan('"evil"'))

    assert moved == 300
    assert all(entry.tags == ["good"] for entry in retries)
    assert len(everything(raw)) == 900


def test_any_choice_of_entries_can_be_retried(retries, raw):
    raw.zadd("retry", {payload(f"{n}", error_class="A" if n < 2 else "B"): n for n in range(5)})

    moved = retries.add_all_to_queue(entry for entry in retries if entry.error_class == "A")

    assert moved == 2
    assert retries.size == 3


def test_jobs_whose_queue_key_is_no_list_stay_in_the_set(retries, raw):
    raw.set("queue:broken", "x")
    raw.zadd("retry", {payload("a", queue="broken"): 1, payload("b"): 2})

    moved = retries.retry_all()

    assert moved == 1
    assert [entry.jid for entry in retries] == ["a"]


# -- kill, delete, reschedule --------------------------------------------------------------------------


def test_kill_moves_the_same_bytes_to_the_dead_set_at_the_present(retries, raw):
    raw.zadd("retry", {payload("a"): 99})

    [entry] = retries
    moved = entry.kill()

    assert moved
    assert raw.zcard("retry") == 0
    assert raw.zrange("dead", 0, -1, withscores=True) == [(payload("a"), NOW)]


def test_kill_tells_every_death_handler_of_the_job_once_it_is_buried(retries, raw):
    raw.zadd("retry", {payload("a"): 99})
    heard = []

    def broken(job: object, error: BaseException) -> None:
        raise ValueError("no")

    def attentive(job: Any, error: BaseException) -> None:
        heard.append((job["jid"], type(error), raw.zcard("dead")))

    [entry] = retries
    entry.kill(death_handlers=[broken, attentive])

    assert heard == [("a", JobKilled, 1)]


def test_death_handlers_hear_only_of_jobs_that_this_call_killed(retries, raw):
    raw.zadd("retry", {payload(f"{n}"): n for n in range(5)})
    entries = list(retries)
    raw.zrem("retry", payload("3"), payload("1"))
    heard = []

    killed = retries.kill_all(entries, death_handlers=[lambda job, error: heard.append(job["jid"])])

    assert killed == 3
    assert sorted(heard) == ["0", "2", "4"]


def test_killed_json_that_is_no_job_gets_a_shell_that_ruby_can_show(retries, raw):
    raw.zadd("retry", {b"[1]": 1, b"{oops": 2})

    killed = retries.kill_all()

    assert killed == 2
    members = raw.zrange("dead", 0, -1)
    assert b"{oops" in members
    shells = [json.loads(member) for member in members if member != b"{oops"]
    assert shells[0]["args"] == ["[1]"]


def test_the_dead_set_is_trimmed_by_count_with_rubys_off_by_one(redis, raw):
    retries = RetrySet(redis, dead_limits=DeadLimits(max_jobs=3), clock=StillClock(NOW))
    raw.zadd("dead", {payload(f"old{n}"): NOW - 10 + n for n in range(5)})
    raw.zadd("retry", {payload("a"): 1})

    retries.kill_all()

    assert [entry.jid for entry in DeadSet(redis)] == ["a", "old4"]


def test_the_dead_set_keeps_9999_of_10050_jobs(redis, raw):
    raw.zadd("retry", {payload(f"{n:05}"): n for n in range(10_050)})

    killed = RetrySet(redis).kill_all()

    assert killed == 10_050
    assert raw.zcard("dead") == 9_999


def test_the_dead_set_is_trimmed_by_age(redis, raw):
    half_a_year = 180 * 24 * 60 * 60
    raw.zadd("dead", {payload("too old"): NOW - half_a_year - 1, payload("old"): NOW - half_a_year + 1})
    raw.zadd("retry", {payload("a"): 1})

    RetrySet(redis, clock=StillClock(NOW)).kill_all()

    assert [entry.jid for entry in DeadSet(redis)] == ["a", "old"]


def test_a_dead_set_of_another_type_costs_no_job(retries, raw):
    raw.set("dead", "x")
    raw.zadd("retry", {payload("a"): 1})

    with pytest.raises(RedisError, match="WRONGTYPE"):
        retries.kill_all()

    assert raw.zcard("retry") == 1


def test_delete_takes_exactly_one_entry(retries, raw):
    raw.zadd("retry", {payload("a"): 1, payload("b"): 1})

    entry = retries.find_job("a")

    assert entry is not None
    assert entry.delete()
    assert not entry.delete()
    assert [entry.jid for entry in retries] == ["b"]


def test_delete_all_takes_what_it_is_given(retries, raw):
    raw.zadd("retry", {payload(f"{n}"): n for n in range(1500)})

    deleted = retries.delete_all(entry for entry in retries if int(entry.jid) % 2)

    assert deleted == 750
    assert retries.size == 750


def test_clear_deletes_the_set_and_says_how_many(retries, raw):
    raw.zadd("retry", {payload("a"): 1, payload("b"): 1})

    assert retries.clear() == 2
    assert raw.exists("retry") == 0


def test_a_page_is_shown_and_clear_works_when_redis_is_full(retries, raw):
    raw.zadd("retry", {payload("a"): 1, payload("b"): 1})
    with full(raw):
        assert retries.page(0, 1).total == 2
        assert retries.clear() == 2

    assert raw.exists("retry") == 0


@pytest.mark.parametrize(
    "verb",
    [
        lambda entry: entry.delete(),
        lambda entry: entry.retry(),
        lambda entry: entry.add_to_queue(),
        lambda entry: entry.kill(),
        lambda entry: entry.reschedule(9999),
    ],
    ids=["delete", "retry", "add_to_queue", "kill", "reschedule"],
)
def test_long_sets_are_walked_and_edited_when_redis_is_full(retries, raw, verb):
    raw.zadd("retry", {payload(f"{n:04}"): n for n in range(250)})

    with full(raw):
        jids = [entry.jid for entry in retries if verb(entry)]

    assert jids == [f"{n:04}" for n in reversed(range(250))]


def test_members_of_one_score_are_walked_in_the_order_of_their_bytes(retries, raw):
    members = sorted(bytes([first, second]) for first in (0, 65, 97, 127, 128, 255) for second in range(50))
    raw.zadd("retry", dict.fromkeys(members, 7.25))

    walked = []
    for entry in retries.entries(newest_first=False):
        walked.append(entry.raw)
        raw.zrem("retry", entry.raw)

    assert walked == members


def test_reschedule_changes_the_time_and_not_a_byte(retries, raw):
    spaced = b'{ "class": "A", "args": [], "jid": "a" }'
    raw.zadd("retry", {spaced: 1})

    [entry] = retries
    moved = entry.reschedule(NOW + 60)

    assert moved
    assert raw.zrange("retry", 0, -1, withscores=True) == [(spaced, NOW + 60)]


def test_reschedule_to_the_same_time_finds_the_entry_too(retries, raw):
    raw.zadd("retry", {payload("a"): 5})

    [entry] = retries

    assert entry.reschedule(5)


def test_reschedule_never_brings_back_an_entry_that_has_gone(retries, raw):
    raw.zadd("retry", {payload("a"): 1})
    [entry] = retries
    raw.delete("retry")

    assert not entry.reschedule(NOW)
    assert raw.exists("retry") == 0


@pytest.mark.parametrize("at", [float("nan"), float("inf")])
def test_reschedule_refuses_times_that_are_none(retries, raw, at):
    raw.zadd("retry", {payload("a"): 1})
    [entry] = retries

    with pytest.raises(ValueError, match="epoch seconds"):
        entry.reschedule(at)


# -- many at once --------------------------------------------------------------------------------------


def test_many_that_retry_kill_and_delete_at_once_lose_and_double_nothing(redis, raw):
    jids = sorted(f"{n:04}" for n in range(1500))
    raw.zadd("retry", {payload(jid): float(jid) for jid in jids})

    moved = at_once(*[RetrySet(redis).retry_all, RetrySet(redis).kill_all] * 2)

    assert sum(moved) == 1500
    assert everything(raw) == jids
