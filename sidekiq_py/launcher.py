"""One server process, from boot to exit: starts the parts in order, stops them in reverse.

Ruby twin: Sidekiq::Launcher, and the half of Sidekiq::CLI that waits for signals.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Final, TypeVar

import gevent
from gevent import get_hub
from gevent.event import Event

from sidekiq_py import banner
from sidekiq_py.alarms import Alarms
from sidekiq_py.blocking_libraries import blocking_libraries
from sidekiq_py.claims import requeue_leftovers
from sidekiq_py.client_defaults import defaults
from sidekiq_py.clock import Clock
from sidekiq_py.config import Config
from sidekiq_py.errors import OUTAGE, HandlersNotLoaded, RedisDown
from sidekiq_py.last_resort import LastResort
from sidekiq_py.logger import JobLevels
from sidekiq_py.manager import CLEAN_UP_TIME
from sidekiq_py.payload import error_message
from sidekiq_py.redis_connection import ServerInfo, check_rights, check_server
from sidekiq_py.registry import Registry
from sidekiq_py.signals import ORPHANED, STOP, Signals, refusal
from sidekiq_py.stop import Stop
from sidekiq_py.suspect_fetcher import alone_capsule
from sidekiq_py.threads import Threads
from sidekiq_py.wiring import READ_MARGIN, Wiring
from sidekiq_py.worker_process import DRAIN, Line, News, Settings

logger = logging.getLogger("sidekiq")

T = TypeVar("T")

LAST_RESORT: Final = 2.0  # seconds beyond timeout and clean-up until the process ends whatever runs


class Launcher:
    """One server process. `run` is its whole life; an embedded one is told to `boot`, `quiet` and `stop`."""

    def __init__(
        self,
        config: Config,
        registry: Registry,
        *,
        clock: Clock | None = None,
        job_levels: JobLevels | None = None,
        line: Line | None = None,
        embedded: bool = False,
        threads: Threads | None = None,
    ) -> None:
        self._suspects = line.suspects if line else ()
        if self._suspects:
            config.capsules = {"suspects": alone_capsule(self._suspects)}
        config.freeze()
        self._line = line
        self._config = config
        self._registry = registry
        self._embedded = embedded
        self._clock = clock or Clock()
        self._started_at = self._clock.monotonic()
        wired = Wiring(
            config,
            registry,
            clock=self._clock,
            job_levels=job_levels,
            line=line,
            embedded=embedded,
            threads=threads,
            on_beat=self._on_beat,
        )
        self._wired = wired
        self._managers = wired.managers
        self._heartbeat = wired.heartbeat
        wired.heartbeat.give_up = self._give_up
        self._work_state = wired.work_state
        self._report = wired.report
        self._signals: Signals | None = None
        self._last_resort = LastResort(config, wired, line)
        self._stop: Stop | None = None
        self._stop_wanted = Event()
        self._has_booted = Event()
        self._wants_quiet = False
        self._loop = get_hub().loop

    @property
    def identity(self) -> str:
        """`<hostname>:<pid>:<12 hex>`, as in `processes`."""
        return self._wired.info.identity

    def run(self) -> int:
        """Boot, work until a stop signal, stop; returns the exit code. Raises what `boot` raises."""
        signals = Signals(
            on_signal=self.on_signal,
            overdue=self._last_resort,
            stop_within=self._config.timeout + CLEAN_UP_TIME + LAST_RESORT,
            line=self._line,
        )
        self._signals = signals
        alarms = Alarms(running_in=self._wired.running_in, report=self._report)
        signals.start()
        alarms.start()
        self._wired.forks.watch(signals.abandon)
        try:
            self.boot()
            self._outlast(self._stop_wanted)
            stopping = gevent.spawn(self.stop)
            self._outlast(stopping)
            self._last_resort.code = stopping.get()
            return stopping.get()
        finally:
            alarms.stop()
            signals.restore()

    def boot(self) -> None:
        """Start everything; when it returns, jobs are being fetched.

        Raises RedisDown, RedisAuthError or RedisError when Redis can't be used; nothing was started then.
        """
        self._introduce(_though_cut(self._look_at_redis))
        if self._embedded:
            self._wired.forks.watch()
        defaults.use(self._config, clock=self._clock)
        self._fire("startup")
        _though_cut(self._heartbeat.beat)  # first of all: peers rescue the claims of those who don't beat
        self._heartbeat.start()
        self._wired.stall_watch.start()
        self._tell_supervisor(
            News(
                identity=self.identity,
                queues=self._config.all_queues,
                settings=Settings.of(self._config),
            )
        )
        for manager in self._managers:
            manager.start()
        if self._suspects:
            gevent.spawn(self._end_with_last_job)
        for each in self._wired.background:
            each.start()
        if self._wants_quiet:
            self.quiet()  # before anything that was started has had its first turn
        self._has_booted.set()

    def quiet(self) -> None:
        """Take no new jobs; running ones go on. Only a stop follows."""
        if self._heartbeat.is_quiet:
            return
        logger.info("quiet: no new jobs from now on")
        for manager in self._managers:
            manager.quiet()
        for each in self._wired.background:
            each.quiet()
        self._heartbeat.is_quiet = True  # told to the world when it is true
        self._heartbeat.request_beat()
        self._fire("quiet")

    def stop(self) -> int:
        """Stop everything within the timeout; returns the exit code: 0, or 1 if Redis is down at the end."""
        stopping_since = self._clock.monotonic()
        stop = self._begin_stop()
        self.quiet()
        self._fire("shutdown")
        logger.info(
            "shutting down: %d jobs have %g s to finish", len(self._work_state.running), self._config.timeout
        )
        ends = [gevent.spawn(manager.stop, stop) for manager in self._managers]
        gevent.joinall(ends)
        for each in reversed(self._wired.background):
            each.stop(timeout=READ_MARGIN)
        self._work_state.requeued += sum(end.value or 0 for end in ends)
        code = max(self._sign_off(), int(self._last_resort.is_a_crash))
        self._fire("exit")
        self.disconnect()
        logger.info("%s", self._farewell(stopping_since))
        return code

    def hurry(self) -> None:
        """Stop, or go on with it, and give jobs no more time."""
        self._begin_stop().hurry()

    def on_signal(self, name: str) -> None:
        """TSTP quiets, TERM and INT stop (a second INT at once), TTIN dumps stacks. On the hub's thread.

        A supervisor also says DRAIN; ORPHANED is what is heard when it has died.
        """
        if reason := refusal(name, has_supervisor=self._line is not None):
            logger.warning("%s", reason)
            return
        logger.info("%s", "the supervisor is gone" if name == ORPHANED else f"got {name}")
        if name in ("TSTP", DRAIN):
            self._wants_quiet = True
            gevent.spawn(self._quiet_once_booted, ends=name == DRAIN)
        elif name == "TTIN":
            self.dump_stacks()
        elif name in STOP and self._stop is None:
            self._tell_supervisor(News(stops=True))
            self._begin_stop()
        elif name == "INT" and self._stop is not None:
            self._stop.hurry()

    def dump_stacks(self) -> None:
        """Log where every running job and every thread is."""
        for manager in self._managers:
            for stack in manager.stacks():
                logger.warning("job %s", stack.rstrip())
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        for ident, frame in sys._current_frames().items():
            stack = "".join(traceback.format_stack(frame)).rstrip()
            logger.warning("thread %s %s\n%s", ident, names.get(ident, "native"), stack)

    # -- life ------------------------------------------------------------------------------------------

    def _look_at_redis(self) -> ServerInfo:
        connection = self._wired.connect()
        try:
            server = check_server(connection, self._clock.now)
            check_rights(connection, identity=self.identity, queues=self._config.all_queues)
        finally:
            connection.disconnect()
        return server

    def _introduce(self, server: ServerInfo) -> None:
        if self._suspects:
            return
        for line in banner.boot_lines(self._config, server, self._registry.names(), identity=self.identity):
            logger.info("%s", line)
        for sentence in (*server.warnings, *blocking_libraries()):
            logger.warning("%s", sentence)

    def _outlast(self, awaited: Event | gevent.Greenlet[[], int]) -> None:
        """Wait in the main greenlet, where gevent raises what a signal handler of the application raises.

        Nor does a `sys.exit()` in a greenlet that a job has spawned end the server: it arrives here too.
        """
        while not awaited.ready():
            try:
                gevent.wait([awaited])
            except BaseException as error:
                self._report.log(
                    error, {"context": "a signal handler or a greenlet raised; the server goes on"}
                )

    def _begin_stop(self) -> Stop:
        """The time that jobs have left runs from the first signal on."""
        if self._stop is None:
            self._stop = Stop(self._clock, self._config.timeout)
            self._stop_wanted.set()
        return self._stop

    def _on_beat(self, is_first: bool) -> None:
        for manager in self._managers:
            manager.revive()
        if is_first:
            self._fire("heartbeat")
        self._fire("beat")

    def _give_up(self, seconds: float, error: BaseException) -> None:
        """End, for peers take a process that can't beat for dead; another may be able to. On any thread."""
        logger.error(
            "no heartbeat could be made for %.0f s (%s: %s): %s",
            *(seconds, type(error).__name__, error_message(error)),
            "restart this program" if self._embedded else "this process ends, so that another may start",
        )
        if self._signals is not None:
            self._last_resort.is_a_crash = True
            self._loop.run_callback_threadsafe(self._begin_stop)
            self._signals.expect_end()

    def _fire(self, event: str) -> None:
        """Call everybody who waits for this moment of the server's life. Only `startup` may refuse it."""
        for callback in self._config.lifecycle_events[event]:
            context = {"context": f"a callback for {event!r} failed"}
            try:
                self._report.guarded(callback, context=context, otherwise=None, strict=event == "startup")
            except BaseException as error:
                reason = f"{type(error).__name__}: {error_message(error)}"
                raise HandlersNotLoaded(f"a callback for 'startup' failed with {reason}") from error

    def _sign_off(self) -> int:
        """Put back what is still claimed, write the last counts, and leave the Busy page."""
        self._wired.stall_watch.stop()
        self._heartbeat.stop()
        self._heartbeat.wait_until_ended()
        connection = self._wired.connect()
        try:
            self._work_state.requeued += requeue_leftovers(connection, self.identity, self._config.all_queues)
            self._heartbeat.sign_off(connection)
        except OUTAGE as error:
            logger.error(
                "Redis is down at the end: jobs that were running stay claimed until a rescue: %s", error
            )
            return 1
        finally:
            connection.disconnect()
        return 0

    def _quiet_once_booted(self, *, ends: bool) -> None:
        self._has_booted.wait()  # what hasn't started yet would start after it was told to be quiet
        self.quiet()
        if ends:
            self._end_with_last_job()

    def _end_with_last_job(self) -> None:
        for manager in self._managers:
            manager.join()
        if self._stop is None:
            self._begin_stop()
        if self._signals is not None:
            self._signals.expect_end()

    def _tell_supervisor(self, news: News) -> None:
        if self._line is not None:
            self._line.tell(news)

    def disconnect(self) -> None:
        """Close every connection: when all has ended, or nothing could start."""
        self._wired.disconnect()
        defaults.use(None)

    def _farewell(self, stopping_since: float) -> str:
        now = self._clock.monotonic()
        work_state = self._work_state
        return banner.farewell(
            done=work_state.processed - work_state.failed,
            failed=work_state.failed - work_state.interrupted,
            requeued=work_state.requeued,
            uptime=now - self._started_at,
            stopping=now - stopping_since,
        )


def _though_cut(step: Callable[[], T]) -> T:
    """Try again where the connection broke: only a Redis that is not there ends a start."""
    try:
        return step()
    except RedisDown as error:
        if not error.sent:
            raise
    return step()
