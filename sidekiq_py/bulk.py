"""Many jobs in one push: what was asked for, checked as a whole, and their payloads made at speed."""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

from sidekiq_py import job_util
from sidekiq_py.dialect import Dialect
from sidekiq_py.enqueue import spell
from sidekiq_py.errors import InvalidJob
from sidekiq_py.payload import Payload, new_jid
from sidekiq_py.ruby_json import generate

BATCH: Final = 1_000  # jobs in one round trip, as Sidekiq
SCHEDULED_BATCH: Final = 100  # a ZADD holds Redis up for longer than an LPUSH
_ROWS: Final = frozenset({list, tuple})
_OWN_KEYS: Final = ("at", "spread_interval", "batch_size")  # they say how to push and are not stored


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One bulk push: what its jobs share, each one's arguments, and each one's due time if scheduled."""

    item: Mapping[str, Any]
    rows: Sequence[Sequence[Any]]
    ats: Sequence[float] | None
    batch_size: int

    @classmethod
    def of(cls, items: Mapping[str, Any], batch_size: int | None, now: float) -> Plan:
        """Raises InvalidJob when `items` is no bulk push; its arguments are not looked into here."""
        given = items.get("args") if isinstance(items, Mapping) else None
        if given is None:
            job_util.validate(items)
        rows = argument_lists(given)
        item = {key: value for key, value in items.items() if key not in _OWN_KEYS}
        if item.get("jid") is None:
            item.pop("jid", None)  # each job's own stands behind its arguments
        job_util.validate({**item, "args": []})
        if len(rows) > 1 and "jid" in item:
            raise InvalidJob(
                f"'jid' is for one job, these are {len(rows):,}; leave it out, each gets its own"
            )
        ats = _due_times(items, len(rows), now)
        size = items.get("batch_size") if batch_size is None else batch_size
        if size is None:
            size = BATCH if ats is None else SCHEDULED_BATCH
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise InvalidJob(f"'batch_size' is a whole number of jobs from 1 on, got {size!r}")
        return cls(item=item, rows=rows, ats=ats, batch_size=size)

    def jobs(self, created_at: float) -> Iterator[Payload]:
        """A payload for each row, with a jid of its own."""
        base = job_util.normalize({**self.item, "args": []}, created_at)
        given_jid = self.item.get("jid")
        for index, row in enumerate(self.rows):
            job = {**base, "args": list(row), "jid": given_jid or new_jid()}
            if self.ats is not None:
                job["at"] = self.ats[index]
            yield job

    def alike(self, created_at: float, dialect: Dialect) -> AlikeJobs:
        """The payloads of jobs that differ in arguments and jid only. Raises InvalidJob."""
        base = job_util.normalize({**self.item, "args": []}, created_at)
        job_util.verify_json(base)
        _verify_rows(self.rows)
        return AlikeJobs(base, _encode_rows(self.rows, dialect), dialect)


class AlikeJobs:
    """Payloads cut from one mould: what they share is encoded once per batch."""

    def __init__(self, base: Payload, rows: Sequence[bytes], dialect: Dialect) -> None:
        self._base = base
        self._rows = rows
        self._dialect = dialect
        self.queue: str = base["queue"]
        self.jids = _new_jids(len(rows))

    def texts(self, start: int, stop: int, enqueued_at: float) -> list[bytes]:
        """The payloads of a batch."""
        args_mark, jid_mark = new_jid(), new_jid()  # text that occurs nowhere else
        marked = {**self._base, "args": args_mark, "jid": jid_mark, "enqueued_at": enqueued_at}
        text = spell(marked, modern_floats=self._dialect.modern_floats)
        head, _, rest = text.partition(f'"{args_mark}"'.encode())
        middle, _, tail = rest.partition(jid_mark.encode())
        pairs = zip(self._rows[start:stop], self.jids[start:stop], strict=True)
        return [head + row + middle + jid.encode() + tail for row, jid in pairs]


def argument_lists(given: object) -> Sequence[Sequence[Any]]:
    """The arguments of many jobs, a list or tuple for each. Raises InvalidJob for anything else."""
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise InvalidJob(
            "'args' of a bulk push is a list of argument lists, as in [[1], [2]], "
            f"got {job_util.described(given)}"
        )
    rows = list(given)
    if not _ROWS.issuperset(map(type, rows)):
        index, odd = next((index, row) for index, row in enumerate(rows) if type(row) not in _ROWS)
        raise InvalidJob(
            "'args' of a bulk push is a list of argument lists, as in [[1], [2]]: "
            f"number {index} is {job_util.described(odd)}"
        )
    return rows


def _due_times(items: Mapping[str, Any], count: int, now: float) -> Sequence[float] | None:
    spread = items.get("spread_interval")
    if "at" not in items:
        return None if spread is None else _spread(spread, count, now)
    if spread is not None:
        raise InvalidJob("'at' and 'spread_interval' both say when; give one of them")
    given = items["at"]
    ats: Sequence[float] = given if isinstance(given, list | tuple) else [given] * count
    if len(ats) != count:
        raise InvalidJob(
            f"'at' has {len(ats):,} times for {count:,} jobs; give one number or one for each job"
        )
    for at in ats:
        job_util.check_time(at)
    return ats


def _spread(interval: object, count: int, now: float) -> Sequence[float]:
    if isinstance(interval, bool) or not isinstance(interval, int | float) or not interval > 0:
        raise InvalidJob(f"'spread_interval' is a number of seconds above 0, got {interval!r}")
    longest = max(5.0, interval)
    return [now + random.random() * longest for _ in range(count)]


def _verify_rows(rows: Sequence[Sequence[Any]]) -> None:
    if not job_util.are_scalars(chain.from_iterable(rows)):
        for index, row in enumerate(rows):
            job_util.verify_args(row, f"args[{index}]")


def _encode_rows(rows: Sequence[Sequence[Any]], dialect: Dialect) -> list[bytes]:
    modern = dialect.modern_floats
    try:
        return [generate(row, modern_floats=modern) for row in rows]
    except ValueError:  # again, slowly, to tell which
        return [
            spell(list(row), modern_floats=modern, path=f"args[{index}]") for index, row in enumerate(rows)
        ]


def _new_jids(count: int) -> list[str]:
    digits = secrets.token_hex(12 * count)
    return [digits[start : start + 24] for start in range(0, 24 * count, 24)]
