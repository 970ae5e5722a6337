"""A stored job, looked at: every field by name and type, whoever wrote it and however damaged it is.

Ruby twin: Sidekiq::JobRecord.
"""

from __future__ import annotations

from functools import cached_property
from math import isfinite
from typing import Any

from sidekiq_py.api import display
from sidekiq_py.api.round_trip import json_object
from sidekiq_py.clock import Clock
from sidekiq_py.errors import InvalidPayload
from sidekiq_py.payload import Payload, UnreadableArguments, decode_backtrace, parse, read_timestamp


class JobRecord:
    """A view of one stored payload. Nothing here raises: what can't be read is None, "" or empty.

    `raw` is the payload's exact bytes, `queue` the queue it is on (or goes to). Times are epoch seconds.
    """

    def __init__(self, raw: bytes, queue: str | None = None, *, clock: Clock | None = None) -> None:
        self.raw = raw
        self._queue = queue
        self._clock = clock or Clock()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.job_class or self.problem} jid={self.jid} queue={self.queue}>"

    @cached_property
    def _read(self) -> tuple[Payload, str | None]:
        try:
            return parse(self.raw), None
        except InvalidPayload as error:
            return json_object(self.raw), str(error)

    @property
    def payload(self) -> Payload:
        """The decoded job; empty when the bytes are no JSON object. Changing it changes nothing in Redis."""
        return self._read[0]

    @property
    def problem(self) -> str | None:
        """Why no server could run this; None for a sound job."""
        return self._read[1]

    @property
    def jid(self) -> str:
        return self._text("jid")

    @property
    def queue(self) -> str:
        """The queue's name, without prefix."""
        return self._queue if self._queue is not None else self._text("queue")

    @property
    def job_class(self) -> str:
        """What goes by that name on the wire: for an ActiveJob its wrapper."""
        return self._text("class")

    @property
    def display_class(self) -> str:
        """The name people know the job by: the class that ActiveJob wrapped, `Mailer#action` for a mail."""
        return display.display_class(self.payload)

    @property
    def args(self) -> list[Any]:
        """The arguments as stored."""
        args = self.payload.get("args")
        return [] if isinstance(args, UnreadableArguments) or not isinstance(args, list) else args

    @property
    def display_args(self) -> list[Any]:
        """The arguments as the caller wrote them; Enterprise's encrypted last one is masked."""
        return display.display_args(self.payload)

    @property
    def created_at(self) -> float | None:
        return self._time("created_at")

    @property
    def enqueued_at(self) -> float | None:
        return self._time("enqueued_at")

    @property
    def failed_at(self) -> float | None:
        return self._time("failed_at")

    @property
    def retried_at(self) -> float | None:
        return self._time("retried_at")

    @property
    def latency(self) -> float:
        """Seconds since the job was put on its queue (else since it was made); 0.0 when nobody knows."""
        since = self.enqueued_at or self.created_at
        return 0.0 if since is None else max(0.0, self._clock.now() - since)

    @property
    def retry_count(self) -> int | None:
        """Retries so far, 0 after the first failure; None for a job that never failed."""
        count = self.payload.get("retry_count")
        if isinstance(count, bool) or not isinstance(count, int | float) or not isfinite(count):
            return None
        return int(count)

    @property
    def error_class(self) -> str | None:
        return self._text("error_class") or None

    @property
    def error_message(self) -> str | None:
        return self._text("error_message") or None

    @cached_property
    def error_backtrace(self) -> list[str]:
        """The lines of the stored backtrace, the innermost first; [] for none, a damaged or a huge one."""
        stored = self.payload.get("error_backtrace")
        if isinstance(stored, list):  # not Ruby's form, but some clients write it
            return [line for line in stored if isinstance(line, str)]
        return decode_backtrace(stored) if isinstance(stored, str) else []

    @property
    def tags(self) -> list[str]:
        tags = self.payload.get("tags")
        if isinstance(tags, str):
            return [tags]
        return [str(tag) for tag in tags] if isinstance(tags, list) else []

    @property
    def bid(self) -> str | None:
        """The batch (Sidekiq Pro) that the job belongs to."""
        return self._text("bid") or None

    @property
    def cattr(self) -> dict[str, Any]:
        """Rails' CurrentAttributes by name, whether stored as an object (6.4, 7.x) or as pairs (8.x)."""
        stored = self.payload.get("cattr")
        if isinstance(stored, list):
            pairs = [pair for pair in stored if isinstance(pair, list) and len(pair) == 2]
            return {str(display.plain(name)): display.plain(value) for name, value in pairs}
        return display.plain(stored) if isinstance(stored, dict) else {}

    def _text(self, key: str) -> str:
        value = self.payload.get(key)
        return value if isinstance(value, str) else ""

    def _time(self, key: str) -> float | None:
        return read_timestamp(self.payload.get(key))
