"""A server with nothing to do, and the jobs that then come."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from sidekiq_py.idle_wait import BLOCK, longest_wait
from tests.helpers import eventually
from tests.process.stage import LONG, Stage, payload


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


def test_once_a_killed_server_is_gone_it_is_handed_no_job(stage: Stage):
    """Of the tests' tool: a worker that outlives its killing would swallow a job of the next test."""
    for _ in range(3):
        server = stage.start("")
        eventually(lambda: stage.raw.info("clients")["blocked_clients"], LONG)

        server.kill()

        assert not any(client["cmd"] == "blmove" for client in stage.raw.client_list())


@pytest.mark.parametrize("part", ["Processor.run", "Fetcher._run", "Watcher._wait"])
def test_a_greenlet_that_dies_and_tells_nobody_is_replaced_with_the_next_beat(stage: Stage, part: str):
    handlers = f"""
import gc, gevent

@job("Ruin")
def ruin():
    gevent.spawn_later(0.1, end_all)

def end_all():
    for each in gc.get_objects():
        if isinstance(each, gevent.Greenlet) and "{part}" in repr(each):
            each.unlink_all()
            each.kill(block=False)
    note("ruined")
"""
    stage.start(handlers, "-c", "2", environ={"SIDEKIQ_HEARTBEAT_TTL": "2"})
    stage.push("Ruin")
    stage.wait_for_note("ruined")

    stage.push("Canary", "goes on")
    stage.wait_for_note("canary goes on")

    assert stage.server.stop() == 0


def test_a_job_that_others_schedule_soon_runs_without_a_poll_of_our_own(stage: Stage):
    stage.start("", environ={"SIDEKIQ_POLL_INTERVAL_AVERAGE": "1000"})

    stage.raw.zadd("schedule", {payload("Canary", "soon"): time.time() + 0.2})
    stage.wait_for_note("canary soon")

    stage.raw.zadd("retry", {payload("Canary", "at once"): 1})
    stage.wait_for_note("canary at once")


def test_a_server_with_nothing_due_does_not_ask_twice_what_is_due(stage: Stage):
    stage.start("")
    asked: Counter[str] = Counter()

    with stage.raw.monitor() as monitor:
        until = time.monotonic() + 3
        while time.monotonic() < until:  # the beat and the fetch are heard every second or two
            heard = monitor.next_command()
            if heard["client_type"] != "lua":
                asked[heard["command"].split()[0]] += 1

    assert asked["ZRANGE"] + asked["ZRANGEBYSCORE"] <= 2  # the one look of the start


@pytest.mark.parametrize(("heartbeat_ttl", "seconds"), [(60, 3), (12, 3), (2, 0.5)])
def test_a_wait_ends_long_before_a_frozen_process_counts_as_dead(heartbeat_ttl: float, seconds: float):
    assert longest_wait(heartbeat_ttl) == seconds
