"""Takes jobs off the queues into claim lists, and gives back or strikes out what was claimed.

A claim list is a job's second home from the moment it leaves its queue until it is done: whoever holds a
job, dead or alive, can be told from Redis alone. Removing a payload from the claim (`LREM` = 1) is what
makes a process the one that may acknowledge, retry, bury or requeue it.

Busy, one script a round trip fetches up to the free slots, and acknowledgements ride along. Idle, a BLMOVE
per queue waits in the same line as Ruby's BRPOP. Ruby twin: Sidekiq::BasicFetch.
"""

from __future__ import annotations

import logging
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

import gevent
from gevent.event import Event
from gevent.queue import Empty, SimpleQueue

from sidekiq_py import keys
from sidekiq_py.backoff import Backoff
from sidekiq_py.capsule import Capsule
from sidekiq_py.component import ErrorReporter, RedisState
from sidekiq_py.dialect import Dialect
from sidekiq_py.errors import RedisDown, RedisError
from sidekiq_py.idle_wait import IdleWait
from sidekiq_py.redis_connection import Arg, Command, RedisConnection, Reply
from sidekiq_py.scripts import load

POLL_UNWATCHED: Final = 0.25  # seconds; queues that no BLMOVE waits on, and when BLMOVE is refused
POLL_SKIPPED: Final = 1.0  # seconds; a paused or damaged queue may be well again
FENCED: Final = b"FENCED"

logger = logging.getLogger("sidekiq")

_FETCH = load("fetch")
_ACKNOWLEDGE = load("acknowledge")
_REQUEUE = load("requeue")


class UnitOfWork:
    """A claimed job: the queue it came from and its bytes exactly as they were there."""

    __slots__ = ("queue", "raw")

    def __init__(self, queue: str, raw: bytes) -> None:
        self.queue = queue
        self.raw = raw


class Surroundings(Protocol):
    """What the heartbeat knows of the world, read at every fetch."""

    @property
    def process_count(self) -> int: ...
    @property
    def paused(self) -> frozenset[str]: ...
    @property
    def dialect(self) -> Dialect: ...
    @property
    def ruby_is_here(self) -> bool: ...
    def request_beat(self) -> None: ...


