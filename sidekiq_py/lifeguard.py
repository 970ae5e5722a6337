"""What a supervisor does in Redis: hung workers stay visible, dead ones get their jobs brought back.

While Redis is down everything waits for the next tick; the workers log the outage. Redis: the workers'
heartbeats and claims, and what `rescuer` touches.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from sidekiq_py import keys
from sidekiq_py.clock import Clock
from sidekiq_py.errors import OUTAGE, RedisDown, SidekiqError
from sidekiq_py.held_watch import HeldWatch
from sidekiq_py.redis_connection import RedisConnection
from sidekiq_py.rescuer import Sweeper, last_look_after, look_again, rescue_worker
from sidekiq_py.suspects import Suspect
from sidekiq_py.worker_process import Death, WorkerProcess

logger = logging.getLogger("sidekiq")

TRY_AGAIN: Final = 0.5  # seconds between two tries while Redis is down
TOLD_AFTER: Final = 10  # such tries for the same worker
BEATS_IN_TTL: Final = 3  # the workers beat twice as often themselves; this is for the one that can't


@dataclass(frozen=True)
class Casualty:
    """A worker that is gone: what it claimed from, and how each job that it ran ended, by fingerprint."""

    pid: int
    identity: str
    queues: list[str]
    stories: dict[int, str]
    was_alone: bool = False  # it ran one suspect at a time, nothing else
    look_at: float = 0.0  # monotonic seconds
    is_rescued: bool = False  # its jobs are back; one last look is due
    failures: int = 0  # tries in which Redis was down, or seemed so

    @property
    def jobs(self) -> str:
        """What its jobs are called in the log."""
        return f"jobs of worker {self.pid}" if self.pid else "jobs that were to run alone"


class Lifeguard:
    """Called again and again by the supervisor, which runs `suspects` as they are found."""

    def __init__(self, connection: RedisConnection, *, ttl: float, stall_after: float, clock: Clock) -> None:
        self._clock = clock
        self._casualties: list[Casualty] = []
        self.suspects: list[Suspect] = []
        self.serve(connection, ttl=ttl, stall_after=stall_after)

    def serve(self, connection: RedisConnection, *, ttl: float, stall_after: float) -> None:
        """Do the duties on this Redis from now on."""
        self._connection = connection
        self._ttl = ttl
        self._beat_every = ttl / BEATS_IN_TTL
        self._next_beat = self._next_sweep = self._not_before = 0.0
        self._held_watch = HeldWatch(connection, after=stall_after, clock=self._clock)
        self._sweeper = Sweeper(connection, ttl=ttl, clock=self._clock, isolate=self.suspects.extend)

    @property
    def is_busy(self) -> bool:
        """Whether dead workers' jobs are still to be brought back."""
        return not all(casualty.is_rescued for casualty in self._casualties)

    def take_over(self, worker: WorkerProcess, death: Death) -> None:
        """The worker has ended: bring back what it still claims, now or as soon as Redis answers."""
        if worker.has_booted:
            stories = {job.fingerprint: death.story_of_job(job.at) for job in worker.table.running()}
            news = worker.news
            is_lane = worker.number == 0
            self._casualties.append(Casualty(worker.pid, news.identity, news.queues, stories, is_lane))
            self._not_before = 0.0
        if not worker.news.is_through:
            self.suspects += worker.suspects  # those it had not come to; the others are not found any more

    def give_suspects_back(self) -> None:
        """Nobody here will run them: back to their queues."""
        queues: defaultdict[str, set[str]] = defaultdict(set)
        for suspect in self.suspects:
            queues[suspect.identity].add(suspect.queue)
        for identity, names in queues.items():
            self._casualties.append(Casualty(0, identity, sorted(names), {}))
        self.suspects.clear()

    def tick(self, workers: Iterable[WorkerProcess]) -> None:
        """Do what is due. Never raises for what Redis says."""
        self._held_watch.look(workers)
        now = self._clock.monotonic()
        if now < self._not_before:
            return
        try:
            if now >= self._next_beat:
                self._keep_alive(workers)
                self._next_beat = now + self._beat_every
            self._bring_back(now)
            if now >= self._next_sweep:
                self._next_sweep = now + self._sweeper.pause()
                self._sweeper.sweep()
        except OUTAGE as error:
            logger.debug("the supervisor waits for Redis: %s", error)
            self._not_before = now + TRY_AGAIN
            self._sweeper.redis_was_down()
        except SidekiqError:
            logger.exception("the supervisor's duties in Redis failed")
            self._not_before = now + self._beat_every

    def close(self) -> None:
        self._connection.disconnect()

    def _bring_back(self, now: float) -> None:
        for casualty in [each for each in self._casualties if each.look_at <= now]:
            try:
                self._rescue(casualty)
            except RedisDown as error:
                self._put_last(casualty, error)
                raise
            except SidekiqError as error:  # its own trouble, which must not keep the others waiting
                logger.error("%s can't be brought back yet: %s", casualty.jobs, error)
                later = [replace(casualty, look_at=now + self._beat_every)]
            else:
                last = replace(casualty, look_at=now + last_look_after(self._ttl), is_rescued=True)
                later = [] if casualty.is_rescued else [last]
            self._casualties.remove(casualty)
            self._casualties += later

    def _put_last(self, casualty: Casualty, error: RedisDown) -> None:
        """The trouble may be its own: Redis hangs up on who asks for more than it may send."""
        failures = casualty.failures + 1
        if failures == TOLD_AFTER:
            logger.error("%s still wait to be brought back: %s", casualty.jobs, error)
        self._casualties.remove(casualty)
        self._casualties.append(replace(casualty, failures=failures))

    def _rescue(self, casualty: Casualty) -> None:
        dead = (self._connection, casualty.identity, casualty.queues)
        suspects: list[Suspect] = []
        if casualty.is_rescued:
            requeued = look_again(*dead, suspects=casualty.stories)
        else:
            requeued, suspects = rescue_worker(
                *dead, stories=casualty.stories, was_alone=casualty.was_alone, hold_for=self._ttl
            )
        self.suspects += suspects
        if requeued or suspects:
            alone = f", {len(suspects)} that ran run again, each alone" if casualty.pid else ""
            logger.warning("%s: %d are back on their queues%s", casualty.jobs, requeued, alone)

    def _keep_alive(self, workers: Iterable[WorkerProcess]) -> None:
        """A worker stuck in C code can't beat, but it lives: nobody may take its jobs.

        A frozen one (SIGSTOP) is left to its fate: it may never wake up. The dead whose suspects still wait
        for their turn seem to live, else a peer would let these run among others.
        """
        workers = list(workers)
        identities = {each.news.identity for each in workers if each.has_booted and not each.is_frozen}
        identities |= {suspect.identity for suspect in self.suspects}
        identities |= {suspect.identity for each in workers for suspect in each.suspects}
        self._connection.pipeline(
            [("EXPIRE", key, int(self._ttl)) for each in identities for key in (each, keys.work(each))]
        )
