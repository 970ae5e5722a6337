"""Takes jobs off the queues into claim lists, and gives back or strikes out what was claimed.

Whoever holds a job, dead or alive, can be told from Redis alone; see `claims`.

Busy, one script a round trip fetches what the free slots and a little look-ahead can take, and
acknowledgements ride along. Idle, a BLMOVE per queue waits in the same line as Ruby's BRPOP.
Ruby twin: Sidekiq::BasicFetch.
"""

from __future__ import annotations

import logging
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import Final

import gevent
from gevent import GreenletExit
from gevent.event import Event

from sidekiq_py import keys, look_ahead
from sidekiq_py.acknowledgements import Acknowledgements
from sidekiq_py.backoff import Backoff
from sidekiq_py.capsule import Capsule
from sidekiq_py.claims import UnitOfWork, requeue
from sidekiq_py.component import ErrorReporter, RedisState
from sidekiq_py.errors import OUTAGE
from sidekiq_py.failpoint import failpoint
from sidekiq_py.idle_wait import BLOCK, IdleWait
from sidekiq_py.look_ahead import LookAhead
from sidekiq_py.ready_jobs import ReadyJobs
from sidekiq_py.redis_connection import Command, RedisConnection, Reply
from sidekiq_py.scripts import load
from sidekiq_py.surroundings import Surroundings

POLL_UNWATCHED: Final = 0.25  # seconds; queues that no BLMOVE waits on, and when BLMOVE is refused
WAIT_MARGIN: Final = 3.0  # seconds above a BLMOVE's; then its watcher has died and told nobody
POLL_SKIPPED: Final = 1.0  # seconds; a paused or damaged queue may be well again
LIES_READY: Final = 0.25  # seconds that a claimed job may wait for a slot; then others may have it
SHARE_PAUSE: Final = 0.003  # seconds in which others may take from what an even share has left
FENCED: Final = b"FENCED"

logger = logging.getLogger("sidekiq")

