"""Compares what Redis says this process has claimed with what its memory holds, and heals the difference.

The reply to a fetch can be lost on its way: the job is claimed and nobody knows. A Redis that failed over can
have forgotten that a job was acknowledged. Either shows as a claim that memory doesn't know. Seen at two
looks in a row, it is run, or struck out when it was acknowledged lately. The second look waits until every
request that was sent before the first one is answered: a reply that is slow to come is not lost.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Sequence
from time import monotonic

from sidekiq_py import keys
from sidekiq_py.claims import UnitOfWork, acknowledgement
from sidekiq_py.component import Component, ErrorReporter, RedisState
from sidekiq_py.fetch import Fetcher
from sidekiq_py.kept_jobs import KeptJobs
from sidekiq_py.redis_connection import RedisConnection
from sidekiq_py.work_state import WorkState

logger = logging.getLogger("sidekiq")


class Audit(Component):
    """Looks once per heartbeat. Redis: this identity's claim lists."""

    def __init__(
        self,
        *,
        identity: str,
        connection: RedisConnection,
        fetchers: Sequence[Fetcher],
        work_state: WorkState,
        kept: KeptJobs,
        every: float,
        redis_state: RedisState,
        report: ErrorReporter,
    ) -> None:
        super().__init__(redis_state=redis_state, report=report)
        self._identity = identity
        self._connection = connection
        self._fetchers = fetchers
        self._work_state = work_state
        self._kept = kept
        self._every = every
        self._unknown: dict[str, Counter[bytes]] = {}  # by queue, at the last look
        self._looked_at = math.inf  # monotonic seconds; infinity before the first tick, which doesn't look
        self._by_queue = {queue: fetcher for fetcher in fetchers for queue in fetcher.queues}

    def tick(self) -> float:
        if self._looked_at == math.inf:
            self._looked_at = 0.0
        elif self._looked_at < min(fetcher.asking_since() for fetcher in self._fetchers):
            for queue, fetcher in self._by_queue.items():
                self._look_at(queue, fetcher)
            self._looked_at = monotonic()
        return self._every

    def disconnect(self) -> None:
        self._connection.disconnect()

    def _look_at(self, queue: str, fetcher: Fetcher) -> None:
        unknown = self._claimed(queue) - self._in_memory()
        again = unknown & self._unknown.get(queue, Counter())
        self._unknown[queue] = unknown - again
        for raw in again.elements():
            self._heal(UnitOfWork(queue, raw, monotonic()), fetcher)

    def _claimed(self, queue: str) -> Counter[bytes]:
        claim = keys.claim(self._identity, queue)
        return Counter(self._connection.call("LRANGE", claim, 0, -1))

    def _in_memory(self) -> Counter[bytes]:
        known = Counter(running.work.raw for _, running in self._work_state.snapshot())
        known.update(work.raw for work in self._kept.works())
        for fetcher in self._fetchers:
            known += fetcher.in_memory()
        return known

    def _heal(self, work: UnitOfWork, fetcher: Fetcher) -> None:
        if any(each.has_acknowledged(work.raw) for each in self._fetchers):
            logger.warning("a job of queue %r was acknowledged, but Redis had forgotten it", work.queue)
            self._connection.pipeline([acknowledgement(self._identity, [work])])
        else:
            logger.warning("a job of queue %r was claimed, but never arrived: it runs now", work.queue)
            fetcher.adopt(work)
