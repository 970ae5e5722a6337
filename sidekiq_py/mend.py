"""Repairs what other programs wrote into a job and Ruby can't take.

Ruby's poller takes an entry out of its set before it validates it: one it chokes on is lost, and pages of its
Web UI raise on others. So a job is mended before we store it again; one that can't be is put into a shell.
"""

from __future__ import annotations

import json
from typing import Final

from sidekiq_py.dialect import Dialect, timestamp_like
from sidekiq_py.payload import (
    Payload,
    UnreadableArguments,
    decode_backtrace,
    encode_backtrace,
    fields,
    generate,
    new_jid,
    parse,
    read_timestamp,
    rebuild,
    write_changes,
)

TIMES: Final = ("created_at", "enqueued_at", "failed_at", "retried_at")
LONGEST_RETRY_FOR: Final = 1_000_000_000  # seconds; Sidekiq's client refuses more
SHELL_CLASS: Final = "InvalidPayload"
WRAPPERS: Final = frozenset(
    {"ActiveJob::QueueAdapters::SidekiqAdapter::JobWrapper", "Sidekiq::ActiveJob::Wrapper"}
)
MAIL_JOB: Final = "ActionMailer::MailDeliveryJob"


def mend(job: Payload, dialect: Dialect) -> None:
    """Change the fields of a job, in place, that Ruby's client or pages would raise on."""
    job.pop("at", None)  # would schedule the job once more when it is promoted
    _mend_for_lists(job)
    _mend_jid(job)
    _mend_backtrace(job)
    _mend_retry_for(job)
    for name in TIMES:
        if name in job and not _is_number(job[name]):
            _mend_time(job, name, dialect)


def as_shown(raw: bytes) -> bytes:
    """A running job's payload for the Busy page: as it is, but for what would make the page raise."""
    shown, before = parse(raw), parse(raw)
    _mend_for_lists(shown)
    if shown == before:
        return raw
    stored = fields(raw)
    write_changes(stored, before, shown)
    return rebuild(stored)


def _mend_for_lists(job: Payload) -> None:
    """Change what makes pages raise that list many jobs: one such entry hides all the others."""
    if not isinstance(tags := job.get("tags"), list | None):
        job["tags"] = [str(tags)]
    if "wrapped" in job and job["class"] in WRAPPERS and not _is_active_job(job):
        del job["wrapped"]


def _is_active_job(job: Payload) -> bool:
    """Whether pages find what they look for in the hash that ActiveJob passes as the only argument."""
    args = job["args"]
    if isinstance(args, UnreadableArguments):
        return True
    arguments = args[0].get("arguments") if args and isinstance(args[0], dict) else None
    if not isinstance(arguments, list):
        return False
    return job["wrapped"] != MAIL_JOB or (len(arguments) > 3 and isinstance(arguments[3], dict))


def _mend_jid(job: Payload) -> None:
    """Without one, no page and no API call finds the entry; Ruby's client would give one too."""
    if not isinstance(jid := job.get("jid"), str) or not jid:
        job["jid"] = str(jid) if type(jid) is int else new_jid()


def _mend_backtrace(job: Payload) -> None:
    backtrace = job.get("error_backtrace")
    if isinstance(backtrace, list):  # as Sidekiq 5 stored it
        job["error_backtrace"] = encode_backtrace([str(line) for line in backtrace])
    elif backtrace is not None and not decode_backtrace(backtrace):
        del job["error_backtrace"]


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
