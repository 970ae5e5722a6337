"""The three sorted sets that jobs wait or rest in, and what may be done with an entry.

Every edit is one script that acts only on entries it has itself taken out of the set: whoever is killed
in the middle, and however many act at once, a job is in exactly one place.
Ruby twins: Sidekiq::JobSet, ScheduledSet, RetrySet, DeadSet, SortedEntry.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from math import isfinite
from typing import ClassVar, Final

from sidekiq_py import keys
from sidekiq_py.api.job_record import JobRecord
from sidekiq_py.api.morgue import DeadLimits, kill
from sidekiq_py.api.revive import revived
from sidekiq_py.api.round_trip import replies
from sidekiq_py.api.sorted_walk import Row, SortedWalk, rows
from sidekiq_py.clock import Clock
from sidekiq_py.config import DeathHandler
from sidekiq_py.redis_connection import Arg, Redis, usable
from sidekiq_py.ruby_json import float_text
from sidekiq_py.scripts import load

BATCH: Final = 500  # entries that one script moves at most, so that Redis is never held for long
BATCH_BYTES: Final = 1024 * 1024
SCAN_COUNT: Final = 100

_CLEAR: Final = load("clear")
_PROMOTE: Final = load("promote")
_SET_SCORE: Final = load("set_score")
_GLOB: Final = re.compile(r"([*?\[\]\\])")
_PAGE_KEY: Final = re.compile(r"(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)-(.*)", re.DOTALL)


class SortedEntry(JobRecord):
    """A job in a sorted set. Each verb returns whether this call did it: False when the entry had gone.

    All verbs raise RedisDown; after it the entry has moved or not, and asking again is safe.
    """

    def __init__(self, row: Row, job_set: JobSet) -> None:
        super().__init__(row[0], clock=job_set.clock)
        self.score = row[1]
        self._set = job_set

    @property
    def at(self) -> float:
        """When the job is due, or died; epoch seconds."""
        return self.score

    @property
    def page_key(self) -> str:
        """`<score>-<jid>`, which names the entry in the URLs of Sidekiq's Web UI."""
        score = float_text(self.score) if isfinite(self.score) else repr(self.score)
        return f"{score}-{self.jid}"

    def retry(self) -> bool:
        """Put the job on its queue now, as a retry: `retry_count` goes down by one, if it is there.

        Raises InvalidPayload for bytes that no server could run; they stay in the set.
        """
        return self._set.revive([self], retry_again=True) == 1

    def add_to_queue(self) -> bool:
        """Put the job on its queue now, `retry_count` as it is. Raises InvalidPayload as `retry` does."""
        return self._set.revive([self], retry_again=False) == 1

    def kill(self, death_handlers: Sequence[DeathHandler] = ()) -> bool:
        """Move the job to the dead set, trim that, and tell the death handlers (with a JobKilled)."""
        return self._set.kill_all([self], death_handlers=death_handlers) == 1

    def delete(self) -> bool:
        """Take the job out of the set for good."""
        return self._set.delete_all([self]) == 1

    def reschedule(self, at: float) -> bool:
        """Change when the job is due (epoch seconds). Its bytes stay as they are."""
        return self._set.reschedule(self, at)


