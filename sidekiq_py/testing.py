"""Modes for tests of programs that push jobs: keep them in memory, or run them at once; no Redis needed.

    with testing.fake():
        sign_up("bob")
        assert [job["args"] for job in testing.jobs(send_mail)] == [["bob"]]
        testing.drain(send_mail)

A mode holds for the whole process, threads included, until its block ends. Jobs pass client middleware and
JSON as in a real push. Ruby twin: Sidekiq::Testing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

from sidekiq_py.client import Detour, detours
from sidekiq_py.clock import Clock
from sidekiq_py.job import Setter, run
from sidekiq_py.middleware import SERVER_LINK_TAKES, Chain, ServerMiddleware
from sidekiq_py.payload import Payload, generate, parse

Which: TypeAlias = "Setter[..., Any] | str"

server_middleware: Final[Chain[ServerMiddleware]] = Chain(takes=SERVER_LINK_TAKES)
"""What `inline`, `drain` and `perform_one` run jobs in; empty unless a test adds to it, as in Ruby."""

_pushed: Final[list[Payload]] = []
_clock: Final = Clock()


@contextmanager
def fake() -> Iterator[None]:
    """In this block pushed jobs are kept in memory. Starts empty; what is left at the end is forgotten."""
    outer, _pushed[:] = _pushed[:], []
    try:
        with _mode(_keep):
            yield
    finally:
        _pushed[:] = outer


@contextmanager
def inline() -> Iterator[None]:
    """In this block a push runs its job before it returns; the job's error goes to whoever pushed."""
    with _mode(_run_all):
        yield


@contextmanager
def disable() -> Iterator[None]:
    """In this block jobs go to Redis, though a mode is on outside of it."""
    with _mode(None):
        yield


def jobs(which: Which | None = None) -> list[Payload]:
    """The payloads kept by `fake`, oldest first: all, or those of a job (or a job class by name)."""
    return [payload for payload in _pushed if which is None or payload["class"] == _name(which)]


def clear(which: Which) -> None:
    """Forget the kept jobs of this class."""
    _pushed[:] = [payload for payload in _pushed if payload["class"] != _name(which)]


def clear_all() -> None:
    """Forget all kept jobs."""
    _pushed.clear()


def perform_one(which: Which) -> object:
    """Run the oldest kept job of this class, return its result. Raises LookupError when there is none."""
    waiting = jobs(which)
    if not waiting:
        kept = sorted({payload["class"] for payload in _pushed})
        raise LookupError(f"no {_name(which)} was pushed; kept are jobs of {', '.join(kept) or 'no class'}")
    return _take(waiting[0])


def drain(which: Which) -> int:
    """Run all kept jobs of this class, and those they push, scheduled ones too; returns how many ran."""
    count = 0
    while waiting := jobs(which):
        _take(waiting[0])
        count += 1
    return count


def drain_all() -> int:
    """Run all kept jobs, and those they push, until none is left; returns how many ran."""
    count = 0
    while _pushed:
        _take(_pushed[0])
        count += 1
    return count


@contextmanager
def _mode(detour: Detour | None) -> Iterator[None]:
    detours.append(detour)
    try:
        yield
    finally:
        detours.pop()


def _keep(pushed: Sequence[Payload]) -> None:
    for job in pushed:
        payload = parse(generate(job))
        if "at" not in payload:
            payload["enqueued_at"] = _clock.now()
        _pushed.append(payload)


def _run_all(pushed: Sequence[Payload]) -> None:
    for job in pushed:
        run(job, server_middleware)


def _take(payload: Payload) -> object:
    """Run a kept job; it is gone also when it fails, as a popped job is."""
    _pushed.remove(payload)
    return run(payload, server_middleware)


def _name(which: Which) -> str:
    return which if isinstance(which, str) else which.handler.name
