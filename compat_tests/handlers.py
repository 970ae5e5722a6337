"""Python handlers under the names of ruby_fixtures/jobs.rb, which tell what ran in the same Redis list.

    {class, jid, args}      one JSON object per execution, oldest first, in `ruby_fixtures:ran`

Tests start a server on them with `sidekiq_py(HANDLERS, …)`; see compat_tests/conftest.py.
"""

from __future__ import annotations

import json
import time
from typing import Any

from sidekiq_py import Client, current_job, job

RAN = "ruby_fixtures:ran"
client = Client()


def tell() -> str:
    """Tell that the current job runs; returns its jid."""
    running = current_job()
    told = {"class": running.job_class, "jid": running.jid, "args": running.args}
    client.redis.call("RPUSH", RAN, json.dumps(told))
    return running.jid


class ArgumentError(Exception):
    """Has the name of Ruby's."""


@job("HardJob")
def hard_job(*args: Any) -> None:
    tell()


@job("SlowJob")
def slow_job(seconds: float, *args: Any) -> None:
    """Tells before it sleeps, so that whoever waits knows it is running."""
    tell()
    time.sleep(seconds)


@job("BoomJob", retry=1, backtrace=2)
def boom_job(*args: Any) -> None:
    tell()
    raise ArgumentError("boom é <b>")


@job("PlainBoom")
def plain_boom(*args: Any) -> None:
    tell()
    raise RuntimeError("plain boom")


@job("QueueBoom", queue="critical", retry=5, retry_queue="low", tags=["t1"])
def queue_boom(*args: Any) -> None:
    tell()
    raise RuntimeError("queue boom")


@job("ZeroJob", retry=0)
def zero_job(*args: Any) -> None:
    tell()
    raise RuntimeError("zero")


@job("NeverJob", retry=False)
def never_job(*args: Any) -> None:
    tell()
    raise RuntimeError("never")


@job("FlakyJob")
def flaky_job(failures: int, *args: Any) -> None:
    """Fails as often as its first argument says, then succeeds."""
    attempt = client.redis.call("INCR", f"ruby_fixtures:attempts:{tell()}")
    if attempt <= failures:
        raise RuntimeError(f"flaky {attempt}")


@flaky_job.retry_in
def one_second(count: int, error: BaseException, payload: Any) -> int:
    return 1


@job("ForwardJob")
def forward_job(job_class: str, queue: str, args: list[Any]) -> None:
    """Pushes a job for somebody else, usually for Ruby."""
    tell()
    client.push({"class": job_class, "queue": queue, "args": args})
