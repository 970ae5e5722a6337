"""The modes for tests of programs that push jobs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from sidekiq_py import testing
from sidekiq_py.client import Client
from sidekiq_py.client_defaults import defaults
from sidekiq_py.config import Config
from sidekiq_py.errors import InvalidHandler, InvalidJob, UnknownJobClass
from sidekiq_py.job import Job, current_job, job
from sidekiq_py.middleware import CallNext, Chain
from sidekiq_py.payload import Payload
from sidekiq_py.registry import registry


@pytest.fixture(autouse=True)
def own_settings() -> Iterator[None]:
    known = registry.names()
    defaults.use(Config())
    yield
    defaults.use(None)
    registry.discard(set(registry.names()) - set(known))


@pytest.fixture
def ran() -> list[Any]:
    return []


@pytest.fixture
def recorder(ran: list[Any]) -> Job[..., Any]:
    @job("RecorderJob")
    def recorder(value: object) -> object:
        ran.append((value, current_job().jid))
        return value

    return recorder


@pytest.fixture
def chain_job(ran: list[Any]) -> Job[..., Any]:
    @job("ChainJob")
    def chain_job(left: int) -> None:
        ran.append(left)
        if left:
            chain_job.perform_in(3600, left - 1)

    return chain_job


def test_fake_keeps_jobs_as_they_would_be_stored(recorder: Job[..., Any], ran: list[Any]) -> None:
    value = {"a": [1, "é"]}

    with testing.fake():
        jid = recorder.perform_async(value)
        recorder.perform_in(60, "later")
        now, later = testing.jobs(recorder)

    assert (now["jid"], now["args"], now["queue"]) == (jid, [value], "default")
    assert now["args"][0] is not value
    assert "enqueued_at" in now
    assert later["at"] > later["created_at"]
    assert ran == []


def test_fake_is_as_strict_as_a_real_push(recorder: Job[..., Any]) -> None:
    with testing.fake(), pytest.raises(InvalidJob):
        recorder.perform_async({1, 2})


def test_jobs_can_be_asked_for_by_job_by_name_or_all(
    recorder: Job[..., Any], chain_job: Job[..., Any]
) -> None:
    with testing.fake():
        recorder.perform_async(1)
        chain_job.perform_async(1)
        Client().push_bulk({"class": "RubyOnlyJob", "args": [[1], [2]]})

        assert len(testing.jobs()) == 4
        assert [payload["class"] for payload in testing.jobs(chain_job)] == ["ChainJob"]
        assert [payload["args"] for payload in testing.jobs("RubyOnlyJob")] == [[1], [2]]


def test_drain_runs_all_jobs_of_a_class_and_those_they_push(chain_job: Job[..., Any], ran: list[Any]) -> None:
    with testing.fake():
        chain_job.perform_async(3)

        assert testing.drain(chain_job) == 4
        assert testing.jobs() == []

    assert ran == [3, 2, 1, 0]


def test_drain_leaves_other_classes_alone(recorder: Job[..., Any], chain_job: Job[..., Any]) -> None:
    with testing.fake():
        recorder.perform_async(1)
        chain_job.perform_async(0)

        testing.drain(chain_job)

        assert len(testing.jobs(recorder)) == 1


def test_drain_all_runs_everything_in_order(
    recorder: Job[..., Any], chain_job: Job[..., Any], ran: list[Any]
) -> None:
    with testing.fake():
        chain_job.perform_async(1)
        jid = recorder.perform_async("x")

        assert testing.drain_all() == 3

    assert ran == [1, ("x", jid), 0]


def test_perform_one_runs_the_oldest_and_returns_its_result(recorder: Job[..., Any], ran: list[Any]) -> None:
    with testing.fake():
        recorder.perform_bulk([["first"], ["second"]])

        assert testing.perform_one(recorder) == "first"
        assert [payload["args"] for payload in testing.jobs(recorder)] == [["second"]]


def test_perform_one_says_what_there_is_when_there_is_nothing_to_run(
    recorder: Job[..., Any], chain_job: Job[..., Any]
) -> None:
    with testing.fake():
        chain_job.perform_async(0)

        with pytest.raises(LookupError, match="no RecorderJob was pushed; kept are jobs of ChainJob"):
            testing.perform_one(recorder)


def test_a_job_that_fails_is_gone_and_its_error_seen() -> None:
    @job("BoomJob")
    def boom() -> None:
        raise ZeroDivisionError("boom")

    with testing.fake():
        boom.perform_async()
        with pytest.raises(ZeroDivisionError):
            testing.drain(boom)

        assert testing.jobs() == []


def test_clear_forgets_one_class_and_clear_all_everything(
    recorder: Job[..., Any], chain_job: Job[..., Any]
) -> None:
    with testing.fake():
        recorder.perform_async(1)
        chain_job.perform_async(1)

        testing.clear(recorder)
        left = [payload["class"] for payload in testing.jobs()]
        testing.clear_all()

        assert left == ["ChainJob"]
        assert testing.jobs() == []


def test_each_fake_block_starts_empty_and_gives_back_what_was_there(recorder: Job[..., Any]) -> None:
    with testing.fake():
        recorder.perform_async("outer")
        with testing.fake():
            inner = testing.jobs()
        outer = testing.jobs()

    assert inner == []
    assert [payload["args"] for payload in outer] == [["outer"]]
    assert testing.jobs() == []


def test_inline_runs_a_job_before_the_push_returns(
    recorder: Job[..., Any], chain_job: Job[..., Any], ran: list[Any]
) -> None:
    with testing.inline():
        jid = recorder.perform_async(1)
        chain_job.perform_async(2)

    assert ran == [(1, jid), 2, 1, 0]


def test_inline_raises_for_a_handler_that_only_promises_to_run() -> None:
    async def later() -> None: ...

    @job("LazyJob")
    def lazy() -> object:
        return later()

    with testing.inline(), pytest.raises(InvalidHandler, match="LazyJob returned a coroutine, which nobody"):
        Client(dialect=7).push({"class": "LazyJob", "args": []})


def test_inline_raises_for_a_class_nobody_handles() -> None:
    with testing.inline(), pytest.raises(UnknownJobClass):
        Client().push({"class": "RubyOnlyJob", "args": []})


def test_modes_hold_for_all_threads(recorder: Job[..., Any]) -> None:
    with testing.fake():
        thread = threading.Thread(target=recorder.perform_async, args=(1,))
        thread.start()
        thread.join()

        assert len(testing.jobs()) == 1


def test_disable_pushes_for_real_inside_a_fake_block(recorder: Job[..., Any]) -> None:
    sent: list[object] = []

    class Recording:
        def pipeline(self, commands: Any) -> list[int]:
            sent.extend(command[0] for command in commands)
            return [1] * len(commands)

        call = run_script = pipeline

    client = Client(redis=Recording(), middleware=Chain(), dialect=7)
    with testing.fake(), testing.disable():
        recorder.via(client).perform_async(1)

        assert testing.jobs() == []

    assert sent == ["SADD", "LPUSH"]


def test_server_middleware_runs_only_when_the_test_adds_it(recorder: Job[..., Any], ran: list[Any]) -> None:
    def shout(job: Payload, queue: str, call_next: CallNext) -> object:
        ran.append(f"{job['class']} of {queue}")
        return call_next()

    testing.server_middleware.add(shout)
    with testing.inline():
        recorder.perform_async(1)
    testing.server_middleware.clear()

    assert ran[0] == "RecorderJob of default"
