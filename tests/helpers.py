"""What many tests need: waiting to a deadline. The one place in the tests that may sleep."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


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
