"""The moments of a server's life that an application can wait for."""

from __future__ import annotations

from tests.helpers import eventually
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
