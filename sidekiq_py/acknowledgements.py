"""Finished jobs on their way out of their claim lists, and those that came out lately."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from typing import Final

from sidekiq_py.claims import UnitOfWork, acknowledgement
from sidekiq_py.errors import OUTAGE, RedisError
from sidekiq_py.redis_connection import Command, Reply

REMEMBERED: Final = 16384  # acknowledged jobs

logger = logging.getLogger("sidekiq")


class Acknowledgements:
    """Collects finished jobs until the next round trip. Truthy while Redis has not answered for all.

    Redis: `sidekiq-py:claim:*`.
    """

    def __init__(self, identity: str) -> None:
        self._identity = identity
        self._waiting: list[UnitOfWork] = []
        self.sent: list[UnitOfWork] = []  # and not answered
        self._kept: list[UnitOfWork] = []  # they stay claimed until the end
        self._put_back: set[UnitOfWork] = set()
        self._acknowledged: deque[int] = deque(maxlen=REMEMBERED)  # hashes of payloads

    def __bool__(self) -> bool:
        return bool(self._waiting or self.sent)

    def add(self, work: UnitOfWork) -> None:
        """The job is done; `send` will tell Redis."""
        self._waiting.append(work)

    def keep(self, work: UnitOfWork) -> None:
        """The job is over and can't leave its claim list: nobody runs it before this process has ended."""
        self._kept.append(work)

    def put_back(self, works: Iterable[UnitOfWork]) -> None:
        """These are in their queues again while they still run: should they end well, nothing is amiss."""
        self._put_back.update(works)

    def works(self) -> list[UnitOfWork]:
        """All jobs that are over and may still be claimed."""
        return [*self._waiting, *self.sent, *self._kept]

    def includes(self, raw: bytes) -> bool:
        """Whether the job was acknowledged lately."""
        return hash(raw) in self._acknowledged

    def send(self) -> list[Command]:
        """The command for all that wait, if any do; those that were sent and never answered go once more."""
        self.sent += self._waiting
        self._waiting = []
        return [acknowledgement(self._identity, self.sent)] if self.sent else []

    def answered(self, reply: Reply) -> None:
        """What Redis said. Raises its error; after an outage these jobs are sent again."""
        if isinstance(reply, OUTAGE):
            raise reply
        sent, self.sent = self.sent, []
        if isinstance(reply, RedisError):
            raise reply
        self._acknowledged.extend([hash(work.raw) for work in sent])
        if reply:
            self._tell_of_strangers(reply, sent)

    def _tell_of_strangers(self, count: int, sent: Iterable[UnitOfWork]) -> None:
        if ours := sum(work in self._put_back for work in sent):
            logger.warning("%d jobs ended well after they had been put back: they run again", ours)
        if count > ours:
            logger.warning(
                "%d finished jobs were not ours any more: a peer rescued them, they may run twice",
                count - ours,
            )
