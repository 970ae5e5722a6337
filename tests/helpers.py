"""What many tests need: a clock, waiting to a deadline (nothing else may sleep), a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import redis as redis_py

from sidekiq_py.clock import Clock

T = TypeVar("T")


class StillClock(Clock):
    """Shows the same moment until told another: `clock.moment += 60`."""

    def __init__(self, moment: float) -> None:
        self.moment = moment

    def now(self) -> float:
        return self.moment

    def monotonic(self) -> float:
        return self.moment


def eventually(predicate: Callable[[], T], timeout: float = 5.0, *, every: float = 0.01) -> T:
    """Ask again and again until the answer is true, and return it. AssertionError when time is up.

    An AssertionError inside the predicate counts as "not yet", and is what the final failure shows.
    """
    deadline = time.monotonic() + timeout
    while True:
        problem: AssertionError | None = None
        try:
            if answer := predicate():
                return answer
        except AssertionError as error:
            problem = error
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {timeout} s: {problem or predicate}") from problem
        time.sleep(every)


def rest(seconds: float) -> None:
    """Let time pass, where time itself is what is tested."""
    time.sleep(seconds)


def at_once(*functions: Callable[[], T]) -> list[T]:
    """Run each in a thread of its own; their results in order. Raises the first one's error."""
    with ThreadPoolExecutor(len(functions)) as threads:
        return [run.result() for run in [threads.submit(function) for function in functions]]


def run_python(code: str, *arguments: str, timeout: float = 60.0) -> str:
    """What the code prints in a fresh interpreter. AssertionError with its stderr when it fails."""
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def full(raw: redis_py.Redis) -> Iterator[None]:
    """Inside the block Redis has no memory left for anything new."""
    raw.config_set("maxmemory", 1)
    try:
        yield
    finally:
        raw.config_set("maxmemory", 0)


def emptied(raw: redis_py.Redis) -> None:
    """Nobody connected and nothing stored: a server killed a moment ago may still be served, else."""
    raw.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    raw.flushall()
