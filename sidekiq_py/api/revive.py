"""The payload of a job that goes from a set back to its queue: only the fields concerned are written anew."""

from __future__ import annotations

from sidekiq_py.dialect import UNKNOWN, timestamp_like
from sidekiq_py.mend import mend
from sidekiq_py.payload import Payload, fields, parse, rebuild, write_changes

DEFAULT_QUEUE = "default"


def revived(raw: bytes, *, now: float, retry_again: bool) -> tuple[str, bytes]:
    """The queue this job goes to and the bytes to push.

    `retry_again` takes one off `retry_count`, so that the coming failure doesn't count twice; as in Ruby a
    first failure's 0 becomes -1. `now` becomes `enqueued_at`, in the style of the job's own `created_at`.
    Raises InvalidPayload for bytes that no server could run.
    """
    before = parse(raw)
    job = dict(before)  # shallow will do: fields are replaced, never changed in place
    if not isinstance(queue := job.get("queue"), str) or not queue:
        job["queue"] = DEFAULT_QUEUE
    job.setdefault("retry", True)
    job.setdefault("created_at", UNKNOWN.timestamp(now))
    if retry_again:
        _count_back(job)
    mend(job, UNKNOWN)
    job["enqueued_at"] = timestamp_like(job.get("created_at"), now, UNKNOWN)
    edited = fields(raw)
    write_changes(edited, before, job)
    return str(job["queue"]), rebuild(edited)


def _count_back(job: Payload) -> None:
    count = job.get("retry_count")
    if isinstance(count, int | float) and not isinstance(count, bool):
        job["retry_count"] = count - 1
