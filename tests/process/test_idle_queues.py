"""A server with nothing to do, and the jobs that then come."""

from __future__ import annotations

import time

import pytest

from sidekiq_py.idle_wait import BLOCK
from tests.process.stage import Stage


@pytest.mark.parametrize("concurrency", [1, 2])
def test_with_fewer_processors_than_queues_no_queue_waits_for_a_blocking_call_to_end(
    stage: Stage, concurrency
):
    stage.start("", "-c", str(concurrency), "-q", "high", "-q", "default", "-q", "low")
    began = time.monotonic()

    for serial in range(6):
        stage.push("Canary", serial, queue=["low", "default", "high"][serial % 3])
        stage.wait_for_note(f"canary {serial}")

    assert time.monotonic() - began < 2 * BLOCK
