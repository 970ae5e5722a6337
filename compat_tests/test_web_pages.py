"""Every page of the real Web UI renders over our data; its buttons act on our entries and our server."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis

from compat_tests import HANDLERS
from compat_tests.console import RubyError
from compat_tests.ruby import Ruby
from sidekiq_py import Client
from tests.helpers import eventually
from tests.server_process import ServerProcess

Start = Callable[..., ServerProcess]

DEADLINE = 30.0  # seconds; for what comes as fast as the machine allows
PAGE_OF = {"retry": "/retries", "schedule": "/scheduled", "dead": "/morgue"}
WRAPPER = "ActiveJob::QueueAdapters::SidekiqAdapter::JobWrapper"

# What other programs put on a queue and no server can run.
NO_JOBS = [
    b"",
    b"{oops",
    b"\xff\xfe\x00",
    b'{"class":"HardJob","args":[NaN]}',
    b"null",
    b"5",
    b'"HardJob"',
    b'[{"class":"HardJob"}]',
    b'{"class":7,"args":[]}',
    b'{"args":[1]}',
    b'{"class":"HardJob","args":{"a":1}}',
    b'{"class":"HardJob","args":"a"}',
]

# What other programs write into a job that can be run, and some page of some Sidekiq raises on.
ODD_FIELDS: dict[str, dict[str, Any]] = {
    "created_at in words": {"created_at": "2026-11-24T03:11:00Z"},
    "created_at nonsense": {"created_at": "soon"},
    "created_at null": {"created_at": None},
    "created_at an object": {"created_at": {}},
    "created_at huge": {"created_at": 10**30},
    "enqueued_at in words": {"enqueued_at": "2026-11-24 03:11:00"},
    "first failure, no failed_at": {"retry_count": 0},
    "first failure, failed_at null": {"retry_count": 0, "failed_at": None},
    "retried by hand, no failed_at": {"retry_count": -1},
    "third failure, no retried_at": {"retry_count": 2, "failed_at": 1795490626.5},
    "retried_at null": {"retry_count": 2, "failed_at": 1795490626.5, "retried_at": None},
    "retry_count text": {"retry_count": "3"},
    "retry_count null": {"retry_count": None},
    "no queue": {"queue": None},
    "queue a number": {"queue": 5},
    "tags text": {"tags": "red"},
    "tags an object": {"tags": {"a": 1}},
    "tags null": {"tags": None},
    "tags with numbers": {"tags": [1, None]},
    "no jid": {"jid": None},
    "jid a number": {"jid": 5},
    "error_backtrace in the open": {"error_backtrace": ["a.rb:1"]},
    "error_backtrace nonsense": {"error_backtrace": "???"},
    "error_backtrace a number": {"error_backtrace": 5},
    "cattr text": {"cattr": "x"},
    "a wrapper without arguments": {"class": WRAPPER, "wrapped": "MailJob", "args": []},
    "a wrapper without the envelope": {"class": WRAPPER, "wrapped": "MailJob", "args": [1]},
    "a new wrapper without it": {"class": "Sidekiq::ActiveJob::Wrapper", "wrapped": "MailJob", "args": [1]},
    "a mail without its parts": {
        "class": WRAPPER,
        "wrapped": "ActionMailer::MailDeliveryJob",
        "args": [{"arguments": []}],
    },
    "display_class a number": {"display_class": 5},
    "old error fields": {"error_class": 5, "error_message": {"a": 1}},
    "at": {"at": "soon"},
}


def odd_job(job_class: str, odd: dict[str, Any], **more: Any) -> bytes:
    job = {
        "class": job_class,
        "args": [60],
        "queue": "default",
        "jid": "f" * 24,
        "retry": True,
        **more,
        **odd,
    }
    return json.dumps(job).encode()


def entries(raw: Redis, set_name: str) -> list[tuple[bytes, float]]:
    return list(raw.zrange(set_name, 0, -1, withscores=True))


def key_of(entry: tuple[bytes, float]) -> str:
    """How pages name an entry in their links; one that Ruby can't read has no jid."""
    member, score = entry
    try:
        jid = json.loads(member).get("jid", "")
    except ValueError:
        jid = ""
    return f"{score!r}-{jid}"


def pages_of_set(raw: Redis, set_name: str) -> Iterator[str]:
    """The list, and the page of each entry."""
    yield PAGE_OF[set_name]
    for entry in entries(raw, set_name):
        yield f"{PAGE_OF[set_name]}/{key_of(entry)}"


