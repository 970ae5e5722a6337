"""A queue: its jobs, how far behind it is, and whether it is paused.

Ruby twin: Sidekiq::Queue.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sidekiq_py import keys
from sidekiq_py.api.job_record import JobRecord
from sidekiq_py.api.morgue import DeadLimits, kill
from sidekiq_py.api.round_trip import names, read, replies
from sidekiq_py.clock import Clock
from sidekiq_py.config import DeathHandler
from sidekiq_py.redis_connection import Redis, usable
from sidekiq_py.scripts import load

PAGE: Final = 100

_CLEAR: Final = load("clear")


class QueuedJob(JobRecord):
    """A job on a queue. Each verb returns whether this call did it: False when the job had been fetched."""

    def __init__(self, raw: bytes, queue: Queue) -> None:
        super().__init__(raw, queue.name, clock=queue.clock)
        self._home = queue

    def delete(self) -> bool:
        """Take the job off the queue for good."""
        return self._home.delete(self)

    def kill(self, death_handlers: Sequence[DeathHandler] = ()) -> bool:
        """Move the job to the dead set, trim that, and tell the death handlers (with a JobKilled)."""
        return self._home.kill(self, death_handlers)


class Queue:
    """A queue by name, whether there is anything on it or not.

    Iterating yields the jobs from the newest to the one that runs next; jobs may come and go meanwhile.
    """

    def __init__(
        self,
        name: str,
        redis: Redis,
        *,
        dead_limits: DeadLimits | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.name = name
        self.key = keys.queue(name)
        self.clock = clock or Clock()
        self._redis = usable(redis)
        self._dead_limits = dead_limits or DeadLimits()
        self._removed = 0  # jobs that a walk has lost by our own hand: what follows moved up

    def __repr__(self) -> str:
        return f"Queue({self.name!r})"

    @staticmethod
    def all(redis: Redis, *, clock: Clock | None = None) -> list[Queue]:
        """Every queue that was ever pushed to and not cleared since, by name. Reads `queues`."""
        return [
            Queue(name, redis, clock=clock) for name in names(usable(redis).call("SMEMBERS", keys.QUEUES))
        ]

    @property
    def size(self) -> int:
        return int(self._redis.call("LLEN", self.key))

    @property
    def latency(self) -> float:
        """Seconds that the job which runs next has been waiting; 0.0 for an empty queue."""
        return latency_of(self._redis.call("LINDEX", self.key, -1), self.clock)

    @property
    def paused(self) -> bool:
        """Whether servers leave the queue alone: Sidekiq Pro's and ours do, plain Sidekiq takes no notice."""
        return bool(self._redis.call("SISMEMBER", keys.PAUSED, self.name))

    def pause(self) -> None:
        """Let no server of ours (or Sidekiq Pro's) fetch from here; what runs goes on."""
        self._redis.call("SADD", keys.PAUSED, self.name)

    def unpause(self) -> None:
        self._redis.call("SREM", keys.PAUSED, self.name)

    def __iter__(self) -> Iterator[QueuedJob]:
        start, removed, last_page = 0, self._removed, frozenset[bytes]()
        while page := self._range(start, PAGE):
            # Pushes move jobs towards the tail, so that the end of one page comes again with the next.
            yield from (QueuedJob(raw, self) for raw in page if raw not in last_page)
            last_page = frozenset(page)
            start += len(page) - (self._removed - removed)
            removed = self._removed

    def page(self, start: int, count: int, *, newest_first: bool = True) -> QueuePage:
        """`count` jobs from position `start` on, and how many there are in all. One round trip."""
        first, last = (start, start + count - 1) if newest_first else (-start - count, -start - 1)
        total, found = replies(self._redis, [("LLEN", self.key), ("LRANGE", self.key, first, last)])
        jobs = [QueuedJob(raw, self) for raw in found]
        return QueuePage(jobs if newest_first else jobs[::-1], int(total))

    def find_job(self, jid: str) -> QueuedJob | None:
        """The job with this jid; looks at the whole queue."""
        wanted = jid.encode()
        return next((job for job in self if wanted in job.raw and job.jid == jid), None)

    def delete(self, job: JobRecord) -> bool:
        """Take one job off the queue for good; False when it isn't there (any more)."""
        return self._left(int(self._redis.call("LREM", self.key, 1, job.raw)))

    def kill(self, job: JobRecord, death_handlers: Sequence[DeathHandler] = ()) -> bool:
        """Move one job to the dead set; False when it isn't here (any more). See `QueuedJob.kill`."""
        moved = kill(
            self._redis,
            [job],
            source=self.key,
            source_type="list",
            limits=self._dead_limits,
            death_handlers=death_handlers,
            now=self.clock.now(),
        )
        return self._left(moved)

    def clear(self) -> int:
        """Delete all jobs, and the queue from the list of queues; returns how many jobs that were."""
        return int(self._redis.run_script(_CLEAR, [self.key, keys.QUEUES], ["LLEN", self.name]))

    def _left(self, count: int) -> bool:
        self._removed += count
        return count == 1

    def _range(self, start: int, count: int) -> list[bytes]:
        found: list[bytes] = self._redis.call("LRANGE", self.key, start, start + count - 1)
        return found


@dataclass(frozen=True)
class QueuePage:
    """A part of a queue, and how many jobs the whole queue has."""

    jobs: list[QueuedJob]
    total: int


@dataclass(frozen=True)
class QueueSummary:
    """What a list of queues shows of one."""

    name: str
    size: int
    latency: float  # seconds
    paused: bool


def queue_summaries(redis: Redis, *, clock: Clock | None = None) -> list[QueueSummary]:
    """All queues by name, in two round trips. Reads `queues`, `paused` and the queues' lists."""
    clock = clock or Clock()
    queues, paused = (
        names(members) for members in read(redis, [("SMEMBERS", keys.QUEUES), ("SMEMBERS", keys.PAUSED)])
    )
    lists = [keys.queue(name) for name in queues]
    sizes = read(redis, [("LLEN", key) for key in lists] + [("LINDEX", key, -1) for key in lists])
    return [
        QueueSummary(name, size or 0, latency_of(next_to_run, clock), name in paused)
        for name, size, next_to_run in zip(queues, sizes[: len(lists)], sizes[len(lists) :], strict=True)
    ]


def latency_of(next_to_run: bytes | None, clock: Clock) -> float:
    """Seconds that this job has been waiting; 0.0 when there is none."""
    return 0.0 if next_to_run is None else JobRecord(next_to_run, clock=clock).latency
