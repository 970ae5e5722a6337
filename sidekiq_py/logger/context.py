"""Which job is running here, for every log record made while it runs.

A processor binds its job once; nothing is formatted until a record is really made. The binding is a
contextvar, so each thread and each greenlet sees its own. A greenlet that a job spawns starts empty, as
gevent greenlets do: `gevent.spawn(contextvars.copy_context().run, function)` takes the job along.

Ruby twin: Sidekiq::Context.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, Token
from functools import lru_cache
from typing import Any, Final, TypeAlias

from sidekiq_py.payload import Payload, display_class

DEFAULT_ATTRIBUTES: Final = ("bid", "tags")  # payload keys shown beside jid and class, as Sidekiq shows them
FLAT_NAMES: Final = ("tid", "jid", "class", "bid", "tags", "queue", "attempt")

# A tuple, because it is made for every job: a class with named slots takes four times as long.
Binding: TypeAlias = tuple[Payload, str, Sequence[str], "int | None"]  # job, queue, attributes, log level
JobToken: TypeAlias = Token["Binding | None"]

_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_FIRST_TID: Final = 36**5  # above every native thread id, so the two kinds of tid never meet

_bound: ContextVar[Binding | None] = ContextVar("sidekiq_job", default=None)
_extra: ContextVar[Mapping[str, object] | None] = ContextVar("sidekiq_context", default=None)
_serial = itertools.count()

current_tid: ContextVar[str] = ContextVar("sidekiq_tid", default="")
"""The short thread id of the processor that runs here; the field name of its job in `<identity>:work`."""


def new_tid() -> str:
    """A short base-36 id for one more processor, unique in this process."""
    return _base36(_FIRST_TID + (os.getpid() << 12) + next(_serial))


def tid() -> str:
    """The id that log lines show: that of the processor running here, else of the native thread."""
    return current_tid.get() or _base36(threading.get_native_id())


@lru_cache(maxsize=256)
def _base36(number: int) -> str:
    text = ""
    while number:
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
    return text


def bind_job(
    job: Payload, queue: str, attributes: Sequence[str] = DEFAULT_ATTRIBUTES, level: int | None = None
) -> JobToken:
    """Make this the job of every record from here on, until `release_job` gets the token back.

    `queue` is where the job was fetched; `attributes` are the payload keys to show; `level` is the least
    level of records the job lets through.
    """
    return _bound.set((job, queue, attributes, level))


def bind_inner_job(job: Payload, queue: str) -> JobToken:
    """As `bind_job`, logged as the job around it is, if there is one."""
    outer = _bound.get()
    return bind_job(job, queue) if outer is None else bind_job(job, queue, outer[2], outer[3])


def bound_job() -> tuple[Payload, str] | None:
    """The job that runs here and the queue it was fetched from; None outside of jobs."""
    bound = _bound.get()
    return None if bound is None else bound[:2]


def release_job(token: JobToken) -> None:
    """Go back to the job that was bound before, usually none."""
    _bound.reset(token)


def job_level() -> int | None:
    """The running job's own `log_level` as a number of `logging`; None when it asked for none."""
    bound = _bound.get()
    return None if bound is None else bound[3]


@contextmanager
def context(**extra: object) -> Iterator[None]:
    """Add fields to every record made inside the block, in or outside a job.

    Ruby twin: Sidekiq::Context.with.
    """
    token = _extra.set({**(_extra.get() or {}), **extra})
    try:
        yield
    finally:
        _extra.reset(token)


def fields() -> dict[str, object]:
    """The context of a record made now, in the order of log lines; empty when there is none.

    Keys: `tid`, `jid`, `class`, the logged attributes the job has, `queue`, `attempt` (1 for the first
    run), then what `context` added.
    """
    bound, extra = _bound.get(), _extra.get()
    if bound is None:
        return {"tid": tid(), **extra} if extra else {}
    job, queue, attributes, _ = bound
    found: dict[str, object] = {"tid": tid(), "jid": job.get("jid"), "class": display_class(job)}
    own = {"queue": queue, "attempt": _attempt(job)}
    for name in attributes:
        if name in own:
            found[name] = own[name]
        elif name in job and name != "args":  # arguments have a switch and a filter of their own
            found[name] = job[name]
    found.update(own)
    if extra:
        found.update(extra)
    return found


def _attempt(job: Payload) -> int:
    retry_count = job.get("retry_count")
    return retry_count + 2 if isinstance(retry_count, int) else 1


class JobRecordFactory:
    """Gives every record made while a job runs the attribute `sidekiq`: the dict of `fields()`.

    Wraps the record factory it finds. One attribute under our own name, because plain `jid` or `tags` would
    make `logger.info(..., extra={"tags": ...})` raise inside jobs. Set when the record is made, so it
    survives a QueueHandler.
    """

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record: logging.LogRecord = self.inner(*args, **kwargs)
        if found := fields():
            record.__dict__["sidekiq"] = found
        return record


def context_of(record: logging.LogRecord) -> dict[str, object]:
    """The context the record was made in, else (our factory was replaced) the one it is handled in."""
    found: dict[str, object] | None = record.__dict__.get("sidekiq")
    return fields() if found is None else found


class JobContextFilter(logging.Filter):
    """For an application's own handlers: makes `%(jid)s`, `%(class)s`, `%(queue)s`… usable in formats.

    Lets everything through. Fields the record already has are kept; outside a job they are empty strings.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        found = context_of(record)
        for name in dict.fromkeys((*FLAT_NAMES, *found)):
            record.__dict__.setdefault(name, found.get(name, ""))
        return True


def sidekiq_context(
    _logger: object, _method: str, event_dict: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """A structlog processor: adds the job's fields to the event, never over what is there."""
    for name, value in fields().items():
        event_dict.setdefault(name, value)
    return event_dict
