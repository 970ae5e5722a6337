"""Handlers that use asyncio, many at once, in a server that gevent runs; and the same without a server."""

from __future__ import annotations

import asyncio

import pytest

from sidekiq_py import job, run_async
from sidekiq_py.errors import InvalidHandler
from sidekiq_py.registry import registry
from tests.helpers import eventually
from tests.process.stage import LONG, Stage
from tests.server_process import is_alive

HANDLERS = """
import asyncio
from sidekiq_py import run_async

async def meet(count):
    note("came", current_job().args[0])
    while len(open("notes").readlines()) < count:
        await asyncio.sleep(0.01)
    return current_job().jid

@job("Meet")
def meet_others(number, count):
    note("met", run_async(meet(count)) == current_job().jid)

async def endless():
    note("began")
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        note("cancelled")
        raise

@job("TooLong", timeout=0.5)
def too_long():
    run_async(endless())

@job("Endless")
def never_ends():
    run_async(endless())

async def broken():
    await asyncio.sleep(0)
    raise ValueError("no such feed")

@job("Broken")
def breaks():
    run_async(broken())

async def fork(how):
    if os.fork() == 0:
        note("child", os.getpid())
        wait_for("forked")
        if how == "raises":
            raise ValueError("a child's own")

@job("Forks")
def forks(how):
    run_async(fork(how))
"""


@pytest.mark.parametrize("count", [4, 15], ids=["four", "more than gevent's own threads"])
def test_as_many_coroutines_run_at_once_as_there_are_jobs(stage: Stage, count: int):
    for number in range(count):
        stage.push("Meet", number, count)

    stage.start(HANDLERS, "-c", str(count))

    eventually(lambda: stage.notes.count("met True") == count, LONG)
    stage.wait_until_settled()


def test_what_a_coroutine_raises_fails_the_job_and_is_shown_once(stage: Stage):
    stage.push("Broken", jid="a" * 24)

    server = stage.start(HANDLERS)

    assert stage.retry_of("a" * 24)["error_message"] == "no such feed"
    assert server.stop() == 0
    assert server.log.count("ValueError: no such feed") == 1


def test_a_timeout_cancels_the_coroutine(stage: Stage):
    stage.push("TooLong", jid="b" * 24)

    stage.start(HANDLERS)

    assert stage.retry_of("b" * 24)["error_class"] == "Timeout::Error"
    stage.wait_for_note("cancelled")


def test_a_shutdown_cancels_the_coroutine_and_puts_the_job_back(stage: Stage):
    raw = stage.push("Endless")
    server = stage.start(HANDLERS, "-t", "0.1")
    stage.wait_for_note("began")

    assert server.stop() == 0

    assert stage.queue() == [raw]
    stage.wait_for_note("cancelled")


@pytest.mark.row("J5")
@pytest.mark.parametrize("how", ["returns", "raises"])
def test_a_fork_in_a_coroutine_fails_the_job_and_its_child_ends_with_the_coroutine(stage: Stage, how: str):
    server = stage.start(HANDLERS)
    stage.push("Forks", how, jid="c" * 24)

    assert "child watchers" in stage.retry_of("c" * 24)["error_message"]
    stage.let("forked")

    eventually(lambda: len(stage.notes) == 1, LONG)
    child = int(stage.notes[0].removeprefix("child "))
    eventually(lambda: not is_alive(child), LONG)
    assert server.stop() == 0
    assert server.log.count("1 failed") == 1


def test_without_a_server_it_is_asyncio_run():
    async def add() -> int:
        await asyncio.sleep(0)
        return 3

    assert run_async(add()) == 3


def test_a_function_that_was_not_called_is_refused_with_how_to_write_it():
    async def add() -> None: ...

    with pytest.raises(TypeError, match=r"takes a coroutine, as in run_async\(fetch\(url\)\), got <function"):
        run_async(add)


def test_an_async_handler_is_refused_with_the_way_that_works():
    async def fetch() -> None: ...

    with pytest.raises(InvalidHandler, match="run_async"):
        job("AsyncJob")(fetch)
    assert "AsyncJob" not in registry.names()
