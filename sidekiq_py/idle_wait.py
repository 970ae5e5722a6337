"""Waits for a push while a capsule is idle: one BLMOVE per queue, in line with Ruby's BRPOP.

BLMOVE and BRPOP share one first-come line in Redis, so that a push wakes exactly one waiter, Ruby's or ours,
and the job goes straight into our claim list.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import gevent

from sidekiq_py import keys
from sidekiq_py.errors import RedisAuthError, RedisDown, SidekiqError
from sidekiq_py.failpoint import failpoint
from sidekiq_py.redis_connection import RedisConnection

BLOCK: Final = 3.0  # seconds at most; the script after it looks whether this process still lives
BLOCKS_IN_TTL: Final = 4  # a process that froze must not be served when it has been declared dead
MOST_WATCHED: Final = 8  # connections; further queues are polled
UNBLOCK_EVERY: Final = 0.05  # seconds
REFUSED_PAUSE: Final = 0.1  # seconds before a refused BLMOVE (out of memory) reports, so that nobody spins

Outcome: TypeAlias = "bytes | SidekiqError | None"  # a job, nothing for a while, or what went wrong

logger = logging.getLogger("sidekiq")


def longest_wait(heartbeat_ttl: float) -> float:
    """Seconds that a BLMOVE may wait, well below the time that a heartbeat lives."""
    return min(BLOCK, heartbeat_ttl / BLOCKS_IN_TTL)


class IdleWait:
    """The queues of one capsule that are being watched. `armed` is how many slots that reserves.

    Whenever a wait is over, `deliver` hears of it, with the job if there is one; before that, `complain` of a
    queue that can't be waited for, or `went_down` of an outage.
    """

    def __init__(
        self,
        *,
        identity: str,
        block: float,
        connect: Callable[[], RedisConnection],
        deliver: Callable[[str, bytes | None], object],
        complain: Callable[[str, str], object],
        went_down: Callable[[RedisDown], object],
    ) -> None:
        self._identity = identity
        self._block = block
        self._connect = connect
        self._deliver = deliver
        self._complain = complain
        self._went_down = went_down
        self._watchers: dict[str, Watcher] = {}
        self._is_full = False  # as the last wait was told

    @property
    def armed(self) -> int:
        """Jobs that may arrive at any moment; each needs a free slot."""
        return sum(watcher.is_armed for watcher in self._watchers.values())

    def armed_since(self) -> float:
        """When the oldest unanswered BLMOVE was sent, monotonic seconds; infinity when there is none."""
        return min((each.armed_at for each in self._watchers.values() if each.is_armed), default=math.inf)

    def arm(self, queues: Sequence[str], free: int) -> bool:
        """Watch the first queues, a free slot each. Returns whether every queue is watched."""
        slots = free + self.armed
        most = min(MOST_WATCHED, slots if slots >= len(queues) else slots - 1)  # one slot polls the others
        for name in queues[:most]:
            watcher = self._watchers.get(name)
            if watcher is None:
                claim = keys.claim(self._identity, name)
                watcher = Watcher(
                    name, claim, block=self._block, connection=self._connect(), is_over=self._is_over
                )
                self._watchers[name] = watcher
            if self.armed < most:
                watcher.arm()
        return all((watcher := self._watchers.get(name)) and watcher.is_armed for name in queues)

    def disarm(self, connection: RedisConnection) -> None:
        """Stop watching; then no job can arrive any more. That takes a whole wait where UNBLOCK is denied."""
        deadline = time.monotonic() + self._block + 3
        while (armed := [each for each in self._watchers.values() if each.is_armed]) and (
            time.monotonic() < deadline
        ):
            for watcher in armed:  # again and again: one may be just about to wait
                watcher.unblock(connection)
            gevent.joinall([watcher.greenlet for watcher in armed if watcher.greenlet], timeout=UNBLOCK_EVERY)

    def disconnect(self) -> None:
        for watcher in self._watchers.values():
            watcher.disconnect()

    def _is_over(self, queue_name: str, outcome: Outcome) -> None:
        if isinstance(outcome, SidekiqError):
            try:
                self._waited_in_vain(queue_name, outcome)
            finally:
                self._deliver(queue_name, None)
        else:
            self._is_full = False
            self._deliver(queue_name, outcome)

    def _waited_in_vain(self, queue_name: str, error: SidekiqError) -> None:
        if isinstance(error, RedisDown) and error.is_full:  # no outage: our script frees memory and may go on
            if not self._is_full:
                logger.warning("Redis is full: what waits is taken and run, pushes fail (%s)", error)
            self._is_full = True
        elif isinstance(error, RedisDown):
            self._went_down(error)
        elif not isinstance(error, RedisAuthError):  # of that, the next fetch tells
            self._complain(queue_name, str(error))


class Watcher:
    """One queue, one connection, one blocking move at a time."""

    def __init__(
        self,
        name: str,
        claim: str,
        *,
        block: float,
        connection: RedisConnection,
        is_over: Callable[[str, Outcome], object],
    ) -> None:
        self._name = name
        self._queue = keys.queue(name)
        self._claim = claim
        self._block = block
        self._connection = connection
        self._is_over = is_over
        self._client_id: int | None = None
        self.is_armed = False
        self.armed_at = 0.0
        self.greenlet: gevent.Greenlet[[], None] | None = None

    def arm(self) -> None:
        if not self.is_armed:
            self.is_armed, self.armed_at = True, time.monotonic()
            self.greenlet = gevent.spawn(self._wait)

    def unblock(self, connection: RedisConnection) -> None:
        """End the wait from another connection; harmless when it has ended, patient when denied."""
        if self._client_id is None:
            return
        try:
            connection.call("CLIENT", "UNBLOCK", self._client_id)
        except RedisDown:
            raise
        except SidekiqError:
            return

    def disconnect(self) -> None:
        self._connection.disconnect()

    def _wait(self) -> None:
        outcome: Outcome = None
        try:
            self._learn_client_id()
            outcome = self._connection.call(
                "BLMOVE", self._queue, self._claim, "RIGHT", "LEFT", f"{self._block:g}"
            )
            if outcome is not None:
                failpoint("idle.reply")
        except SidekiqError as refused:
            self._client_id = None
            outcome = refused
            gevent.sleep(REFUSED_PAUSE)
        finally:  # whatever it was: a slot that stays reserved, or a wait for nothing, would last for ever
            self.is_armed = False
            self._is_over(self._name, outcome)

    def _learn_client_id(self) -> None:
        if self._client_id is not None:
            return
        try:
            self._client_id = int(self._connection.call("CLIENT", "ID"))
        except RedisDown:
            raise
        except SidekiqError:  # denied to this user: quiet takes up to a whole wait then
            self._client_id = None
