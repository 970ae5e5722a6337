"""The job that runs here and now, for handlers and what they call.

It is the job that log records belong to (`sidekiq_py.logger`): bound once, seen by both.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sidekiq_py.logger import bind_inner_job, bound_job, release_job
from sidekiq_py.payload import Payload

_logger: Final = logging.getLogger("sidekiq.job")


class RunningJob:
    """A view of a running job's payload."""

    __slots__ = ("payload", "queue")

    payload: Payload
    """The whole job; treat it as read-only."""
    queue: str
    """The queue it was fetched from, without prefix."""

    def __init__(self, payload: Payload, queue: str) -> None:
        self.payload = payload
        self.queue = queue

    @property
    def jid(self) -> str:
        """24 hex digits, unless the client gave a string of its own."""
        return str(self.payload.get("jid", ""))

    @property
    def job_class(self) -> str:
        """The job class name, as in `HardJob`."""
        return str(self.payload["class"])

    @property
    def args(self) -> list[Any]:
        """The arguments as JSON brought them, before any conversion."""
        args: list[Any] = self.payload["args"]
        return args

    @property
    def retry_count(self) -> int | None:
        """None at the first run, 0 at the first retry, and so on, as Sidekiq counts."""
        count = self.payload.get("retry_count")
        return int(count) if isinstance(count, int | float) else None

    @property
    def tags(self) -> list[str]:
        """The job's tags; empty when it has none."""
        tags = self.payload.get("tags")
        return [str(tag) for tag in tags] if isinstance(tags, list) else []

    @property
    def logger(self) -> logging.Logger:
        """The logger `sidekiq.job`; in a server each of its lines shows class and jid."""
        return _logger

    def __repr__(self) -> str:
        return f"<RunningJob {self.job_class} {self.jid} of queue {self.queue}>"


@contextmanager
def running(payload: Payload, queue: str) -> Iterator[None]:
    """In this block the job is current, in this greenlet or thread; then the one before, usually none."""
    token = bind_inner_job(payload, queue)
    try:
        yield
    finally:
        release_job(token)


def current_job() -> RunningJob:
    """The job that runs in this greenlet or thread. Raises LookupError when there is none."""
    bound = bound_job()
    if bound is None:
        raise LookupError(
            "no job runs here: current_job() works inside a handler that a server, perform_inline or "
            "sidekiq_py.testing runs, not in a plain call of the function or in a thread it started"
        )
    return RunningJob(*bound)
