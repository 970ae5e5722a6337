"""The moments of a server's life that an application can wait for."""

from __future__ import annotations

import textwrap

from tests.helpers import eventually, rest
from tests.process.stage import LONG, Stage

HANDLERS = """
@configure_server
def configure(config):
    for event in ("startup", "heartbeat", "beat", "quiet", "shutdown", "exit"):
        config.on(event, lambda event=event: note(event))
    config.on("quiet", lambda: 1 / 0)
"""


def test_the_events_come_in_order_and_a_broken_callback_stops_nothing(stage: Stage):
    server = stage.start(HANDLERS)
    stage.wait_for_note("beat")
    server.signal("TSTP")
    stage.wait_for_note("quiet")

    assert server.stop() == 0

    assert list(dict.fromkeys(stage.notes)) == ["startup", "heartbeat", "beat", "quiet", "shutdown", "exit"]
    assert [stage.notes.count(each) for each in ("startup", "heartbeat", "quiet", "exit")] == [1, 1, 1, 1]
    assert "a callback for 'quiet' failed: division by zero" in server.log


def test_at_startup_jobs_may_be_pushed_and_none_has_been_fetched(stage: Stage):
    stage.push("Canary", "from Ruby")

    stage.start(
        """
@configure_server
def configure(config):
    def startup():
        canary.perform_async("from startup")
        time.sleep(0.2)
        note("started")
    config.on("startup", startup)
"""
    )

    eventually(lambda: len(stage.notes) == 3, LONG)
    assert stage.notes[0] == "started"


def test_a_startup_callback_that_fails_keeps_the_server_from_starting(stage: Stage):
    stage.push("Canary")

    server = stage.launch(HANDLERS + "    config.on('startup', lambda: {}['no such key'])\n")

    assert server.wait() == 3
    assert "a callback for 'startup' failed: 'no such key'" in server.log
    assert stage.notes == ["startup"]
    assert len(stage.queue()) == 1
    assert stage.raw.smembers("processes") == set()


def test_tstp_during_the_boot_counts_when_that_is_done(stage: Stage):
    handlers = """
    def slow():
        note("startup")
        wait_for("boot")

    configure_server(lambda config: config.on("startup", slow) and None)
    configure_server(lambda config: config.on("quiet", lambda: note("quiet")) and None)
    """
    server = stage.launch(textwrap.dedent(handlers), "-p", "0")
    stage.wait_for_note("startup")

    server.signal("TSTP")
    server.wait_for_log("got TSTP")
    job = stage.push("Canary")
    rest(0.5)  # in which it would be quiet
    assert stage.notes == ["startup"]
    stage.let("boot")
    stage.wait_for_note("quiet")

    assert stage.queue() == [job]
    assert server.stop() == 0
