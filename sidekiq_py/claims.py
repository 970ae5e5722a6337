"""What can be done with claimed jobs: give them back, or strike them out.

A claim list is a job's second home from the moment it leaves its queue until it is done. Removing a payload
from it (`LREM` = 1) is what makes a process the one that may acknowledge, retry, bury or requeue the job.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from sidekiq_py import keys
from sidekiq_py.errors import RedisError
from sidekiq_py.failpoint import failpoint
from sidekiq_py.redis_connection import Arg, Command, RedisConnection
from sidekiq_py.scripts import load

logger = logging.getLogger("sidekiq")

_ACKNOWLEDGE: Final = load("acknowledge")
_REQUEUE: Final = load("requeue")


class UnitOfWork:
    """A claimed job: the queue it came from and its bytes exactly as they were there."""

    __slots__ = ("at", "queue", "raw")

    def __init__(self, queue: str, raw: bytes, at: float = 0.0) -> None:
        self.queue = queue
        self.raw = raw
        self.at = at  # when it was claimed, monotonic seconds


def acknowledgement(identity: str, works: Iterable[UnitOfWork]) -> Command:
    """The command that strikes jobs out of their claim lists; it replies how many were not there any more."""
    by_queue = _by_queue(works)
    args: list[Arg] = []
    for payloads in by_queue.values():
        args += [len(payloads), *payloads]
    return _ACKNOWLEDGE.command([keys.claim(identity, name) for name in by_queue], args)


def requeue(connection: RedisConnection, identity: str, works: Iterable[UnitOfWork]) -> int:
    """Put claimed jobs back at the head of their queues, the first given to run first. Returns how many.

    A job whose claim is gone (it finished, or a peer rescued it) is left alone.
    """
    moved = 0
    for name, payloads in _by_queue(works).items():
        names = [keys.claim(identity, name), keys.queue(name)]
        failpoint("requeue.send")
        try:
            moved += connection.run_script(_REQUEUE, names, list(reversed(payloads)))
        except RedisError as error:  # a key of another type; the other queues' jobs go back all the same
            logger.error("%d jobs stay claimed, they can't go back to %r: %s", len(payloads), names[1], error)
    return moved


def requeue_leftovers(connection: RedisConnection, identity: str, queues: Iterable[str]) -> int:
    """Put back whatever this identity still claims, oldest first to run. Only when nothing runs any more."""
    leftovers: list[UnitOfWork] = []
    for name in queues:
        claimed = connection.call("LRANGE", keys.claim(identity, name), 0, -1)
        leftovers += [UnitOfWork(name, raw) for raw in reversed(claimed)]
    return requeue(connection, identity, leftovers)


def _by_queue(works: Iterable[UnitOfWork]) -> dict[str, list[bytes]]:
    by_queue: defaultdict[str, list[bytes]] = defaultdict(list)
    for work in works:
        by_queue[work.queue].append(work.raw)
    return by_queue
