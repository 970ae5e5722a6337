"""What type checkers must make of the public API. Never run: mypy and pyright read it, see test_types.py.

A `type: ignore` marks a line that must be an error; both checkers report one that isn't needed.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, assert_type

from sidekiq_py import (
    Client,
    Config,
    Embedded,
    Job,
    Payload,
    RunningJob,
    configure_client,
    configure_embed,
    configure_server,
    current_job,
    job,
    testing,
)


@job("HardJob", queue="low", retry=5, backtrace=20, tags=["demo"], lock="until_executed")
def hard_job(name: str, count: int = 1) -> bytes:
    return name.encode() * count


@job("TimedJob", retry_for=timedelta(hours=1), dead=False, log_level="debug", timeout=30)
def timed(when: datetime, *rest: float) -> None: ...


assert_type(hard_job("bob", 5), bytes)
assert_type(hard_job.perform_async("bob"), str | None)
assert_type(hard_job.perform_async("bob", count=5), str | None)
assert_type(hard_job.perform_in(60, "bob"), str | None)
assert_type(hard_job.perform_in(timedelta(minutes=1), "bob", 5), str | None)
assert_type(hard_job.perform_at(datetime.now(), "bob"), str | None)
assert_type(hard_job.perform_bulk([("bob", 1), ("al", 2)]), list[str | None])
assert_type(hard_job.perform_bulk([["bob"]], at=[1.0], batch_size=10), list[str | None])
assert_type(hard_job.perform_inline("bob"), bytes | None)
assert_type(hard_job.set(queue="low", tags=["x"]).perform_async("bob"), str | None)
assert_type(hard_job.via(Client()).set(retry=False, custom=1).perform_async("bob", 1), str | None)
assert_type(hard_job.name, str)
assert_type(timed.perform_async(datetime.now(), 1.0, 2), str | None)

hard_job.perform_async()  # type: ignore[call-arg]
hard_job.perform_async(5)  # type: ignore[arg-type]
hard_job.perform_async("bob", "5")  # type: ignore[arg-type]
hard_job.perform_async("bob", 5, 6)  # type: ignore[call-arg]
hard_job.perform_async("bob", cuont=5)  # type: ignore[call-arg]
hard_job.perform_in("soon", "bob")  # type: ignore[arg-type]
hard_job.perform_in(60, 5)  # type: ignore[arg-type]
hard_job.perform_at(60)  # type: ignore[call-arg]
hard_job.set(queue=5)  # type: ignore[arg-type]
hard_job.set(queue="low").perform_async("bob", "5")  # type: ignore[arg-type]
hard_job.perform_inline(5)  # type: ignore[arg-type]
timed.perform_async("2026-11-24T04:00:00Z")  # type: ignore[arg-type]
job("HardJob", queue=5)  # type: ignore[arg-type]
job("HardJob", retry="3")  # type: ignore[arg-type]
job()  # type: ignore[call-arg]


@hard_job.retry_in
def wait(count: int, error: BaseException, payload: Payload) -> int | str | None:
    return "kill" if count > 3 else 10 * count


@hard_job.retries_exhausted
def give_up(payload: Payload, error: BaseException) -> str | None:
    return "discard"


@hard_job.retry_in  # type: ignore[type-var]
def too_little(count: int) -> int:
    return count


assert_type(wait(1, ValueError(), {}), int | str | None)


def push_many(target: Job[[str], None]) -> None:
    target.perform_async("bob")
    target.perform_async(5)  # type: ignore[arg-type]


def look() -> None:
    running = current_job()
    assert_type(running, RunningJob)
    assert_type(running.jid, str)
    assert_type(running.args, list[Any])
    assert_type(running.retry_count, int | None)


def push() -> None:
    client = Client(url="redis://localhost", dialect=7)
    assert_type(client.push({"class": "RubyOnlyJob", "args": [1, 2], "queue": "low"}), str | None)
    assert_type(
        client.push_bulk({"class": "RubyOnlyJob", "args": [[1], [2]]}, batch_size=2), list[str | None]
    )
    client.push("RubyOnlyJob")  # type: ignore[arg-type]


def timing(job: Payload, queue: str, call_next: Callable[[], object]) -> object:
    return call_next()


def traced(job_class: str, job: Payload, queue: str, call_next: Callable[[], object]) -> object:
    return call_next()


@configure_server
def serve(config: Config) -> None:
    config.server_middleware.add(timing)
    config.client_middleware.add(traced)
    config.server_middleware.add(traced)  # type: ignore[arg-type]


@configure_client
def connect(config: Config) -> None:
    config.client_middleware.add(traced)


@configure_embed
def server(config: Config) -> None:
    config.concurrency = 2


assert_type(server, Embedded)
assert_type(server.identity, str)
configure_embed(5)  # type: ignore[arg-type]


def test_something() -> None:
    with testing.fake():
        assert_type(testing.jobs(hard_job), list[Payload])
        assert_type(testing.drain(hard_job.set(queue="low")), int)
        assert_type(testing.perform_one("HardJob"), object)
