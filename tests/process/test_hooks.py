"""The application's code can fail in every place and in every way: no job is lost, and the server lives."""

from __future__ import annotations

import json

import pytest

from tests.helpers import eventually
from tests.process.stage import LONG, Stage

# Ways to end, most of which are no Exception.
RAISE = """
import functools, gevent, itertools, sys
from sidekiq_py import Shutdown

WAYS = {
    "exit": SystemExit(4),
    "timeout": gevent.Timeout(1),
    "kill": gevent.GreenletExit(),
    "shutdown": Shutdown(),
    "interrupt": KeyboardInterrupt(),
}
turns = itertools.cycle(WAYS)

def fail(how=None):
    raise WAYS[how or next(turns)]

async def later(*_):
    note("never")
"""
WAYS = ("exit", "timeout", "kill", "shutdown", "interrupt")


def assert_at_work(stage: Stage) -> None:
    """The worker that booted still runs jobs, on every slot."""
    worker = stage.server.worker_pid
    for number in range(4):
        stage.push("Canary", f"after{number}")
    for number in range(4):
        stage.wait_for_note(f"canary after{number}")
    stage.wait_until_settled()
    assert stage.server.worker_pid == worker
    assert "ended with code" not in stage.server.log
    assert "never" not in stage.notes


@pytest.mark.row("A6", "F8")
def test_a_hook_that_ends_in_any_way_costs_neither_the_retry_nor_the_worker(stage: Stage):
    stage.start(
        RAISE
        + """
@job("Bad")
def bad(how):
    raise ValueError("bad")

@bad.retry_in
def retry_in(count, error, payload):
    note("asked", *payload["args"])
    fail(*payload["args"])

@job("Worse", retry=0)
def worse(how):
    raise ValueError("worse")

@worse.retries_exhausted
def exhausted(payload, error):
    fail(*payload["args"])

@configure_server
def configure(config):
    config.death_handlers.append(lambda payload, error: fail(*payload["args"]))
    config.death_handlers.append(lambda payload, error: note("told of", *payload["args"]))
    config.error_handlers.append(lambda error, context: fail(*context["job"]["args"]))
    config.backtrace_cleaner = lambda lines: fail()
""",
        *("-c", "2"),
    )

    for how in WAYS:
        stage.push("Bad", how, backtrace=True)
        stage.push("Worse", how, retry=0)

    for how in WAYS:
        stage.wait_for_note(f"told of {how}")
    eventually(lambda: len(stage.retries()) == len(stage.dead()) == len(WAYS), LONG)
    assert_at_work(stage)
    assert {json.loads(raw)["error_message"] for raw in stage.retries()} == {"bad"}
    assert sorted(note for note in stage.notes if "asked" in note) == sorted(f"asked {how}" for how in WAYS)


def test_an_error_that_can_t_be_told_is_recorded_all_the_same(stage: Stage):
    server = stage.start(
        RAISE
        + """
class Untold(BaseException):
    def __str__(self): fail(self.args[0])
    __repr__ = __str__
    def __getattr__(self, name): fail(self.args[0])

@job("Bad")
def bad(how):
    raise Untold(how)
""",
        *("-c", "2"),
    )

    for how in WAYS:
        stage.push("Bad", how, backtrace=5)

    eventually(lambda: len(stage.retries()) == len(WAYS), LONG)
    assert_at_work(stage)
    assert all(json.loads(raw)["error_class"].endswith("Untold") for raw in stage.retries())
    eventually(lambda: server.log.count("Untold") >= len(WAYS), LONG)  # the line follows the record


def test_client_middleware_that_ends_in_any_way_holds_up_no_other_scheduled_job(stage: Stage):
    server = stage.start(
        RAISE
        + """
def link(job_class, job, queue, call_next):
    if job["args"] != ["good"]:
        fail(*job["args"])
    return call_next()

@configure_server
def configure(config):
    config.client_middleware.add(link)
"""
    )
    due = {json.dumps({"class": "Canary", "args": [word], "jid": word}): 1 for word in (*WAYS, "good")}
    stage.raw.zadd("schedule", due)

    stage.wait_for_note("canary good")
    assert len(stage.raw.zrange("schedule", 0, -1)) == len(WAYS)
    assert server.log.count("client middleware failed at promotion") == len(WAYS)
    assert_at_work(stage)


def test_callbacks_and_log_handlers_that_end_in_any_way_leave_the_server_at_work(stage: Stage):
    server = stage.start(
        RAISE
        + """
import logging

class Loud(logging.Handler):
    def emit(self, record):
        fail()

@configure_server
def configure(config):
    for how in WAYS:
        for event in ("heartbeat", "beat", "quiet", "shutdown", "exit"):
            config.on(event, functools.partial(fail, how))
    logging.getLogger("sidekiq.job").addHandler(Loud())
""",
        *("-c", "2"),
    )

    assert_at_work(stage)
    assert server.stop() == 0
    for event in ("heartbeat", "beat", "quiet", "shutdown", "exit"):
        assert server.log.count(f"a callback for {event!r} failed") >= len(WAYS)