class Fetcher:
    """Keeps one capsule's processors supplied. All methods run on the hub's thread.

    Redis: `queue:*`, `sidekiq-py:claim:*`, reads `paused` and the identity's heartbeat.
    """

    def __init__(
        self,
        *,
        identity: str,
        capsule: Capsule,
        connect: Callable[[], RedisConnection],
        surroundings: Surroundings,
        redis_state: RedisState,
        report: ErrorReporter,
    ) -> None:
        self._identity = identity
        self._capsule = capsule
        self._concurrency = capsule.concurrency
        self._connection = connect()  # the loop's own: no two greenlets may talk on one socket
        self._managers_connection = connect()
        self._surroundings = surroundings
        self._redis_state = redis_state
        self._report = report
        self._ready: SimpleQueue[UnitOfWork | None] = SimpleQueue()
        self._finished: list[UnitOfWork] = []
        self._held = 0  # claimed and not finished: running or waiting in `_ready`
        self._wake = Event()
        self._quiet = False
        self._gave_back = False
        self._stopped = False
        self._idle = IdleWait(identity=identity, connect=connect, deliver=self._deliver)
        self._complained: set[str] = set()
        self._loop: gevent.Greenlet[[], None] | None = None

    # -- for processors --------------------------------------------------------------------------------

    def retrieve_work(self) -> UnitOfWork | None:
        """The next job to run; None when the capsule is quiet and nothing more will come."""
        return self._ready.get()

    def acknowledge(self, work: UnitOfWork) -> None:
        """The job is done: strike it out of its claim list with the next round trip."""
        self._finished.append(work)
        self.release()

    def release(self) -> None:
        """The job left its claim list by another way; its slot is free again."""
        self._held -= 1
        self._wake.set()

    # -- for the manager -------------------------------------------------------------------------------

    def start(self) -> None:
        self._loop = gevent.spawn(self._run)

    def quiet(self) -> None:
        """Fetch nothing new from now on; what is claimed and not started goes back to its queue."""
        self._quiet = True
        self._wake.set()

    def requeue(self, works: Iterable[UnitOfWork]) -> int:
        """Put claimed jobs back at the head of their queues, the first given to run first. Returns how many.

        A job whose claim is gone (it finished, or a peer rescued it) is left alone.
        """
        return requeue(self._managers_connection, self._identity, works)

    def stop(self, timeout: float) -> None:
        """Send the last acknowledgements and end, within `timeout` seconds."""
        self._quiet = self._stopped = True
        self._wake.set()
        if self._loop is not None:
            self._loop.join(timeout)

    def disconnect(self) -> None:
        self._connection.disconnect()
        self._managers_connection.disconnect()
        self._idle.disconnect()

    # -- the loop --------------------------------------------------------------------------------------

    def _run(self) -> None:
        backoff = Backoff()
        while not (self._stopped and self._gave_back and not self._finished):
            try:
                if self._quiet and not self._gave_back:
                    self._give_back()
                self._turn()
                backoff.succeeded()
            except RedisDown as error:
                if self._stopped:
                    return
                self._redis_state.went_down(error)
                gevent.sleep(backoff.next_pause())
            except Exception as error:  # a fetcher that ends would end the whole capsule
                self._report.log(error, {"context": "fetch failed"})
                gevent.sleep(backoff.next_pause())

    def _turn(self) -> None:
        """One round trip when there is something to say or to ask, else a wait until there is."""
        self._wake.clear()
        free = 0 if self._quiet else self._concurrency - self._held - self._idle.armed
        if free <= 0 and not self._finished:
            if not self._stopped:
                self._wake.wait()
        elif self._exchange(free) == 0 and free > 0 and not self._wake.is_set():
            self._wait_idle(free)

    def _exchange(self, free: int) -> int:
        """Send acknowledgements and fetch up to `free` jobs; returns how many came."""
        finished, self._finished = self._finished, []
        order = self._fetch_order() if free > 0 else []
        commands: list[Command] = []
        if finished:
            commands.append(_ACKNOWLEDGE.command(*self._acknowledgement(finished)))
        if order:
            commands.append(self._fetch_command(order, free))
        try:
            replies = self._connection.pipeline(commands)
        except RedisDown:
            self._finished = finished + self._finished  # once more when Redis is back
            raise
        acknowledged = replies.pop(0) if finished else 0
        try:
            count = self._take(order, replies.pop()) if order else 0
        finally:  # what was fetched is ours, whatever became of the acknowledgements
            self._check_acknowledged(acknowledged, finished)
        self._redis_state.is_up()
        return count

    def _fetch_order(self) -> list[str]:
        return self._capsule.fetch_order(random.shuffle)

    def _fetch_command(self, order: Sequence[str], free: int) -> Command:
        claims = [keys.claim(self._identity, name) for name in order]
        queues = [keys.queue(name) for name in order]
        processes = max(self._surroundings.process_count, 1)
        return _FETCH.command(
            [self._identity, keys.PAUSED, *queues, *claims],
            [len(order), free, processes, *order, *self._quotas(order, free)],
        )

    def _quotas(self, order: Sequence[str], free: int) -> list[int]:
        """How much of each queue to take first: strictly all, else as often as the weights draw it."""
        if self._capsule.mode == "strict" or free == 1:
            return [free] * len(order)
        drawn = random.choices(self._capsule.lots, k=free)
        return [drawn.count(name) for name in order]

    def _acknowledgement(self, finished: Sequence[UnitOfWork]) -> tuple[list[str], list[Arg]]:
        by_queue: defaultdict[str, list[bytes]] = defaultdict(list)
        for work in finished:
            by_queue[work.queue].append(work.raw)
        args: list[Arg] = []
        for payloads in by_queue.values():
            args += [len(payloads), *payloads]
        return [keys.claim(self._identity, name) for name in by_queue], args

    def _check_acknowledged(self, reply: Reply, finished: Sequence[UnitOfWork]) -> None:
        if isinstance(reply, RedisDown):
            self._finished = [*finished, *self._finished]
            raise reply
        if isinstance(reply, RedisError):
            raise reply
        if reply:
            logger.warning(
                "%d finished jobs were not ours any more: a peer rescued them, they may run twice", reply
            )

    def _take(self, order: Sequence[str], reply: Reply) -> int:
        if isinstance(reply, Exception):
            raise reply
        if reply == FENCED:
            self._surroundings.request_beat()
            gevent.sleep(POLL_UNWATCHED)
            return 0
        count = 0
        for name, payloads in zip(order, reply, strict=True):
            if isinstance(payloads, bytes):
                self._complain(name, payloads.decode("utf-8", "replace"))
                continue
            for raw in payloads or ():
                self._ready.put(UnitOfWork(name, raw))
                count += 1
        self._held += count
        return count

    def _complain(self, name: str, problem: str) -> None:
        if name not in self._complained:
            self._complained.add(name)
            logger.error(
                "queue %r is skipped: its key %r is not a list (%s)", name, keys.queue(name), problem
            )

    # -- idle ------------------------------------------------------------------------------------------

    def _wait_idle(self, free: int) -> None:
        """Wait until a push, an acknowledgement or the end; BLMOVE watches as many queues as may run."""
        skipped = self._surroundings.paused | self._complained
        watched = [name for name in self._fetch_order() if name not in skipped]
        if not self._idle.arm(watched, free):
            self._wake.wait(POLL_UNWATCHED)
        else:
            self._wake.wait(POLL_SKIPPED if skipped else None)

    def _deliver(self, queue_name: str, raw: bytes | None, error: Exception | None) -> None:
        """A watched queue gave a job, or nothing for a while, or an error."""
        if isinstance(error, RedisDown):
            self._redis_state.went_down(error)
        elif error is not None:
            self._complain(queue_name, str(error))
        if raw is not None:
            self._held += 1
            self._ready.put(UnitOfWork(queue_name, raw))
        self._wake.set()

    def _give_back(self) -> None:
        """Quiet: end the waiting, return what nobody started, and tell the processors that this was all."""
        self._idle.disarm(self._connection)
        unstarted = self._take_unstarted()
        try:
            requeue(self._connection, self._identity, unstarted)
        except RedisDown:
            for work in unstarted:  # the claims are still there; try again when Redis is back
                self._ready.put(work)
            raise
        self._held -= len(unstarted)
        self._gave_back = True
        for _ in range(self._concurrency):
            self._ready.put(None)

    def _take_unstarted(self) -> list[UnitOfWork]:
        unstarted: list[UnitOfWork] = []
        while True:
            try:
                work = self._ready.get_nowait()
            except Empty:
                return unstarted
            if work is not None:
                unstarted.append(work)


def requeue(connection: RedisConnection, identity: str, works: Iterable[UnitOfWork]) -> int:
    """Put claimed jobs back at the head of their queues, the first given to run first. Returns how many."""
    by_queue: defaultdict[str, list[bytes]] = defaultdict(list)
    for work in works:
        by_queue[work.queue].append(work.raw)
    moved = 0
    for name, payloads in by_queue.items():
        names = [keys.claim(identity, name), keys.queue(name)]
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
