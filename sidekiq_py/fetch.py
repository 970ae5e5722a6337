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
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import Final

import gevent
from gevent import GreenletExit
from gevent.event import Event
from gevent.queue import Empty, SimpleQueue

from sidekiq_py import keys, look_ahead
from sidekiq_py.backoff import Backoff
from sidekiq_py.capsule import Capsule
from sidekiq_py.claims import UnitOfWork, acknowledgement, requeue
from sidekiq_py.component import ErrorReporter, RedisState
from sidekiq_py.errors import OUTAGE, RedisAuthError, RedisDown, RedisError, SidekiqError
from sidekiq_py.failpoint import failpoint
from sidekiq_py.idle_wait import IdleWait
from sidekiq_py.look_ahead import LookAhead
from sidekiq_py.redis_connection import Command, RedisConnection, Reply
from sidekiq_py.scripts import load
from sidekiq_py.surroundings import Surroundings

POLL_UNWATCHED: Final = 0.25  # seconds; queues that no BLMOVE waits on, and when BLMOVE is refused
POLL_SKIPPED: Final = 1.0  # seconds; a paused or damaged queue may be well again
LIES_READY: Final = 0.25  # seconds that a claimed job may wait for a slot; then others may have it
SHARE_PAUSE: Final = 0.003  # seconds in which others may take from what an even share has left
REMEMBERED: Final = 16384  # acknowledged jobs
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
        self._unreturned: list[UnitOfWork] = []  # nobody is to start these any more
        self._finished: list[UnitOfWork] = []
        self._on_its_way: list[UnitOfWork] = []  # acknowledgements sent and not answered
        self._kept: list[UnitOfWork] = []  # they stay claimed until the end
        self._acknowledged: deque[int] = deque(maxlen=REMEMBERED)  # hashes of payloads
        self._look_ahead = LookAhead(capsule.concurrency, most_ahead)
        self._asked_at = monotonic()
        self._is_asking = False
        self._held = 0  # claimed and not finished: running or waiting in `_ready`
        self._wake = Event()
        self._quiet = False
        self._gave_back = False
        self._stopped = False
        self._idle = IdleWait(identity=identity, connect=connect, deliver=self._deliver)
        self._paused: set[str] = set()  # as the last fetch found them
        self._complained: set[str] = set()
        self._is_full = False  # as the last BLMOVE was told
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
        self._finished.append(work)
        self.release()

    def release(self) -> None:
        """The job left its claim list by another way; its slot is free again."""
        self._held -= 1
        self._wake.set()

    def keep(self, work: UnitOfWork) -> None:
        """The job is over and can't leave its claim list: nobody runs it before this process has ended."""
        self._kept.append(work)
        self.release()

    # -- for the audit ---------------------------------------------------------------------------------

    @property
    def queues(self) -> list[str]:
        return self._capsule.queues

    def in_memory(self) -> Counter[bytes]:
        """The payloads that this capsule knows it has claimed, but for the running ones."""
        ready = [work for work in self._ready.copy().queue if work is not None]
        works = [*self._finished, *self._on_its_way, *self._kept, *self._unreturned, *ready]
        return Counter(work.raw for work in works)

    def asking_since(self) -> float:
        """When the oldest request was sent that may still bring a job, monotonic seconds; else infinity."""
        return min(self._asked_at if self._is_asking else math.inf, self._idle.armed_since())

    def has_acknowledged(self, raw: bytes) -> bool:
        """Whether the job was acknowledged lately."""
        return hash(raw) in self._acknowledged

    def adopt(self, work: UnitOfWork) -> None:
        """Run a job that was claimed for us and never arrived."""
        self._arrived(work)
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
            except OUTAGE as error:
                if self._stopped:
                    return
                self._redis_state.went_down(error, self)
                gevent.sleep(backoff.next_pause())
            except GreenletExit:
                raise
            except BaseException as error:  # a fetcher that ends would end the whole capsule
                self._report.log(error, {"context": "fetch failed"})
                gevent.sleep(backoff.next_pause())

    def _turn(self) -> None:
        """One round trip when there is something to say or to ask, else a wait until there is."""
        self._wake.clear()
        free = 0 if self._quiet else self._concurrency - self._held - self._idle.armed
        want = free + self._look_ahead.jobs if not self._quiet else 0
        if want <= 0 and not self._finished:
            self._wait_busy()
            return
        count = self._exchange(want)
        if count == 0 and not self._wake.is_set():
            self._wait_idle(free) if free > 0 else self._wait_busy()
        elif 0 < count < free and self._surroundings.process_count > 1:
            gevent.sleep(SHARE_PAUSE)

    def _wait_busy(self) -> None:
        """Until a job ends, or one has lain ready for too long."""
        if self._stopped:
            return
        oldest = self._oldest_unstarted()
        if oldest is None and not self._unreturned:
            self._wake.wait()
        elif oldest and (left := oldest.at + LIES_READY - monotonic()) > 0:
            self._wake.wait(left)
        else:
            self._look_ahead.was_wrong()
            self._return_unstarted()

    def _exchange(self, want: int) -> int:
        """Send acknowledgements and fetch up to `want` jobs; returns how many came."""
        finished, self._finished = self._finished, []
        order = self._fetch_order() if want > 0 else []
        commands: list[Command] = []
        if finished:
            commands.append(acknowledgement(self._identity, finished))
        if order:
            commands.append(self._fetch_command(order, want))
        replies = self._send(commands, finished)
        acknowledged = replies.pop(0) if finished else 0
        try:
            count = self._take(order, replies.pop()) if order else 0
        finally:  # what was fetched is ours, whatever became of the acknowledgements
            self._check_acknowledged(acknowledged, finished)
        self._redis_state.is_up(self)
        return count

    def _send(self, commands: Sequence[Command], finished: list[UnitOfWork]) -> list[Reply]:
        before, self._asked_at = self._asked_at, monotonic()
        self._on_its_way, self._is_asking = finished, True
        try:
            failpoint("fetch.send")
            replies = self._connection.pipeline(commands)
            failpoint("acknowledge.reply" if finished else "fetch.reply")
        except SidekiqError:
            self._finished = finished + self._finished  # once more when Redis is back
            raise
        finally:
            self._on_its_way, self._is_asking = [], False
        self._look_ahead.measured(
            finished=len(finished),
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
            [len(order), free, processes, *order, *self._quotas(order, free)],
        )

    def _quotas(self, order: Sequence[str], free: int) -> list[int]:
        """How much of each queue to take first: strictly all, else as often as the weights draw it."""
        if self._capsule.mode == "strict" or free == 1:
            return [free] * len(order)
        drawn = random.choices(self._capsule.lots, k=free)
        return [drawn.count(name) for name in order]

    def _check_acknowledged(self, reply: Reply, finished: Sequence[UnitOfWork]) -> None:
        if isinstance(reply, OUTAGE):
            self._finished = [*finished, *self._finished]
            raise reply
        if isinstance(reply, RedisError):
            raise reply
        self._acknowledged.extend([hash(work.raw) for work in finished])
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
            self._wake.wait(POLL_SKIPPED if skipped else None)

    def _deliver(self, queue_name: str, raw: bytes | None, error: Exception | None) -> None:
        """A watched queue gave a job, or nothing for a while, or an error."""
        if error is not None:
            self._waited_in_vain(queue_name, error)
        else:
            self._is_full = False
        if raw is not None:
            self._arrived(UnitOfWork(queue_name, raw, monotonic()))
        self._wake.set()

    def _waited_in_vain(self, queue_name: str, error: Exception) -> None:
        if isinstance(error, RedisDown) and error.is_full:  # no outage: our script frees memory and may go on
            if not self._is_full:
                logger.warning("Redis is full: what waits is taken and run, pushes fail (%s)", error)
            self._is_full = True
        elif isinstance(error, RedisDown):
            self._redis_state.went_down(error, self)
        elif not isinstance(error, RedisAuthError):  # of that, the next fetch tells
            self._complain(queue_name, str(error))

    def _arrived(self, work: UnitOfWork) -> None:
        """A job came that nobody waits for any more if the capsule is quiet."""
        self._held += 1
        if self._quiet:
            self._unreturned.append(work)
        else:
            self._ready.put(work)

    # -- giving back -----------------------------------------------------------------------------------

    def _give_back(self) -> None:
        """Quiet: end the waiting, return what nobody started, and tell the processors that this was all."""
        self._idle.disarm(self._connection)
        self._return_unstarted()
        self._gave_back = True
        for _ in range(self._concurrency):
            self._ready.put(None)

    def _return_unstarted(self) -> None:
        unstarted = self._take_unstarted()
        try:
            requeue(self._connection, self._identity, unstarted)
        except OUTAGE:
            self._unreturned = unstarted  # the claims are still there; try again when Redis is back
            raise
        self._held -= len(unstarted)

    def _oldest_unstarted(self) -> UnitOfWork | None:
        return None if self._ready.empty() else self._ready.peek()

    def _take_unstarted(self) -> list[UnitOfWork]:
        unstarted, self._unreturned = self._unreturned, []
        while True:
            try:
                work = self._ready.get_nowait()
            except Empty:
                return unstarted
            if work is not None:
                unstarted.append(work)
