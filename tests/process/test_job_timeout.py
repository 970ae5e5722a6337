"""`timeout=` on `@job`: a run that takes too long is interrupted, and nothing else is."""

from __future__ import annotations

import json

import pytest

from tests.helpers import eventually
from tests.process.stage import LONG, Stage

HANDLERS = """
import redis

@job("Slow", timeout=0.2, retry=3)
def slow():
    note("slow began")
    try:
        time.sleep(60)
    finally:
        note("slow cleaned up")

@job("Waits", timeout=0.2, retry=3)
def waits(url):
    redis.Redis.from_url(url).blpop("nobody-pushes-here", 60)

@job("Quick", timeout=30)
def quick():
    note("quick ran")

@job("Patient")
def patient():
    time.sleep(0.6)
    note("patient ran")
"""


@pytest.mark.row("J3")
def test_a_job_that_takes_too_long_fails_and_is_retried(stage: Stage):
    stage.start(HANDLERS, "-c", "4")
    stage.push("Patient")
    stage.push("Slow")
    stage.push("Waits", stage.redis_url)
    stage.push("Quick")

    stage.wait_for_note("slow cleaned up")
    stage.wait_for_note("quick ran")
    stage.wait_for_note("patient ran")
    entries = eventually(lambda: len(found := stage.raw.zrange("retry", 0, -1)) == 2 and found, LONG)

    errors = {job["class"]: job for job in map(json.loads, entries)}
    assert errors.keys() == {"Slow", "Waits"}
    assert errors["Slow"]["error_class"] == "Timeout::Error"
    assert errors["Slow"]["error_message"] == "Slow ran for longer than its timeout, 0.2 s"

    stage.push("Canary")
    stage.wait_for_note("canary tweet")