def problems(ruby: Ruby, paths: Iterator[str] | list[str]) -> dict[str, object]:
    """What is wrong with pages, by path. The page of an entry without a jid sends back to the list."""
    wrong: dict[str, object] = {}
    for path in paths:
        try:
            status = ruby.get(path).status
        except RubyError as error:
            wrong[path] = error.message
        else:
            if status != (302 if path.endswith("-") else 200):
                wrong[path] = status
    return wrong


def show_running(ruby: Ruby, server: ServerProcess) -> None:
    """Make the server write what runs: becoming quiet, it beats at once."""
    server.signal("TSTP")
    eventually(ruby.work, DEADLINE)


def wait_for(raw: Redis, set_name: str, count: int = 1) -> list[tuple[bytes, float]]:
    eventually(lambda: raw.zcard(set_name) == count, DEADLINE)
    return entries(raw, set_name)


# Pages ----------------------------------------------------------------------------------------------------


def test_every_page_shows_our_jobs(ruby: Ruby, sidekiq_py: Start, raw: Redis) -> None:
    client = Client(ruby.redis_url)
    server = sidekiq_py(HANDLERS, "-c", "3", "-g", "shop")
    retried = ruby.push("BoomJob", "é <i>", backtrace=True, retry=3)
    dead = ruby.push("ZeroJob", retry=0, tags=["red"])
    done = ruby.push("HardJob")
    client.push({"class": "HardJob", "args": ["wait <b>", None], "queue": "else:where"})
    later = client.push({"class": "HardJob", "args": [{"a": [1.5]}], "at": time.time() + 3600})
    [retry_entry], [dead_entry], [scheduled] = (wait_for(raw, name) for name in ("retry", "dead", "schedule"))
    running = ruby.push("SlowJob", 60)
    for jid in (done, running):
        ruby.wait_until_ran(jid, DEADLINE)
    show_running(ruby, server)

    shows = {
        "/": [],
        "/busy": [server.identity, running, "SlowJob", "shop"],
        "/queues": ["else:where"],
        "/queues/else:where": ["wait &lt;b&gt;", "HardJob"],
        "/retries": ["BoomJob", "é &lt;i&gt;", "boom é &lt;b&gt;", "ArgumentError"],
        f"/retries/{key_of(retry_entry)}": [retried, "boom é &lt;b&gt;", "_handlers.py:", ":in 'boom_job'"],
        "/scheduled": ["HardJob"],
        f"/scheduled/{key_of(scheduled)}": [str(later), "HardJob"],
        "/morgue": ["ZeroJob", "RuntimeError"],
        f"/morgue/{key_of(dead_entry)}": [dead, "zero", "red"],
        "/stats": ['"processed":3'],
        "/stats/queues": [],
    }
    if ruby.major >= 7:
        shows |= {"/metrics": ["HardJob", "BoomJob"], "/metrics/HardJob": ["HardJob"]}
    if ruby.major == 8:
        shows |= {"/profiles": [], "/metrics?period=24h": ["HardJob"]}

    pages = {path: ruby.get(path) for path in shows}

    assert {path: page.status for path, page in pages.items() if page.status != 200} == {}
    missing = [(path, text) for path, page in pages.items() for text in shows[path] if text not in page.body]
    assert missing == []


def test_bytes_that_are_no_job_are_dead_and_break_no_page(ruby: Ruby, sidekiq_py: Start, raw: Redis) -> None:
    raw.lpush("queue:default", *NO_JOBS)

    sidekiq_py(HANDLERS)

    wait_for(raw, "dead", len(NO_JOBS))
    assert problems(ruby, ["/", *pages_of_set(raw, "dead")]) == {}
    shown = ruby.get("/morgue").body
    assert "{oops" in shown
    assert "{&quot;args&quot;:[1]}" in shown or "{\\&quot;args\\&quot;:[1]}" in shown
    assert ruby.call("set_size", "dead") == len(NO_JOBS)


@pytest.mark.parametrize(
    ("set_name", "job_class", "retry"), [("retry", "PlainBoom", True), ("dead", "ZeroJob", 0)]
)
def test_a_job_that_was_damaged_before_it_failed_breaks_no_page(
    ruby: Ruby, sidekiq_py: Start, raw: Redis, set_name: str, job_class: str, retry: object
) -> None:
    sidekiq_py(HANDLERS, "-c", "10")
    wrong = {}
    for name, odd in ODD_FIELDS.items():
        raw.lpush("queue:default", odd_job(job_class, odd, retry=retry))
        wait_for(raw, set_name)

        if problem := problems(ruby, pages_of_set(raw, set_name)):
            wrong[name] = problem
        raw.delete(set_name)

    assert wrong == {}


