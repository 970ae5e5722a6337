"""A handler, or a hook, may fork: the child is a process of its own, and never a second server."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.helpers import eventually
from tests.process.stage import LONG, Stage, payload

HANDLERS = """
import multiprocessing, signal, subprocess, sys

ENDS = {
    "return": None,
    "exit 7": SystemExit(7),
    "exit with words": SystemExit("words"),
    "error": ValueError("bad"),
}

@job("Forks")
def forks(how):
    child = os.fork()
    if child == 0:
        time.sleep(0.3)  # here gevent would let every other greenlet of the server go on
        note("child saw", subprocess.check_output(["echo", "an echo"], text=True).strip())
        if ENDS[how]:
            raise ENDS[how]
        return
    note(how, "->", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

@job("Neighbour")
def neighbour():
    for step in range(200):
        time.sleep(0.01)
        if os.path.exists("enough"):
            break
    note("neighbour ended")

@job("Pushes")
def pushes():
    def push():
        canary.perform_async("from a child")
    child = multiprocessing.get_context("fork").Process(target=push)
    child.start()
    child.join()
    note("child of multiprocessing", child.exitcode)

@job("Terminates")
def terminates():
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    child.start()
    time.sleep(0.2)
    child.terminate()
    child.join()
    note("terminated", child.exitcode)

@job("Elsewhere")
def elsewhere():
    import gevent
    def fork():
        child = os.fork()
        if child == 0:
            time.sleep(0.1)
            return
        note("elsewhere", os.waitpid(child, 0)[1])
    gevent.spawn(fork).join()

@job("Leaves")
def leaves():
    child = multiprocessing.get_context("fork").Process(target=outlive)
    child.start()

def outlive():
    note("child", os.getpid())
    wait_for("enough")
    canary.perform_async("from an orphan")
"""


@pytest.mark.row("J5")
def test_a_child_ends_with_its_handler_and_nothing_of_the_server_goes_on_in_it(stage: Stage):
    server = stage.start(HANDLERS, "-c", "3")
    ends = {"return": 0, "exit 7": 7, "exit with words": 1, "error": 1}

    for how, code in ends.items():
        stage.push("Neighbour")
        stage.push("Forks", how)
        stage.wait_for_note(f"{how} -> {code}")
    stage.let("enough")
    stage.wait_until_settled()

    assert stage.notes.count("neighbour ended") == len(ends)
    assert stage.notes.count("child saw an echo") == len(ends)
    assert stage.retries() == []
    assert "words\n" in server.log
    assert "ValueError: bad" in server.log
    assert server.stop() == 0
    assert "8 done, 0 failed" in server.log


@pytest.mark.row("J5")
def test_children_of_multiprocessing_may_push_and_be_terminated(stage: Stage):
    server = stage.start(HANDLERS)

    stage.push("Pushes")
    stage.wait_for_note("child of multiprocessing 0")
    stage.wait_for_note("canary from a child")
    stage.push("Terminates")
    stage.wait_for_note("terminated -15")
    stage.push("Elsewhere")
    stage.wait_for_note("elsewhere 0")
    stage.push("Canary", "after")
    stage.wait_for_note("canary after")

    assert "got TERM" not in server.log
    assert server.stop() == 0


@pytest.mark.row("J5")
def test_a_child_that_outlives_its_worker_keeps_none_of_its_connections_to_redis(stage: Stage):
    def connections() -> set[str]:
        return {each["id"] for each in stage.raw.client_list()}

    of_the_test = connections()
    server = stage.start(HANDLERS, "-p", "1")
    stage.push("Leaves")
    stage.wait_until_settled()
    eventually(lambda: any(line.startswith("child ") for line in stage.notes), LONG)
    stage.push("Canary", "after the fork")  # the parent's own are as they were
    stage.wait_for_note("canary after the fork")
    assert "Redis is down" not in server.log

    server.kill()

    try:
        eventually(lambda: connections() == of_the_test, LONG)  # else Redis would serve the dead one's BLMOVE
    finally:
        stage.let("enough")
    eventually(lambda: len(stage.queue()) == 1, LONG)  # the child opens its own


HOOKS = """
from functools import partial
from sidekiq_py import configure_server

OUTCOMES = {"returns": None, "exits": SystemExit(7), "raises": ValueError("bad")}

def fork(hook, how):
    child = os.fork()
    if child == 0:
        time.sleep(0.1)  # here gevent would let every other greenlet of the server go on
        if OUTCOMES[how]:
            raise OUTCOMES[how]
        return
    note(hook, how, "->", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

@job("Fails")
def fails(hook, how):
    raise ValueError(hook)

@job("Passes")
def passes(hook, how):
    pass

@fails.retry_in
def retry_in(count, error, job):
    if job["args"][0] == "retry_in":
        fork(*job["args"])
    return 600

@fails.retries_exhausted
def retries_exhausted(job, error):
    if job["args"][0] == "retries_exhausted":
        fork(*job["args"])

def death_handler(job, error):
    if job["args"][0] == "death_handler":
        fork(*job["args"])

def error_handler(error, context):
    if context["job"]["args"][0] == "error_handler":
        fork(*context["job"]["args"])

def client_middleware(job_class, job, queue, call_next):
    if job["args"][0] == "client_middleware":
        fork(*job["args"])
    return call_next()


@configure_server
def configure(config):
    config.death_handlers.append(death_handler)
    config.error_handlers.append(error_handler)
    config.client_middleware.add(client_middleware)
    for event in ("startup", "heartbeat", "quiet", "shutdown", "exit"):
        config.lifecycle_events[event] += [partial(fork, event, how) for how in OUTCOMES]
"""
AT_THE_END = ("quiet", "shutdown", "exit")
CODES = {"returns": 0, "exits": 7, "raises": 1}


@pytest.mark.row("J5")
def test_a_child_ends_with_its_hook_and_settles_nothing(stage: Stage):
    retry = {"retry_in": True, "error_handler": True, "retries_exhausted": 0, "death_handler": 0}
    server = stage.start(HOOKS, "-c", "3")
    for how in CODES:
        for hook, retries in retry.items():
            stage.push("Fails", hook, how, retry=retries)
        stage.raw.zadd("schedule", {payload("Passes", "client_middleware", how): 1})
    hooks = ("startup", "heartbeat", *retry, "client_middleware")

    for line in _ends(hooks):
        stage.wait_for_note(line)
    stage.wait_until_settled()
    assert server.stop() == 0

    assert sorted(line for line in stage.notes if "->" in line) == sorted(_ends((*hooks, *AT_THE_END)))
    assert len(stage.retries()) == len(stage.dead()) == 2 * len(CODES)
    assert "not ours any more" not in server.log
    assert f"{len(CODES)} done, {len(retry) * len(CODES)} failed" in server.log


def _ends(hooks: Iterable[str]) -> list[str]:
    return [f"{hook} {how} -> {code}" for hook in hooks for how, code in CODES.items()]
