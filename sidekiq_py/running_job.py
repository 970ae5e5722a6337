"""The job that runs here and now: set around each run, read by handlers and by what they call."""

from __future__ import annotations

import logging
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Final

from sidekiq_py.payload import Payload

_running: ContextVar[RunningJob | None] = ContextVar("sidekiq_running_job", default=None)
_logger: Final = logging.getLogger("sidekiq.job")


class RunningJob:
    """A view of a running job's payload. As a context manager it is `current_job()` inside the block."""

    __slots__ = ("_token", "payload", "queue")

    payload: Payload
    """The whole job; treat it as read-only."""
    queue: str
    """The queue it was fetched from, without prefix."""

    def __init__(self, payload: Payload, queue: str) -> None:
        self.payload = payload
        self.queue = queue
        self._token: Token[RunningJob | None] | None = None

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

    def __enter__(self) -> RunningJob:
        self._token = _running.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._token is not None:
            _running.reset(self._token)
            self._token = None

    def __repr__(self) -> str:
        return f"<RunningJob {self.job_class} {self.jid} of queue {self.queue}>"


def bind(payload: Payload, queue: str) -> RunningJob:
    """`with bind(payload, queue):` makes the job current in this greenlet or thread."""
    return RunningJob(payload, queue)


def current_job() -> RunningJob:
    """The job that runs in this greenlet or thread. Raises LookupError when there is none."""
    job = _running.get()
    if job is None:
        raise LookupError(
            "no job runs here: current_job() works inside a handler that a server, perform_inline or "
            "sidekiq_py.testing runs, not in a plain call of the function or in a thread it started"
        )
    return job
