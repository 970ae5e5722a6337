"""The jobs that run now, as the processes' last heartbeats list them.

Ruby twins: Sidekiq::WorkSet, Sidekiq::Work.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sidekiq_py import keys
from sidekiq_py.api.job_record import JobRecord
from sidekiq_py.api.round_trip import json_object, names, read, whole_number
from sidekiq_py.payload import generate, read_timestamp
from sidekiq_py.redis_connection import Redis, usable


@dataclass(frozen=True)
class Work:
    """One running job: which thread of which process runs it, and since when."""

    process: str  # identity
    tid: str
    queue: str
    run_at: float | None  # epoch seconds
    job: JobRecord  # as it was fetched


class WorkSet:
    """The running jobs, up to one beat (10 s) old. Iterating yields the one that runs longest first.

    Each time reads Redis anew, in two round trips: `processes`, `<identity>:work` and, for Sidekiq 6.4.1 and
    before, `<identity>:workers`.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = usable(redis)

    def __iter__(self) -> Iterator[Work]:
        identities = names(self._redis.call("SMEMBERS", keys.PROCESSES))
        wanted = [keys.work(one) for one in identities] + [keys.workers(one) for one in identities]
        hashes = read(self._redis, [("HGETALL", key) for key in wanted])
        now, before = hashes[: len(identities)], hashes[len(identities) :]
        works = [
            _work(identity, tid, text)
            for identity, new, old in zip(identities, now, before, strict=True)
            for tid, text in {**_pairs(old), **_pairs(new)}.items()  # a server for both writes both
        ]
        return iter(sorted(works, key=lambda work: work.run_at or 0.0))

    @property
    def size(self) -> int:
        """How many jobs run, by the processes' own count."""
        identities = names(self._redis.call("SMEMBERS", keys.PROCESSES))
        counts = read(self._redis, [("HGET", identity, "busy") for identity in identities])
        return sum(whole_number(count) for count in counts)

    def find_work(self, jid: str) -> Work | None:
        """The running job with this jid."""
        return next((work for work in self if work.job.jid == jid), None)


def _pairs(reply: list[bytes] | None) -> dict[bytes, bytes]:
    return dict(zip(reply[::2], reply[1::2], strict=True)) if reply else {}


def _work(identity: str, tid: bytes, text: bytes) -> Work:
    found = json_object(text)
    queue = found.get("queue")
    name = queue if isinstance(queue, str) else ""
    return Work(
        process=identity,
        tid=tid.decode(errors="replace"),
        queue=name,
        run_at=read_timestamp(found.get("run_at")),
        job=JobRecord(_payload_bytes(found.get("payload")), name),
    )


def _payload_bytes(payload: object) -> bytes:
    """A JSON string holding JSON since Sidekiq 6.0.2, before that the object itself."""
    if isinstance(payload, str):
        return payload.encode()
    try:
        return generate(payload) if isinstance(payload, dict) else b""
    except ValueError:
        return b""
