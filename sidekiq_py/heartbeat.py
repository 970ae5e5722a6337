"""The beat: tells the world every ten seconds that this process lives, and learns what the world is like.

Runs in a native thread with a connection of its own, so that a handler which burns CPU for minutes doesn't
make its process look dead. Once a second it also looks for signals that Web pages leave in Redis, and in the
same command when the next job is due.
Ruby twin: Sidekiq::Launcher#heartbeat.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

import gevent
from gevent import get_hub
from gevent.monkey import get_original

from sidekiq_py import keys
from sidekiq_py.clock import Clock
from sidekiq_py.component import ErrorReporter, RedisState
from sidekiq_py.counts import Counts
from sidekiq_py.dialect import UNKNOWN, Dialect
from sidekiq_py.errors import OUTAGE, RedisDown, SidekiqError
from sidekiq_py.mend import as_shown
from sidekiq_py.metrics.execution import ExecutionTracker
from sidekiq_py.payload import generate
from sidekiq_py.peers import live_peers
from sidekiq_py.process_info import ProcessInfo, resident_kilobytes
from sidekiq_py.redis_connection import Arg, RedisConnection
from sidekiq_py.redis_connection.server_time import read_time
from sidekiq_py.scripts import load
from sidekiq_py.skew import SkewWatch
from sidekiq_py.work_state import WorkState

logger = logging.getLogger("sidekiq")

BEATS_IN_TTL: Final = 6  # every ten seconds of sixty, as Sidekiq 7 and 8
LOOK_EVERY: Final = 1.0  # seconds
LONGEST_SILENCE: Final = 60.0  # seconds between two lines about a heart that fails and fails
SIGNALS: Final = ("TSTP", "TERM", "TTIN")

_BEAT = load("beat")
_LOOK = load("look")
_SIGN_OFF = load("sign_off")
# A lock is all that a native thread and a patched process can wait on together.
_allocate_lock = get_original("_thread", "allocate_lock")
_start_new_thread = get_original("_thread", "start_new_thread")


class Heartbeat:
    """Beats, looks, and keeps what it learned where fetch and retry read it (`fetch.Surroundings`).

    Redis: `processes`, `<identity>`, `<identity>:work` (and `:workers` while a 6.4 may read it),
    `<identity>-signals`, `stat:*`, execution metrics; reads the other processes' `info`, and what comes
    first in `retry` and `schedule`.
    """

    def __init__(
        self,
        *,
        info: ProcessInfo,
        connect: Callable[[], RedisConnection],
        work_state: WorkState,
        tracker: ExecutionTracker,
        clock: Clock,
        redis_state: RedisState,
        report: ErrorReporter,
        dialect: Dialect | None,
        on_beat: Callable[[bool], object],
        on_signal: Callable[[str], object],
        on_due: Callable[[float], object],
        show_title: Callable[[str], object] = lambda _title: None,
    ) -> None:
        self._info = info
        self._ttl = info.config.heartbeat_ttl
        self.every = self._ttl / BEATS_IN_TTL
        self._look_every = min(LOOK_EVERY, self.every)
        self._connection = connect()
        self._work_state = work_state
        self._tracker = tracker
        self._clock = clock
        self._redis_state = redis_state
        self._report = report
        self._given_dialect = dialect
        self._on_beat = on_beat
        self._on_signal = on_signal
        self._on_due = on_due
        # Told once, on the thread: for so long and for this reason, which isn't Redis, no beat could be made.
        self.give_up: Callable[[float, BaseException], object] = lambda _seconds, _error: None
        self._has_given_up = False
        self._connect = connect
        self._failing_since: float | None = None  # monotonic seconds; for another reason than Redis
        self._silent_until, self._silence = 0.0, self._look_every
        self._show_title = show_title
        self._counts = Counts(work_state)
        self._skew_watch = SkewWatch(clock)
        self._rtt_us = 0
        self._complained: set[str] = set()
        self._is_shown = True  # in `processes`
        self._wake = _allocate_lock()
        self._wake.acquire()
        self._beat_requested = self._stopping = False
        self.has_ended = True
        self.is_quiet = False
        self.process_count = 1
        self.dialect = dialect or UNKNOWN
        self.ruby_is_here = False
        self._old_ruby_may_read = dialect in (None, Dialect.SIX)

    def start(self) -> None:
        """Go on beating in a thread; the first beat must have been made."""
        self._connection.disconnect()  # a patched socket belongs to the hub of the thread that opened it
        self.has_ended = False
        _start_new_thread(self._run, ())

    def request_beat(self) -> None:
        """Beat now, not at the next turn. From any thread."""
        self._beat_requested = True
        self._wake_up()

    def stop(self) -> None:
        """Ask the thread to end; `has_ended` tells when it has."""
        self._stopping = True
        self._wake_up()

    def wait_until_ended(self, timeout: float = math.inf) -> None:
        """Return when the thread has ended, or after `timeout` seconds."""
        deadline = self._clock.monotonic() + timeout
        while not self.has_ended and self._clock.monotonic() < deadline:
            gevent.sleep(0.01)

    def beat(self) -> None:
        """One heartbeat. Raises RedisDown; counts that were not written go with the next one."""
        self._show_title(self._info.title(len(self._work_state.running), quiet=self.is_quiet))
        self._learn_time()
        known = self._send()
        self._learn_peers()
        self._write_metrics()
        self._on_beat(not known)

    def look(self) -> None:
        """Obey a signal that a Web page or an API client left for us, and tell when the next job is due."""
        wanted = [keys.signals(self._info.identity), keys.RETRY, keys.SCHEDULE]
        signal, *due = self._connection.run_script(_LOOK, wanted)
        self._obey(signal)
        self._on_due(min((float(each) for each in due if each is not None), default=math.inf))

    def sign_off(self, connection: RedisConnection) -> None:
        """After the thread has ended: the last counts and metrics, and no more entry in `processes`.

        The hash `<identity>` is left to expire, as Ruby leaves it.
        """
        self._connection = connection
        self._send()
        identity = self._info.identity
        work_keys = [keys.work(identity), keys.workers(identity)]
        connection.run_script(_SIGN_OFF, [*work_keys, keys.PROCESSES, keys.CLAIM_OWNERS], [identity])
        self._write_metrics()

    # -- the thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._beat_until_stopped()
            self._connection.disconnect()
        finally:
            self.has_ended = True
            get_hub().destroy(destroy_loop=True)

    def _beat_until_stopped(self) -> None:
        next_beat = self._clock.monotonic() + self.every
        while not self._stopping:
            self._wake.acquire(timeout=self._look_every)
            if self._stopping:
                break
            now = self._clock.monotonic()
            is_time = self._beat_requested or now >= next_beat
            if is_time:
                self._beat_requested = False
                next_beat = now + self.every
            steps = [self.beat, self.look] if is_time else [self.look]
            if not all(self._guarded(step) for step in steps):
                next_beat = now  # after an outage the first thing to say is that we live

    def _guarded(self, step: Callable[[], None]) -> bool:
        try:
            return self._succeeds(step)
        except BaseException as error:  # one bad beat must not be the last, nor one line that can't be logged
            self._failed(error)
            return False

    def _failed(self, error: BaseException) -> None:
        """Tell of it, less and less often. If it isn't Redis, begin anew, and give up after a TTL."""
        now = self._clock.monotonic()
        if now >= self._silent_until:
            self._silent_until, self._silence = now + self._silence, min(self._silence * 2, LONGEST_SILENCE)
            self._report.log(error, {"context": "heartbeat failed"})
        if isinstance(error, SidekiqError):
            self._failing_since = None
            return
        if self._failing_since is None:
            self._failing_since = now
        self._begin_anew()
        if now - self._failing_since > self._ttl and not self._has_given_up:
            self._has_given_up = True
            with suppress(BaseException):
                self.give_up(now - self._failing_since, error)

    def _begin_anew(self) -> None:
        """With another connection and hub: where a hub has died, every wait on it fails from then on."""
        with suppress(BaseException):
            self._connection.disconnect()
        with suppress(BaseException):
            get_hub().destroy(destroy_loop=True)
        with suppress(BaseException):
            self._connection = self._connect()

    def _is_well(self) -> None:
        self._failing_since = None
        self._silent_until, self._silence = 0.0, self._look_every

    def _succeeds(self, step: Callable[[], None]) -> bool:
        try:
            step()
        except OUTAGE as error:
            self._failing_since = None
            self._redis_state.went_down(error, self)
            return False
        if step == self.beat:  # a look that works says nothing of the beat
            self._is_well()
        self._redis_state.is_up(self)
        return True

    def _wake_up(self) -> None:
        try:
            self._wake.release()
        except RuntimeError:  # it is awake already
            return

    # -- the parts of a beat ---------------------------------------------------------------------------

    def _learn_time(self) -> None:
        heard = read_time(self._connection)
        self._skew_watch.learn(heard)
        self._rtt_us = round(heard.round_trip * 1_000_000)

    def _send(self) -> bool:
        """Write everything in one script; returns whether the identity was known before."""
        identity = self._info.identity
        today = datetime.fromtimestamp(self._clock.now(), UTC).date()
        work_keys = [keys.work(identity)] + ([keys.workers(identity)] if self._old_ruby_may_read else [])
        flush = self._counts.next()
        process, work = self._process_words(), self._work_words()
        known, *damaged = self._connection.run_script(
            _BEAT,
            [
                *(identity, keys.PROCESSES),
                *(keys.STAT_PROCESSED, keys.stat_processed_on(today)),
                *(keys.STAT_FAILED, keys.stat_failed_on(today)),
                keys.CLAIM_OWNERS,
                *work_keys,
            ],
            [
                *(identity, self._ttl, keys.STAT_DAY_TTL),
                *(flush.number, flush.processed, flush.failed),
                self._info.owner_json,
                *(len(process), *process, *work),
            ],
        )
        self._counts.written()
        self._is_shown = keys.PROCESSES.encode() not in damaged
        self._complain(damaged)
        return bool(known)

    def _complain(self, damaged: list[bytes]) -> None:
        for key in {name.decode() for name in damaged} - self._complained:
            self._complained.add(key)
            if key == keys.PROCESSES:
                logger.error("this process is not shown, nor sees others: %r is no set", key)
            else:
                logger.error("jobs are not counted in %r: what it holds is no number", key)

    def _process_words(self) -> list[Arg]:
        return [
            *("info", self._info.json),
            *("concurrency", self._info.concurrency),
            *("busy", len(self._work_state.running)),
            *("beat", repr(self._clock.now())),
            *("rtt_us", self._rtt_us),
            *("quiet", "true" if self.is_quiet else "false"),
            *("rss", resident_kilobytes()),
            *("lag_us", round(self._work_state.lag * 1_000_000)),
            *("stalls", self._work_state.stalls),
        ]

    def _work_words(self) -> list[Arg]:
        words: list[Arg] = []
        for tid, running in self._work_state.snapshot():
            payload = as_shown(running.work.raw).decode("utf-8", "replace")
            value = {"queue": running.work.queue, "payload": payload, "run_at": int(running.run_at)}
            words += [tid, generate(value)]
        return words

    def _learn_peers(self) -> None:
        peers = live_peers(self._connection) if self._is_shown else []
        ruby = [peer.version for peer in peers if not peer.is_python]
        self.process_count = max(len(peers), 1)
        self.ruby_is_here = bool(ruby)
        # Where no Ruby beats there may still be pages of one: a Rails app whose workers are all ours.
        self._old_ruby_may_read = self._given_dialect in (None, Dialect.SIX) and (not ruby or None in ruby)
        self.dialect = self._given_dialect or Dialect.of_versions(ruby) or UNKNOWN

    def _write_metrics(self) -> None:
        try:
            self._tracker.flush(self._connection, self._clock.now())
        except RedisDown as error:
            if not error.is_full:  # metrics need new memory; they can wait, the heartbeat needn't
                raise

    def _obey(self, signal: bytes | None) -> None:
        if signal is None:
            return
        name = signal.decode("utf-8", "replace")
        if name in SIGNALS:
            self._on_signal(name)
        else:
            logger.warning("signal %r was left for this process and ignored: known are %s", name, SIGNALS)