@pytest.mark.parametrize(
    "link",
    [
        "lambda *all: later()",
        "lambda *all: (each for each in all)",
        "functools.wraps(later)(lambda *all: later())",
    ],
)
def test_server_middleware_that_runs_nothing_fails_the_job(stage: Stage, link: str):
    stage.start(
        RAISE
        + f"""
@configure_server
def configure(config):
    config.server_middleware.add({link})
"""
    )

    stage.push("Canary", jid="b" * 24)

    failed = stage.retry_of("b" * 24)
    assert failed["error_class"] == "sidekiq_py.errors.InvalidHandler"
    assert "which nobody runs: it has done nothing" in failed["error_message"]
    assert stage.notes == []


@pytest.mark.parametrize(
    "answer",
    ["later()", "(each for each in 'ab')", "asynchronous_steps()", "gevent.get_hub().loop and later()"],
)
def test_a_handler_whose_answer_nobody_runs_fails(stage: Stage, answer: str):
    server = stage.start(
        RAISE
        + f"""
async def asynchronous_steps():
    yield 1

@job("Lazy")
@functools.wraps(later)
def lazy():
    return {answer}
"""
    )

    stage.push("Lazy", jid="b" * 24)

    assert "Lazy returned a" in stage.retry_of("b" * 24)["error_message"]
    assert_at_work(stage)
    assert "never awaited" not in server.log


def test_what_middleware_does_to_a_job_costs_no_acknowledgement(stage: Stage):
    stage.start(
        """
def link(job, queue, call_next):
    call_next()
    job.clear()

@configure_server
def configure(config):
    config.server_middleware.add(link)
"""
    )

    stage.push("Canary")
    stage.push("Nobody", jid="b" * 24)

    assert stage.retry_of("b" * 24)["error_class"] == "NameError"
    assert_at_work(stage)


LEFT_BEHIND = {
    "timeout": "gevent.Timeout(0.1).start()",
    "timeout that is an Exception": "gevent.Timeout(0.1, ValueError('late')).start()",
    "kill": "gevent.spawn_later(0.1, gevent.getcurrent().kill)",
    "exit": "gevent.spawn_later(0.1, gevent.getcurrent().kill, SystemExit(3))",
}


@pytest.mark.row("A6")
@pytest.mark.parametrize("left", LEFT_BEHIND.values(), ids=LEFT_BEHIND.keys())
def test_a_processor_that_dies_between_two_jobs_is_replaced(stage: Stage, left: str):
    server = stage.start(
        f"""
import gevent

@job("Leak")
def leak():
    {left}
""",
        *("-c", "2"),
    )

    for number in range(1, 5):
        stage.push("Leak")
        eventually(lambda dead=number: server.log.count("died between two jobs") == dead, LONG)

    assert_at_work(stage)
    assert server.stop() == 0
    assert "8 done, 0 failed, 0 pushed back" in server.log


def test_a_timeout_that_a_job_left_behind_spoils_no_record_of_a_failure(stage: Stage):
    """It goes off while Redis is away and the failure waits to be recorded."""
    server = stage.start(
        """
import gevent

@job("Leak")
def leak():
    gevent.Timeout(0.4).start()
    note("leaks")
    wait_for("go")
    raise ValueError("bad")
"""
    )
    stage.push("Leak", jid="b" * 24)
    stage.wait_for_note("leaks")
    stage.raw.execute_command("CLIENT", "PAUSE", "1000", "ALL")
    stage.let("go")

    assert stage.retry_of("b" * 24)["error_message"] == "bad"
    assert_at_work(stage)
    assert server.stop() == 0


def test_a_job_whose_processor_dies_while_it_is_recorded_counts_by_its_handler_s_options(stage: Stage):
    server = stage.start(
        """
import gevent

@job("Leak", retry=7)
def leak():
    gevent.spawn_later(0.4, gevent.getcurrent().kill, SystemExit(3))
    note("leaks")
    wait_for("go")
    raise ValueError("bad")

@leak.retry_in
def retry_in(count, error, payload):
    note("asked")
"""
    )
    stage.push("Leak", jid="c" * 24, retry=None)
    stage.wait_for_note("leaks")
    stage.raw.execute_command("CLIENT", "PAUSE", "1000", "ALL")
    stage.let("go")

    assert stage.retry_of("c" * 24)["retry"] == 7
    assert_at_work(stage)
    assert stage.notes.count("asked") == 1
    assert server.log.count("a processor died with its job, and is replaced") == 1
    assert server.stop() == 0


def test_idle_processors_are_interrupted_in_silence(stage: Stage):
    """Redis keeps the fetch from telling them that nothing more will come."""
    server = stage.start("", "-c", "3", "-t", "0.2")
    stage.raw.execute_command("CLIENT", "PAUSE", "1500", "ALL")

    server.stop()

    assert "Traceback" not in server.log
