"""One line when a job starts and one when it ends, in Sidekiq's words.

Ruby twin: Sidekiq::JobLogger.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from sidekiq_py.logger import (
    DEFAULT_ATTRIBUTES,
    JobLevels,
    JobToken,
    bind_job,
    bound_job,
    fields,
    job_level,
    parse_level,
    release_job,
)
from sidekiq_py.payload import Payload, error_class, error_message
from sidekiq_py.user_code import shown

logger = logging.getLogger("sidekiq.job")

_LEVEL_WORDS_REMEMBERED: Final = 100  # each unknown `log_level` is told of once; words come from the wire


class JobLogger:
    """Binds the job for log records, and logs start, done and fail.

    `skip` leaves out all but failures (Sidekiq's `skip_default_job_logging`); `attributes` are the payload
    keys to show; arguments are shown only through `show_args`. `levels` lets a job's own `log_level` open
    the loggers. Read `enabled` before `start` and `done`: it is all that a quiet server pays.
    """

    enabled: bool
    """Whether anything would come of `start` and `done` now."""

    def __init__(
        self,
        *,
        skip: bool = False,
        attributes: Sequence[str] = DEFAULT_ATTRIBUTES,
        show_args: Callable[[Payload], object] | None = None,
        levels: JobLevels | None = None,
    ) -> None:
        self._skip = skip
        self._attributes = attributes
        self._show_args = show_args
        self._levels = levels
        self._unknown_levels: set[str] = set()
        self.refresh()

    def refresh(self) -> None:
        """Look again at the logger's level."""
        self.enabled = not self._skip and logger.isEnabledFor(logging.INFO)

    def bind(self, job: Payload, queue: str) -> JobToken:
        """Make this the job of every record from here on. Give the token to `release` when it has ended."""
        level = self._own_level(job) if "log_level" in job else None
        if level is not None and self._levels is not None:
            self._levels.enter(level)
            self.refresh()
        return bind_job(job, queue, self._attributes, level)

    def release(self, token: JobToken) -> None:
        """The job has ended and all its lines are out."""
        level = job_level()
        release_job(token)
        if level is not None and self._levels is not None:
            self._levels.leave(level)
            self.refresh()

    def start(self, job: Payload) -> None:
        """`start`; with the arguments when they are to be shown."""
        args = {} if self._show_args is None else {"args": self._show_args(job)}
        self._log(logging.INFO, "start", args)

    def done(self, elapsed: float) -> None:
        """`done`, after so many seconds."""
        self._log(logging.INFO, "done", {"elapsed": round(elapsed, 3)})

    def fail(
        self,
        elapsed: float,
        error: BaseException,
        *,
        retry_count: int | None = None,
        retry_in: float | None = None,
    ) -> None:
        """`fail` with the error and its traceback: WARN when it is retried in `retry_in` seconds, else ERROR.

        Logged whatever `skip` says: this line is the only trace of the error in the log.
        """
        found: dict[str, object] = {"retry_count": retry_count}
        if retry_in is not None:
            found["retry_in"] = round(retry_in)
        found = {name: value for name, value in found.items() if value is not None}
        level = logging.ERROR if retry_in is None else logging.WARNING
        self._log(level, "fail", {**found, "elapsed": round(elapsed, 3)}, error)

    def dropped(self, elapsed: float, reason: str) -> None:
        """`dropped`: a middleware or the handler decided that the job is not to run; it is acknowledged."""
        self._log(logging.INFO, "dropped", {"reason": reason, "elapsed": round(elapsed, 3)})

    def interrupted(self, elapsed: float) -> None:
        """`interrupted`: the process stops, the job is back on its queue."""
        self._log(logging.INFO, "interrupted", {"elapsed": round(elapsed, 3)})

    def _log(
        self, level: int, message: str, event: dict[str, object], error: BaseException | None = None
    ) -> None:
        own = job_level()
        if not logger.isEnabledFor(level) or (own is not None and own > level):
            return
        try:
            exc_info = None if error is None else (type(error), error, error.__traceback__)
            # Not logger.info: looking up the calling line, always this one, is a third of a record's cost.
            record = logger.makeRecord(logger.name, level, __file__, 0, message, (), exc_info, __name__)
            record.__dict__["sidekiq"] = {**(record.__dict__.get("sidekiq") or fields()), **event}
            logger.handle(record)
        except BaseException as broken:  # filters, handlers and an error's words are the application's code
            what = message if error is None else f"{message} with {error_class(error)}"
            print(
                f"{_who()} {what}, which could not be logged: {error_class(broken)}: {error_message(broken)}",
                file=sys.stderr,
            )

    def _own_level(self, job: Payload) -> int | None:
        given: Any = job["log_level"]
        level = parse_level(given)
        if level is None and given is not None:
            self._warn_once(str(given))
        return level

    def _warn_once(self, word: str) -> None:
        if word in self._unknown_levels or len(self._unknown_levels) >= _LEVEL_WORDS_REMEMBERED:
            return
        self._unknown_levels.add(word)
        logger.warning("log_level %r of a job is unknown and ignored: give debug, info, warn or error", word)


def _who() -> str:
    job, _ = bound_job() or ({}, "")
    return f"jid={shown(job.get('jid'))} class={shown(job.get('class'))}:"