def test_a_damaged_job_does_not_break_the_busy_page_while_it_runs(
    ruby: Ruby, sidekiq_py: Start, raw: Redis
) -> None:
    runnable = {name: odd for name, odd in ODD_FIELDS.items() if "class" not in odd}
    server = sidekiq_py(HANDLERS, "-c", str(len(runnable)))
    raw.lpush("queue:default", *[odd_job("SlowJob", odd) for odd in runnable.values()])
    eventually(lambda: len(ruby.ran()) == len(runnable), DEADLINE)

    show_running(ruby, server)

    assert problems(ruby, ["/busy", "/"]) == {}
    assert len(ruby.work()) == len(runnable)


def test_names_in_angle_brackets_are_not_left_to_the_browser(
    ruby: Ruby, sidekiq_py: Start, raw: Redis
) -> None:
    """Ruby's pages print class names and frames unescaped: Python's `<lambda>` would vanish in them."""
    handlers = """
        from sidekiq_py import job

        def raiser():
            class Local(Exception): ...
            return Local

        @job("Bracketed", retry=3, backtrace=True)
        def bracketed():
            (lambda: [1 / 0 for _ in "x"] if False else (_ for _ in ()).throw(raiser()("<script>")))()
    """
    ruby.push("Bracketed", backtrace=True)
    sidekiq_py(handlers)
    [entry] = wait_for(raw, "retry")

    body = ruby.get(f"/retries/{key_of(entry)}").body

    assert "in 'lambda'" in body
    assert "raiser.Local" in body
    assert "&lt;script&gt;" in body
    assert not any(tag in body for tag in ("<lambda>", "<locals>", "<module>", "<genexpr>", "<script>&"))


# Buttons --------------------------------------------------------------------------------------------------


def press(ruby: Ruby, path: str, **fields: str) -> None:
    assert ruby.post(path, **fields).status in (302, 303), path


def fail_two(ruby: Ruby, raw: Redis, job_class: str = "PlainBoom", **options: Any) -> tuple[str, str]:
    """Two jobs of the running server fail; the keys of their entries."""
    set_name = "dead" if options.get("retry") == 0 else "retry"
    ruby.push_bulk(job_class, [["é", 1.5], [2]], **options)
    first, second = wait_for(raw, set_name, 2)
    return key_of(first), key_of(second)


def press_both(ruby: Ruby, page: str, button: str, keys: tuple[str, str]) -> None:
    """One entry by the button on its own page, the other by its box in the list."""
    press(ruby, f"{page}/{keys[0]}", **{button: "1"})
    press(ruby, page, **{"key[]": keys[1], button: "1"})


def test_retry_now_runs_jobs_again_here(ruby: Ruby, sidekiq_py: Start, raw: Redis) -> None:
    sidekiq_py(HANDLERS)

    press_both(ruby, "/retries", "retry", fail_two(ruby, raw))

    eventually(lambda: len(ruby.ran()) == 4, DEADLINE)
    members = [json.loads(member) for member, _ in wait_for(raw, "retry", 2)]
    assert [job["retry_count"] for job in members] == [0, 0]  # they were handed back as -1
    assert problems(ruby, pages_of_set(raw, "retry")) == {}


def test_kill_moves_our_failures_to_the_dead_set(ruby: Ruby, sidekiq_py: Start, raw: Redis) -> None:
    sidekiq_py(HANDLERS)

    press_both(ruby, "/retries", "kill", fail_two(ruby, raw))

    assert (raw.zcard("retry"), len(ruby.entries("dead"))) == (0, 2)
    assert problems(ruby, pages_of_set(raw, "dead")) == {}


@pytest.mark.parametrize(("page", "retry"), [("/retries", True), ("/morgue", 0)])
def test_delete_finds_our_entries(
    ruby: Ruby, sidekiq_py: Start, raw: Redis, page: str, retry: object
) -> None:
    sidekiq_py(HANDLERS)

    press_both(ruby, page, "delete", fail_two(ruby, raw, retry=retry))

    assert raw.zcard("retry") == raw.zcard("dead") == 0


def test_dead_jobs_come_to_life_here_and_die_of_their_next_failure(
    ruby: Ruby, sidekiq_py: Start, raw: Redis
) -> None:
    sidekiq_py(HANDLERS)

    press_both(ruby, "/morgue", "retry", fail_two(ruby, raw, "ZeroJob", retry=0))

    eventually(lambda: len(ruby.ran()) == 4, DEADLINE)
    members = [json.loads(member) for member, _ in wait_for(raw, "dead", 2)]
    assert [job["retry_count"] for job in members] == [0, 0]  # one was taken off their account


