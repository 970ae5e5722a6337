"""Jobs whose class has no handler here, as they abound while a shop moves over class by class."""

from __future__ import annotations

import json
import time

import pytest

from sidekiq_py.failures import HAND_BACK_AFTER
from tests.helpers import eventually
from tests.process.stage import LONG, Stage


@pytest.mark.row("E17")
def test_by_default_they_are_retried_as_ruby_retries_a_missing_constant(stage: Stage):
    server = stage.start("", environ={"RAILS_ENV": "production"})
    stage.push("Billing::RubyOnly", 1, jid="ruby", retry=3)

    job = stage.retry_of("ruby")

    assert (job["error_class"], job["error_message"]) == (
        "NameError",
        "uninitialized constant Billing::RubyOnly",
    )
    assert (job["retry_count"], job["args"]) == (0, [1])
    assert server.log.count("Billing::RubyOnly: start") == 1


def test_an_unknown_job_without_retries_is_dead(stage: Stage):
    stage.start("")
    stage.push("RubyOnly", retry=0)

    [stored] = eventually(stage.dead, LONG)

    assert json.loads(stored)["error_class"] == "NameError"


def test_handed_back_they_wait_unchanged_and_uncounted_for_another_process(stage: Stage):
    pushed = stage.push("RubyOnly", {"deep": [1.50, None]}, bid="x", retry=False)
    before = time.time()

    stage.start("", "--unknown", "handback")
    [(stored, due)] = eventually(lambda: stage.raw.zrange("schedule", 0, -1, withscores=True), LONG)

    assert stored == pushed
    assert before + HAND_BACK_AFTER <= due <= time.time() + HAND_BACK_AFTER
    assert stage.queue() == stage.retries() == stage.dead() == []
    eventually(lambda: stage.claimed() == [], LONG)
    assert stage.server.stop() == 0
    assert "0 done, 0 failed, 0 pushed back" in stage.server.log
    assert int(stage.raw.get("stat:processed") or 0) == int(stage.raw.get("stat:failed") or 0) == 0


def test_a_process_that_knows_the_class_runs_what_was_handed_back(stage: Stage):
    stage.start("", "--unknown", "handback")
    stage.push("Elsewhere", 1)
    eventually(lambda: stage.raw.zcard("schedule"), LONG)
    stage.server.stop()
    [stored] = stage.raw.zrange("schedule", 0, -1)
    stage.raw.zadd("schedule", {stored: time.time()})  # its ten seconds have passed

    stage.start("@job('Elsewhere')\ndef elsewhere(number):\n    note('ran', number)\n")

    stage.wait_for_note("ran 1")
    stage.wait_until_settled()
    assert stage.raw.zcard("schedule") == 0


def test_dead_at_once_when_told_so_and_the_death_handlers_hear_of_it(stage: Stage):
    stage.start(
        """
@configure_server
def configure(config):
    config.death_handlers.append(lambda job, error: note("death of", job["class"], error))
""",
        *("--unknown", "dead"),
    )
    stage.push("RubyOnly", jid="ruby")

    stage.wait_for_note("death of RubyOnly uninitialized constant RubyOnly")

    [stored] = stage.dead()
    assert json.loads(stored)["jid"] == "ruby"
    assert stage.retries() == []


def test_known_jobs_are_not_kept_by_unknown_ones(stage: Stage):
    for number in range(20):
        stage.push("RubyOnly", number)
    stage.push("Canary")

    stage.start("", "-c", "1", "--unknown", "handback")

    stage.wait_for_note("canary tweet")
    eventually(lambda: stage.raw.zcard("schedule") == 20, LONG)
