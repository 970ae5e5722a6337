"""Repairs what other programs wrote into a job and Ruby can't take.

Ruby's poller takes an entry out of its set before it validates it: one it chokes on is lost, and pages of its
Web UI raise on others. So a job is mended before we store it again; one that can't be is put into a shell.
"""

from __future__ import annotations

import json
from typing import Final

from sidekiq_py.dialect import Dialect, timestamp_like
from sidekiq_py.payload import Payload, generate, new_jid, read_timestamp

TIMES: Final = ("created_at", "enqueued_at", "failed_at", "retried_at")
LONGEST_RETRY_FOR: Final = 1_000_000_000  # seconds; Sidekiq's client refuses more
SHELL_CLASS: Final = "InvalidPayload"


def mend(job: Payload, dialect: Dialect) -> None:
    """Change the fields of a job, in place, that Ruby's client or pages would raise on."""
    job.pop("at", None)  # would schedule the job once more when it is promoted
    if not isinstance(tags := job.get("tags"), list | None):
        job["tags"] = [str(tags)]
    _mend_retry_for(job)
    for name in TIMES:
        if name in job and not _is_number(job[name]):
            _mend_time(job, name, dialect)


def _mend_retry_for(job: Payload) -> None:
    if (retry_for := job.get("retry_for")) is None:
        return
    if not _is_number(retry_for):
        del job["retry_for"]
    elif retry_for > LONGEST_RETRY_FOR:
        job["retry_for"] = LONGEST_RETRY_FOR


def _mend_time(job: Payload, name: str, dialect: Dialect) -> None:
    at = read_timestamp(job[name])
    if at is None:
        del job[name]
    else:
        job[name] = timestamp_like(job.get("created_at"), at, dialect)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def shell_for(raw: bytes, *, queue: str, reason: str, failed_at: float | int) -> bytes:
    """What to store in the dead set for bytes that are no runnable job.

    Text that isn't JSON stays as it is: Ruby's pages show it raw. JSON that isn't a job makes them raise,
    so it becomes the argument of a job that says why.
    """
    if not _is_json(raw):
        return raw
    return generate(
        {
            "retry": False,
            "queue": queue,
            "class": SHELL_CLASS,
            "args": [raw.decode()],
            "jid": new_jid(),
            "error_message": reason,
            "error_class": "InvalidPayload",
            "failed_at": failed_at,
            "retry_count": 0,
        }
    )


def _is_json(raw: bytes) -> bool:
    try:
        json.loads(raw.decode(), parse_int=len, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(word: str) -> float:
    raise ValueError(f"{word} is not JSON")
