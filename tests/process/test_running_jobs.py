"""Jobs in the real server: what a handler sees, what is around it, and what its end does to the server."""

from __future__ import annotations

import json

import pytest

from tests.helpers import eventually
from tests.process.stage import LONG, Stage, new_jid

HANDLERS = """
import dataclasses, datetime, logging, sys
import gevent, greenlet
from sidekiq_py import Shutdown

@job("Look")
def look(*args):
    me = current_job()
    note(me.jid, me.job_class, me.queue, me.args, me.tags, me.retry_count, me.payload["locale"])

@job("Twist", retry=3)
def twist(values):
    note("twist got", values, current_job().payload.get("link"))
    values.append("changed by the handler")
    raise ValueError("twisted")

@job("Around")
def around():
    note("handler")

@job("Book")
def book(hotel: str, day: datetime.date, nights: int = 1):
    note("booked", hotel, day.year, nights)

@job("Fail", retry=0)
def fail(word):
    raise ValueError(word)

@job("Talk")
def talk(word):
    logging.getLogger("app").debug("said %s", word)

@job("Exit")
def exit_(how):
    ENDINGS[how]()

@job("Give")
def give(what):
    return GIFTS[what]()

class Rude(Exception):
    def __str__(self):
        raise RuntimeError("no words")

def throw(error):
    raise error

def overflow():
    overflow()

ENDINGS = {
    "sys.exit": lambda: sys.exit(3),
    "KeyboardInterrupt": lambda: throw(KeyboardInterrupt()),
    "GreenletExit": lambda: throw(greenlet.GreenletExit()),
    "its own kill": lambda: gevent.getcurrent().kill(),
    "gevent.Timeout": lambda: throw(gevent.Timeout(1)),
    "Shutdown": lambda: throw(Shutdown()),
    "MemoryError": lambda: throw(MemoryError()),
    "BaseException": lambda: throw(BaseException("bare")),
    "endless recursion": overflow,
    "a group of errors": lambda: throw(ExceptionGroup("many", [ValueError("one")])),
    "an error without words": lambda: throw(Rude()),
    "an error of a megabyte": lambda: throw(ValueError("é" * 1_000_000)),
    "an error with half a character": lambda: throw(ValueError("half \\ud83d of it")),
}
GIFTS = {
    "a megabyte": lambda: "x" * 1_000_000,
    "an object JSON can't say": object,
    "an error": lambda: ValueError("returned, not raised"),
    "False": lambda: False,
}

def outer(job, queue, call_next):
    if job["class"] == "Around":
        note("outer before", queue)
        call_next()
        note("outer after")
    else:
        job["link"] = "left by middleware"
        job["args"].append("appended by middleware") if "extend" in job else None
        return call_next()

def inner(job, queue, call_next):
    if "drop" in job:
        return None
    if "refuse" in job:
        raise PermissionError("refused by middleware")
    if job["class"] != "Around":
        return call_next()
    note("inner before")
    call_next()
    note("inner after")

@configure_server
def configure(config):
    config.server_middleware.add(outer)
    config.server_middleware.add(inner)
    config.error_handlers.append(lambda error, context: throw(RuntimeError("the error handler is broken")))
    config.error_handlers.append(lambda error, context: note(type(error).__name__, context["context"]))
    config.death_handlers.append(lambda job, error: throw(RuntimeError("the death handler is broken")))
    config.death_handlers.append(lambda job, error: note("death", job["jid"], error))
"""


@pytest.fixture(scope="module")
def stage(shared_stage: Stage) -> Stage:
    """A server with three processors that all tests here share; each brings jobs of its own."""
    shared_stage.start(HANDLERS, "-c", "3", "-q", "default", "-q", "other")
    return shared_stage


def test_current_job_is_what_was_pushed(stage: Stage):
    stage.push("Look", 1, {"a": None}, queue="other", jid="me", tags=["x"], locale="fr", retry_count=2)

    stage.wait_for_note("me Look other [1, {'a': None}] ['x'] 2 fr")


def test_middleware_wraps_the_handler_the_first_link_outermost(stage: Stage):
    stage.push("Around")

    stage.wait_for_note("outer after")
    start = stage.notes.index("outer before default")
    assert stage.notes[start:][:5] == [
        "outer before default",
        "inner before",
        "handler",
        "inner after",
        "outer after",
    ]


def test_what_middleware_and_handler_do_to_a_job_is_seen_by_this_run_and_gone_in_the_retry(stage: Stage):
    stage.push("Twist", ["original"], jid="twisted", note_to_ruby={"kept": [1.0, None]})

    retry = stage.retry_of("twisted")

    assert "twist got ['original'] left by middleware" in stage.notes
    assert retry["args"] == [["original"]]
    assert "link" not in retry
    assert list(retry)[:8] == [
        "retry",
        "queue",
        "class",
        "args",
        "jid",
        "created_at",
        "enqueued_at",
        "note_to_ruby",
    ]