class JobSet:
    """A sorted set of jobs. Use ScheduledSet, RetrySet or DeadSet.

    Iterating yields the entries with the highest score first; others may come and go meanwhile.
    The `_all` verbs take the entries to act on, or all that are there when they begin, and return how many
    they moved: `retries.retry_all(retries.scan("HardJob"))`. They work in steps of up to 500 entries; what is
    done is done when a later step fails.
    """

    name: ClassVar[str]

    def __init__(
        self, redis: Redis, *, dead_limits: DeadLimits | None = None, clock: Clock | None = None
    ) -> None:
        self._redis = usable(redis)
        self._dead_limits = dead_limits or DeadLimits()
        self.clock = clock or Clock()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    # -- looking ---------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        return int(self._redis.call("ZCARD", self.name))

    def __iter__(self) -> Iterator[SortedEntry]:
        return self.entries()

    def entries(self, *, newest_first: bool = True) -> Iterator[SortedEntry]:
        """All entries in the order of their scores."""
        walk = SortedWalk(self._redis, self.name, newest_first=newest_first)
        return (SortedEntry(row, self) for row in walk)

    def page(self, start: int, count: int, *, newest_first: bool = False) -> Page:
        """`count` entries from rank `start` on, and how many there are in all. One round trip."""
        command = "ZREVRANGE" if newest_first else "ZRANGE"
        total, reply = replies(
            self._redis,
            [("ZCARD", self.name), (command, self.name, start, start + count - 1, "WITHSCORES")],
        )
        return Page([SortedEntry(row, self) for row in rows(reply)], int(total))

    def scan(self, match: str, *, count: int = SCAN_COUNT) -> Iterator[SortedEntry]:
        """Entries whose JSON contains the text `match`, or fits it if it has a `*`; in no order.

        Case counts. Looks at the whole set, `count` entries at a time. An entry may come twice.
        """
        pattern = match if "*" in match else _containing(match)
        cursor = b"0"
        while True:
            cursor, reply = self._redis.call("ZSCAN", self.name, cursor, "MATCH", pattern, "COUNT", count)
            yield from (SortedEntry(row, self) for row in rows(reply))
            if cursor == b"0":
                return

    def find_job(self, jid: str) -> SortedEntry | None:
        """The entry of this job, wherever it stands; looks at the whole set."""
        return next((entry for entry in self.scan(_containing(jid)) if entry.jid == jid), None)

    def fetch(self, score: float, jid: str | None = None) -> list[SortedEntry]:
        """The entries with exactly this score, and this jid if one is given."""
        exact = repr(float(score))
        reply = self._redis.call("ZRANGEBYSCORE", self.name, exact, exact, "WITHSCORES")
        found = (SortedEntry(row, self) for row in rows(reply))
        return [entry for entry in found if jid is None or entry.jid == jid]

    def fetch_page_key(self, page_key: str) -> SortedEntry | None:
        """The entry that a URL of a Web UI names, `<score>-<jid>`; None when there is none."""
        if (parts := _PAGE_KEY.fullmatch(page_key)) is None:
            return None
        return next(iter(self.fetch(float(parts[1]), parts[2])), None)

    # -- acting ----------------------------------------------------------------------------------------

    def clear(self) -> int:
        """Delete the whole set; returns how many jobs that were."""
        return int(self._redis.run_script(_CLEAR, [self.name], ["ZCARD"]))

    def delete_all(self, entries: Iterable[SortedEntry]) -> int:
        """Take these entries out of the set for good. For the whole set there is `clear`."""
        return sum(
            int(self._redis.call("ZREM", self.name, *(entry.raw for entry in batch)))
            for batch in _batches(entries)
        )

    def retry_all(self, entries: Iterable[SortedEntry] | None = None) -> int:
        """Put jobs on their queues now, as retries, the oldest first. What no server could run stays."""
        return self._revive_all(entries, retry_again=True)

    def add_all_to_queue(self, entries: Iterable[SortedEntry] | None = None) -> int:
        """The same with `retry_count` left as it is."""
        return self._revive_all(entries, retry_again=False)

    def kill_all(
        self,
        entries: Iterable[SortedEntry] | None = None,
        *,
        death_handlers: Sequence[DeathHandler] = (),
    ) -> int:
        """Move jobs to the dead set and trim that; then tell the death handlers of each that moved."""
        return sum(
            kill(
                self._redis,
                batch,
                source=self.name,
                source_type="zset",
                limits=self._dead_limits,
                death_handlers=death_handlers,
                now=self.clock.now(),
            )
            for batch in _batches(self._given_or_all(entries))
        )

    def reschedule(self, entry: SortedEntry, at: float) -> bool:
        """Give an entry another score. False when it is no longer there: it is never added again."""
        if not isfinite(at):
            raise ValueError(f"a job can't be due at {at}: expected epoch seconds")
        return bool(self._redis.run_script(_SET_SCORE, [self.name], [entry.raw, repr(float(at))]))

    def revive(self, entries: Sequence[SortedEntry], *, retry_again: bool) -> int:
        """Move entries to their queues in one step; returns how many were still there.

        Redis: `ZREM` here, and where that removed one `SADD queues`, `LPUSH queue:<name>`. Raises
        InvalidPayload, with nothing moved, when one of them is no runnable job.
        """
        now = self.clock.now()
        words: list[Arg] = []
        for entry in entries:
            words += (entry.raw, *revived(entry.raw, now=now, retry_again=retry_again))
        return int(self._redis.run_script(_PROMOTE, [self.name, keys.QUEUES], words)) if words else 0

    def _revive_all(self, entries: Iterable[SortedEntry] | None, *, retry_again: bool) -> int:
        sound = (entry for entry in self._given_or_all(entries) if entry.problem is None)
        return sum(self.revive(batch, retry_again=retry_again) for batch in _batches(sound))

    def _given_or_all(self, entries: Iterable[SortedEntry] | None) -> Iterable[SortedEntry]:
        # As many as there are now: jobs that fail meanwhile come back to the end of the retry set.
        return islice(self.entries(newest_first=False), self.size) if entries is None else entries


class ScheduledSet(JobSet):
    """Jobs pushed for later; the score is when they are due."""

    name = keys.SCHEDULE


class RetrySet(JobSet):
    """Failed jobs that wait for their next try; the score is when that is due."""

    name = keys.RETRY


class DeadSet(JobSet):
    """Jobs that failed for good, or were killed; the score is the time of death."""

    name = keys.DEAD


@dataclass(frozen=True)
class Page:
    """A part of a set, and how many entries the whole set has."""

    entries: list[SortedEntry]
    total: int


def _containing(text: str) -> str:
    """The pattern of everything that has this text in it."""
    literal = _GLOB.sub(r"\\\1", text)
    return f"*{literal}*"


def _batches(entries: Iterable[SortedEntry]) -> Iterator[list[SortedEntry]]:
    """Groups small enough for one script each."""
    batch: list[SortedEntry] = []
    weight = 0
    for entry in entries:
        batch.append(entry)
        weight += len(entry.raw)
        if len(batch) == BATCH or weight >= BATCH_BYTES:
            yield batch
            batch, weight = [], 0
    if batch:
        yield batch
