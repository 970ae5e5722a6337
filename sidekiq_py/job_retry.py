"""What becomes of a failed job: decided by a pure function, written by one script that also ends the claim.

Follows Sidekiq 8.1 where the versions differ (`retry_for` instead of the count, the spread of the jitter,
`discarded_at`). Ruby twin: Sidekiq::JobRetry.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal, TypeAlias, get_args

from sidekiq_py.payload import Payload, read_timestamp

LONGEST_DELAY: Final = 1_000_000_000.0  # seconds; a hook that returns more has made a mistake
HIGHEST_COUNT: Final = 1_000_000  # failures; a job that says more is damaged and starts again


@dataclass(frozen=True)
class Retry:
    """Into the retry set, due at `at` (epoch seconds)."""

    at: float


@dataclass(frozen=True)
class Kill:
    """Into the dead set, unless the job opts out of it."""


@dataclass(frozen=True)
class Discard:
    """Nothing is stored. `reason` is for the log."""

    reason: str


Verdict: TypeAlias = Retry | Kill | Discard
End: TypeAlias = Literal["discard", "kill"]
ENDS: Final[tuple[End, ...]] = get_args(End)
Wish: TypeAlias = int | End | None  # seconds to wait, or no further try; None: as usual
RetryIn: TypeAlias = Callable[[int], object]


def decide(
    job: Payload,
    *,
    now: float,
    retry_in: RetryIn | None = None,
    randrange: Callable[[int], int] = random.randrange,
    max_retries: int = 25,
) -> Verdict:
    """What becomes of a job that just failed.

    `job["retry"]` is filled in and `job["retry_count"]` is already the count of this failure (0 for the
    first). `retry_in` is the handler's hook for the delay, called with that count.
    """
    if job["retry"] is False:
        return Discard("retry is false")
    count: int = job["retry_count"]
    if is_exhausted(job, now=now, max_retries=max_retries):
        return Kill()
    wish = read_wish(retry_in(count)) if retry_in is not None else None
    if wish == "discard":
        return Discard("retry_in says discard")
    if wish == "kill":
        return Kill()
    return Retry(now + (count**4 + 15 if wish is None else wish) + randrange(10 * (count + 1)))


def is_exhausted(job: Payload, *, now: float, max_retries: int) -> bool:
    """Whether the job has had its last try: by time when it has `retry_for` (seconds), else by count."""
    retry_for = job.get("retry_for")
    if isinstance(retry_for, int | float) and not isinstance(retry_for, bool):
        failed_at = read_timestamp(job.get("failed_at"))
        return (now if failed_at is None else failed_at) + retry_for <= now
    return bool(job["retry_count"] >= retry_attempts(job["retry"], max_retries))


def retry_attempts(retry: object, max_retries: int) -> int:
    """How many retries an option allows; only a JSON integer counts as a number."""
    return retry if isinstance(retry, int) and not isinstance(retry, bool) else max_retries


def next_retry_count(job: Payload) -> int:
    """The count of this failure: 0 for the first, and after "retry now" of a first failure (-1) 0 again."""
    count: Any = job.get("retry_count")
    if isinstance(count, bool) or not isinstance(count, int | float) or not -1 <= count < HIGHEST_COUNT:
        return 0
    return int(count) + 1


def read_wish(answer: object) -> Wish:
    """What a retry_in hook's answer means; None (the usual delay) for anything that makes no sense."""
    for end in ENDS:
        if answer == end:
            return end
    if isinstance(answer, timedelta):
        answer = answer.total_seconds()
    try:
        seconds = float(answer)  # type: ignore[arg-type]  # None and odd objects raise TypeError
    except (TypeError, ValueError, OverflowError):
        return None
    return int(seconds) if 1 <= seconds <= LONGEST_DELAY else None
