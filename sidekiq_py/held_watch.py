"""Sees that a worker's interpreter is held: a call into C keeps its lock, and none of its threads runs.

Then the worker can't warn of itself, as `stall` does. Its supervisor can: by the table in shared memory, in
which the worker's watching thread leaves signs of life, and by the claims in Redis.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from sidekiq_py import keys
from sidekiq_py.clock import Clock
from sidekiq_py.errors import InvalidPayload, SidekiqError
from sidekiq_py.payload import display_class, parse
from sidekiq_py.redis_connection import Redis
from sidekiq_py.running_table import SHOW_LIFE_EVERY, fingerprint
from sidekiq_py.suspects import jid_of
from sidekiq_py.worker_process import WorkerProcess

logger = logging.getLogger("sidekiq")

NAMED: Final = 10  # running jobs that a line names at most


class HeldWatch:
    """Called again and again. One warning each time that a worker has shown no life for `after` seconds."""

    def __init__(self, redis: Redis, *, after: float, clock: Clock) -> None:
        self._redis = redis
        self._silence = after + min(SHOW_LIFE_EVERY, after / 5)
        self._clock = clock
        self._asked: dict[int, bool] = {}  # pid -> whether it was asked for its stack
        self._told: set[int] = set()

    def look(self, workers: Iterable[WorkerProcess]) -> None:
        """Never raises for what Redis says."""
        held = {each.pid: each for each in workers if self._is_held(each)}
        self._asked = {pid: was_asked for pid, was_asked in self._asked.items() if pid in held}
        self._told &= held.keys()
        for pid in held.keys() - self._told:
            self._ask_then_tell(held[pid])

    def _is_held(self, worker: WorkerProcess) -> bool:
        seen_at = worker.table.seen_at
        silent = seen_at > 0.0 and self._clock.monotonic() - seen_at >= self._silence
        return silent and not worker.is_frozen

    def _ask_then_tell(self, worker: WorkerProcess) -> None:
        """A thread in a system call isn't asked: the signal would end what it waits for.

        Nothing is told at the first look: a process that was frozen shows life a moment after it wakes up.
        """
        if worker.pid not in self._asked:
            self._asked[worker.pid] = can_be_asked = worker.is_computing
            if can_be_asked:
                worker.stack.request(worker.pid)
            return
        self._told.add(worker.pid)
        stack = worker.stack.read() if self._asked[worker.pid] else "  it waits in a system call"
        logger.warning(
            "nothing has run in worker %d for %.1f s but a call into C that keeps the interpreter's lock; "
            "its jobs are %s\n%s",
            worker.pid,
            self._clock.monotonic() - worker.table.seen_at,
            ", ".join(self._jobs(worker)) or "unknown",
            stack or "  its stack is not to be had",
        )

    def _jobs(self, worker: WorkerProcess) -> list[str]:
        """What it runs, as `HardJob jid=…`: the claimed jobs that the table has."""
        running = {job.fingerprint for job in worker.table.running()}
        claims = [("LRANGE", keys.claim(worker.news.identity, queue), 0, -1) for queue in worker.news.queues]
        try:
            claimed = [
                raw for reply in self._redis.pipeline(claims) if isinstance(reply, list) for raw in reply
            ]
        except SidekiqError:
            return []
        return [_name(raw) for raw in claimed if fingerprint(raw) in running][:NAMED]


def _name(raw: bytes) -> str:
    try:
        return f"{display_class(parse(raw))} jid={jid_of(raw)}"
    except InvalidPayload:  # another has replaced it meanwhile
        return "unknown"