_FETCH = load("fetch")


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
        most_ahead: int = look_ahead.MOST,
        block: float = BLOCK,
    ) -> None:
        self._identity = identity
        self._block = block
        self._capsule = capsule
        self._concurrency = capsule.concurrency
        self._connection = connect()  # the loop's own: no two greenlets may talk on one socket
        self._managers_connection = connect()
        self._surroundings = surroundings
        self._redis_state = redis_state
        self._report = report
        self._ready = ReadyJobs()
        self._finished = Acknowledgements(identity)
        self._look_ahead = LookAhead(capsule.concurrency, most_ahead)
        self._asked_at = monotonic()
        self._is_asking = False
        self._is_fenced = False  # as the last fetch said: peers take us for dead
        self._held = 0  # claimed and not finished: running or waiting in `_ready`
        self._wake = Event()
        self._quiet = False
        self._gave_back = False
        self._stopped = False
        self._idle = IdleWait(
            identity=identity,
            block=block,
            connect=connect,
            deliver=self._deliver,
            complain=self._complain,
            went_down=lambda error: redis_state.went_down(error, self),
        )
        self._paused: set[str] = set()  # as the last fetch found them
        self._complained: set[str] = set()
        self._loop: gevent.Greenlet[[], None] | None = None

    # -- for processors --------------------------------------------------------------------------------

    def retrieve_work(self) -> UnitOfWork | None:
        """The next job to run; None when the capsule is quiet and nothing more will come."""
        work = self._ready.get()
        failpoint("job.taken")
        return work

    def acknowledge(self, work: UnitOfWork) -> None:
        """The job is done: strike it out of its claim list with the next round trip."""
        failpoint("job.done")
        self._finished.add(work)
        self.release()

    def release(self) -> None:
        """The job left its claim list by another way; its slot is free again."""
        self._held -= 1
        self._wake.set()

    def keep(self, work: UnitOfWork) -> None:
        """The job is over and can't leave its claim list: nobody runs it before this process has ended."""
        self._finished.keep(work)
        self.release()

    # -- for the audit ---------------------------------------------------------------------------------

    @property
    def queues(self) -> list[str]:
        return self._capsule.queues

    def in_memory(self) -> Counter[bytes]:
        """The payloads that this capsule knows it has claimed, but for the running ones."""
        return Counter(work.raw for work in (*self._finished.works(), *self._ready.unstarted()))

    def asking_since(self) -> float:
        """When the oldest request was sent that may still bring a job, monotonic seconds; else infinity."""
        return min(self._asked_at if self._is_asking else math.inf, self._idle.armed_since())

    def has_acknowledged(self, raw: bytes) -> bool:
        """Whether the job was acknowledged lately."""
        return self._finished.includes(raw)

    def adopt(self, work: UnitOfWork) -> None:
        """Run a job that was claimed for us and never arrived."""
        self._held += 1
        self._ready.put(work)
        self._wake.set()

    # -- for the manager -------------------------------------------------------------------------------

    def start(self) -> None:
        self._loop = gevent.spawn(self._run)

    def revive(self) -> None:
        """Start again when the loop has died, as it may for want of memory."""
        if self._loop is not None and self._loop.dead and not self._stopped:
            self.start()

    def quiet(self) -> None:
        """Fetch nothing new from now on; what is claimed and not started goes back to its queue."""
        self._quiet = True
        self._ready.quiet()
        self._wake.set()

    def requeue(self, works: Iterable[UnitOfWork]) -> int:
        """Put claimed jobs back at the head of their queues, the first given to run first. Returns how many.

        A job whose claim is gone (it finished, or a peer rescued it) is left alone.
        """
        works = list(works)
        moved = requeue(self._managers_connection, self._identity, works)
        self._finished.put_back(works)
        return moved

    def stop(self, timeout: float) -> None:
        """Send the last acknowledgements and end, within `timeout` seconds."""
        self._stopped = True
        self.quiet()
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
            except OUTAGE as error:
                if self._stopped:
                    return
                context = {"context": "an outage can't be logged"}
                self._report.guarded(
                    self._redis_state.went_down, error, self, context=context, otherwise=None
                )
                gevent.sleep(backoff.next_pause())
            except GreenletExit:
                raise
            except BaseException as error:  # a fetcher that ends would end the whole capsule
                self._report.log(error, {"context": "fetch failed"})
                gevent.sleep(backoff.next_pause())

    def _turn(self) -> None:
        """One round trip when there is something to say or to ask, else a wait until there is."""
        self._wake.clear()
        if self._ready.has_unwanted:  # from an outage, which kept them from going back
            self._return_unstarted()
        free = 0 if self._quiet else self._concurrency - self._held - self._idle.armed
        want = free + self._look_ahead.jobs if not self._quiet else 0
        if want <= 0 and not self._finished:
            self._wait_busy()
            return
        count = self._exchange(want)
        if self._is_fenced and free > 0:
            gevent.sleep(POLL_UNWATCHED)  # no BLMOVE: it asks nobody whether we live
        elif count == 0 and not self._wake.is_set():
            self._wait_idle(free) if free > 0 else self._wait_busy()
        elif 0 < count < free and self._surroundings.process_count > 1:
            gevent.sleep(SHARE_PAUSE)

    def _wait_busy(self) -> None:
        """Until a job ends, or one has lain ready for too long."""
        if self._stopped:
            return
        oldest = self._ready.oldest
        if oldest is None:
            self._wake.wait()
        elif (left := oldest.at + LIES_READY - monotonic()) > 0:
            self._wake.wait(left)
        else:
            self._look_ahead.was_wrong()
            self._return_unstarted()

    def _exchange(self, want: int) -> int:
        """Send acknowledgements and fetch up to `want` jobs; returns how many came."""
        order = self._fetch_order() if want > 0 else []
        fetch = [self._fetch_command(order, want)] if order else []
        acknowledge = self._finished.send()
        replies = self._send([*acknowledge, *fetch])
        self._is_fenced = bool(fetch) and replies[-1] == FENCED
        if self._is_fenced:
            self._surroundings.request_beat()
        try:
            count = self._take(order, replies[-1]) if fetch and not self._is_fenced else 0
        finally:  # what was fetched is ours, whatever became of the acknowledgements
            if acknowledge:
                self._finished.answered(replies[0])
        self._redis_state.is_up(self)
        return count

    def _send(self, commands: Sequence[Command]) -> list[Reply]:
        before, self._asked_at = self._asked_at, monotonic()
        finished = len(self._finished.sent)
        self._is_asking = True
        try:
            failpoint("fetch.send")
            replies = self._connection.pipeline(commands)
            failpoint("acknowledge.reply" if finished else "fetch.reply")
        finally:
            self._is_asking = False
        self._look_ahead.measured(
            finished=finished,
            seconds=self._asked_at - before,
            round_trip=monotonic() - self._asked_at,
        )
        return replies

    def _fetch_order(self) -> list[str]:
        return self._capsule.fetch_order(random.shuffle)

    def _fetch_command(self, order: Sequence[str], free: int) -> Command:
        claims = [keys.claim(self._identity, name) for name in order]
        queues = [keys.queue(name) for name in order]
        processes = max(self._surroundings.process_count, 1)
        return _FETCH.command(
            [self._identity, keys.PAUSED, *queues, *claims],
            [len(order), free, processes, *order, *self._capsule.quotas(order, free, random.choices)],
        )

    def _take(self, order: Sequence[str], reply: Reply) -> int:
        if isinstance(reply, Exception):
            raise reply
        self._paused = {name for name, payloads in zip(order, reply, strict=True) if payloads is None}
        count, now = 0, monotonic()
        for name, payloads in zip(order, reply, strict=True):
            if isinstance(payloads, bytes):
                self._complain(name, payloads.decode("utf-8", "replace"))
                continue
            for raw in payloads or ():
                self._ready.put(UnitOfWork(name, raw, now))
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
        skipped = self._paused | self._complained
        watched = [name for name in self._fetch_order() if name not in skipped]
        if not self._idle.arm(watched, free):
            self._wake.wait(POLL_UNWATCHED)
        else:
            self._wake.wait(POLL_SKIPPED if skipped else self._block + WAIT_MARGIN)

    def _deliver(self, queue_name: str, raw: bytes | None) -> None:
        """A watched queue gave a job, or nothing for a while."""
        if raw is not None:
            self._held += 1
            self._ready.put(UnitOfWork(queue_name, raw, monotonic()))
        self._wake.set()

    # -- giving back -----------------------------------------------------------------------------------

    def _give_back(self) -> None:
        """Quiet: end the waiting, return what nobody started, and tell the processors that this was all."""
        self._idle.disarm(self._connection)
        self._return_unstarted()
        self._gave_back = True
        self._ready.close()

    def _return_unstarted(self) -> None:
        unstarted = self._ready.take_unstarted()
        try:
            requeue(self._connection, self._identity, unstarted)
        except OUTAGE:
            self._ready.put_aside(unstarted)  # the claims are still there; try again when Redis is back
            raise
        self._held -= len(unstarted)