def test_arguments_that_middleware_changed_are_what_the_handler_gets(stage: Stage):
    jid = new_jid()
    stage.push("Canary", jid=jid, extend=True)

    stage.wait_for_note("canary appended by middleware")


def test_a_middleware_that_does_not_call_on_drops_the_job(stage: Stage):
    stage.push("Canary", "dropped", jid="dropped", drop=True)

    stage.server.wait_for_log("jid=dropped class=Canary reason")
    stage.wait_until_settled()
    assert "canary dropped" not in stage.notes


def test_an_error_in_middleware_is_a_failure_of_the_job(stage: Stage):
    stage.push("Canary", jid="refused", refuse=True)

    retry = stage.retry_of("refused")

    assert (retry["error_class"], retry["error_message"]) == ("PermissionError", "refused by middleware")


@pytest.mark.row("F8")
def test_a_broken_error_or_death_handler_keeps_nobody_from_his_part(stage: Stage):
    stage.push("Fail", "the end", jid="last", retry=0)

    stage.wait_for_note("ValueError job raised exception")
    stage.wait_for_note("death last the end")
    assert any(json.loads(raw)["jid"] == "last" for raw in stage.dead())
    assert "the death handler is broken" in stage.server.log
    assert "the error handler is broken" in stage.server.log


def test_a_job_with_a_log_level_of_its_own_is_heard_and_others_are_not(stage: Stage):
    stage.push("Talk", "softly")
    stage.push("Talk", "aloud", log_level="debug", jid="talker")

    log = stage.server.wait_for_log("jid=talker class=Talk: said aloud")
    stage.wait_until_settled()

    assert "said softly" not in log


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ([], "Book takes (hotel: str, day: datetime.date, nights: int = 1): 2 to 3 arguments, got 0: []"),
        (["Ritz", "someday"], "day can't be 'someday', "),
        (["Ritz", "2026-11-24", "2"], "nights can't be '2', expected int"),
        ([7, "2026-11-24"], "hotel can't be 7, expected str"),
    ],
)
def test_arguments_that_do_not_fit_are_a_failure_that_names_handler_parameter_and_value(
    stage: Stage, args, sentence
):
    jid = new_jid()
    stage.push("Book", *args, jid=jid)

    retry = stage.retry_of(jid)

    assert retry["error_class"] == "ArgumentError"
    assert retry["error_message"].startswith("Book takes (hotel: str, day: datetime.date, nights: int = 1): ")
    assert sentence in retry["error_message"]


def test_annotated_arguments_come_converted(stage: Stage):
    stage.push("Book", "Ritz", "2026-11-24")

    stage.wait_for_note("booked Ritz 2026 1")


@pytest.mark.row("A6")
@pytest.mark.parametrize(
    ("how", "error_class"),
    [
        ("sys.exit", "SystemExit"),
        ("KeyboardInterrupt", "KeyboardInterrupt"),
        ("GreenletExit", "greenlet.GreenletExit"),
        ("its own kill", "greenlet.GreenletExit"),
        ("gevent.Timeout", "gevent.timeout.Timeout"),
        ("MemoryError", "MemoryError"),
        ("BaseException", "BaseException"),
        ("endless recursion", "RecursionError"),
        ("a group of errors", "ExceptionGroup"),
        ("Shutdown", "sidekiq_py.errors.Shutdown"),
        ("an error without words", "server0_handlers.Rude"),
        ("an error of a megabyte", "ValueError"),
        ("an error with half a character", "ValueError"),
    ],
)
def test_whatever_a_handler_raises_fails_the_job_and_nothing_else(stage: Stage, how, error_class):
    jid = new_jid()
    stage.push("Exit", how, jid=jid)

    retry = stage.retry_of(jid)
    for _ in range(3):  # each processor is still there
        stage.push("Canary", jid)

    assert retry["error_class"] == error_class
    assert len(retry["error_message"]) <= 10_000
    assert retry["retry_count"] == 0
    eventually(lambda: stage.notes.count(f"canary {jid}") == 3, LONG)


@pytest.mark.parametrize("what", ["a megabyte", "an object JSON can't say", "an error", "False"])
def test_what_a_handler_returns_does_not_matter(stage: Stage, what):
    jid = new_jid()
    stage.push("Give", what, jid=jid)

    stage.server.wait_for_log(f"jid={jid} class=Give elapsed")
    stage.wait_until_settled()
    assert jid.encode() not in b"".join(stage.retries())