def test_add_to_queue_runs_our_scheduled_jobs_at_once(ruby: Ruby, sidekiq_py: Start, raw: Redis) -> None:
    sidekiq_py(HANDLERS)
    client, later = Client(ruby.redis_url), time.time() + 3600
    jids = [client.push({"class": "HardJob", "args": ["é", n * 1e20], "at": later + n}) for n in (1, 2)]
    first, second = map(key_of, wait_for(raw, "schedule", 2))

    press_both(ruby, "/scheduled", "add_to_queue", (first, second))

    assert [ruby.wait_until_ran(str(jid), DEADLINE)["args"] for jid in jids] == [["é", 1e20], ["é", 2e20]]
    assert raw.zcard("schedule") == 0


@pytest.mark.parametrize(
    ("button", "left"), [("retry", (2, 0)), ("kill", (0, 2)), ("delete", (0, 0))], ids=str
)
def test_buttons_for_all_reach_our_failures(
    ruby: Ruby, sidekiq_py: Start, raw: Redis, button: str, left: tuple[int, int]
) -> None:
    sidekiq_py(HANDLERS)
    ruby.push_bulk("PlainBoom", [[1], [2]])
    wait_for(raw, "retry", 2)

    press(ruby, f"/retries/all/{button}", **{button: button})

    runs = 4 if button == "retry" else 2
    eventually(lambda: len(ruby.ran()) >= runs, DEADLINE)  # 6.4 goes on as long as any comes back
    eventually(lambda: (raw.zcard("retry"), raw.zcard("dead")) == left, DEADLINE)


def test_a_waiting_job_of_ours_is_deleted_from_its_queue(ruby: Ruby, raw: Redis) -> None:
    client = Client(ruby.redis_url)
    for args in (["é/<&", 1e20, {"b": None}], [2]):
        client.push({"class": "HardJob", "args": args, "queue": "low"})
    [_, first] = raw.lrange("queue:low", 0, -1)

    press(ruby, "/queues/low/delete", key_val=first.decode(), delete="Delete")

    assert [job["args"] for job in ruby.queue("low")["jobs"]] == [[2]]
    press(ruby, "/queues/low", delete="Delete")
    assert (raw.exists("queue:low"), raw.sismember("queues", "low")) == (0, 0)


# The same through the API ---------------------------------------------------------------------------------


@pytest.mark.parametrize("set_name", ["retry", "schedule"])
def test_an_entry_of_ours_that_ruby_reschedules_stays_one_entry(
    ruby: Ruby, sidekiq_py: Start, raw: Redis, set_name: str
) -> None:
    """Ruby writes the job anew and moves that: in any other spelling it would be a second job."""
    args = ['é\u2028</script>\\"\x7f', 1e20, 1e-7, 0.1, {"b": [None, True]}, 10**25]
    item = {"class": "PlainBoom", "args": args, "backtrace": True}
    client = Client(ruby.redis_url, dialect=ruby.major)
    if set_name == "schedule":
        jid = client.push({**item, "at": time.time() + 3600})
    else:
        sidekiq_py(HANDLERS, "--dialect", str(ruby.major))
        jid = client.push(item)
    wait_for(raw, set_name)

    ruby.entry_action(set_name, str(jid), "reschedule", 4_000_000_000.5)

    [(_, score)] = entries(raw, set_name)
    assert score == pytest.approx(4_000_000_000.5)


def test_ruby_finds_our_entries_by_jid_and_by_text(ruby: Ruby, sidekiq_py: Start, raw: Redis) -> None:
    sidekiq_py(HANDLERS)
    jid = ruby.push("PlainBoom")
    wait_for(raw, "retry")

    found = ruby.call("find_job", "retry", jid)

    assert (found["jid"], found["item"]["error_message"]) == (jid, "plain boom")
    assert [entry["jid"] for entry in ruby.call("scan", "retry", "plain boom")] == [jid]


def test_counters_that_ruby_resets_go_on_from_nothing(ruby: Ruby, sidekiq_py: Start) -> None:
    server = sidekiq_py(HANDLERS)
    ruby.wait_until_ran(ruby.push("HardJob"), DEADLINE)
    server.signal("TSTP")
    eventually(lambda: ruby.stats()["processed"] == 1, DEADLINE)
    ruby.call("reset_stats")

    server.stop()

    assert (ruby.stats()["processed"], ruby.stats()["failed"]) == (0, 0)
