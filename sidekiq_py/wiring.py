"""All the wiring of a server process, in one place: which parts there are, and what each is given.

Ruby twin: the constructors of Sidekiq::Launcher, Manager and Processor.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import gevent
from gevent import get_hub

from sidekiq_py.api.morgue import DeadLimits
from sidekiq_py.audit import Audit
from sidekiq_py.claims import UnitOfWork
from sidekiq_py.clock import Clock
from sidekiq_py.component import Component, ErrorReporter, RedisState
from sidekiq_py.config import Config
from sidekiq_py.dialect import Dialect
from sidekiq_py.errors import PoisonPill
from sidekiq_py.failures import FailureOptions, FailureRecorder
from sidekiq_py.fetch import Fetcher
from sidekiq_py.forked import Forks
from sidekiq_py.heartbeat import Heartbeat
from sidekiq_py.host_signals import pass_to_main_greenlet
from sidekiq_py.idle_wait import longest_wait
from sidekiq_py.job_logger import JobLogger
from sidekiq_py.kept_jobs import KeptJobs
from sidekiq_py.logger import JobLevels
from sidekiq_py.manager import Manager
from sidekiq_py.metrics.execution import ExecutionTracker
from sidekiq_py.process_info import ProcessInfo
from sidekiq_py.processor import Parts
from sidekiq_py.redaction import ArgsFilter
from sidekiq_py.redis_connection import RedisConnection, RedisPool
from sidekiq_py.registry import Registry
from sidekiq_py.rescuer import Sweeper
from sidekiq_py.scheduled import Poller, poll_interval
from sidekiq_py.settle import Settle
from sidekiq_py.stall import StallWatch
from sidekiq_py.suspect_fetcher import SuspectFetcher
from sidekiq_py.sweep_loop import SweepLoop
from sidekiq_py.threads import Threads
from sidekiq_py.user_code import called
from sidekiq_py.work_state import Running, WorkState
from sidekiq_py.worker_process import Line, News

logger = logging.getLogger("sidekiq")

READ_MARGIN: Final = 3.0  # seconds beyond a blocking command until its connection counts as dead
OWN_CONNECTIONS: Final = 5  # that record failures; each is held for a round trip only


class Wiring:
    """The parts of one server process, connected and not started. The launcher starts and stops them.

    `background` are the loops beside managers and heartbeat, in the order in which they start. `embedded`
    says that this is somebody else's process, `threads` that gevent has not patched it.
    """

    def __init__(
        self,
        config: Config,
        registry: Registry,
        *,
        clock: Clock,
        job_levels: JobLevels | None,
        line: Line | None,
        embedded: bool,
        threads: Threads | None,
        on_beat: Callable[[bool], object],
    ) -> None:
        self._config = config
        self._registry = registry
        self._clock = clock
        self._job_levels = job_levels
        self._line = line
        self._suspects = line.suspects if line else ()
        self._embedded = embedded
        self._on_beat = on_beat
        self._longest_wait = longest_wait(config.heartbeat_ttl)
        self._threads = threads
        self.forks = threads.forks if threads else Forks()
        self.connect = partial(threads.connect, config.redis) if threads else config.redis.connect
        self.redis_state = RedisState(clock)
        self._call = self.forks.ending(threads.called if threads else called)
        self.report = ErrorReporter(
            config.error_handlers,
            call=self._call,
            pass_on=pass_to_main_greenlet if embedded and not threads else lambda _error: False,
        )
        self.info = ProcessInfo.of_this_process(
            config, now=clock.now(), embedded=embedded, is_alone=bool(self._suspects)
        )
        self.work_state = WorkState(table=line.table if line else None)
        new_pool = threads.pool if threads else RedisPool
        self.redis = new_pool(config.redis, size=OWN_CONNECTIONS)
        self._dead_limits = DeadLimits(
            max_jobs=config.dead_max_jobs, timeout_in_seconds=config.dead_timeout_in_seconds
        )
        self._tracker = ExecutionTracker()
        self.stall_watch = self._make_stall_watch()
        self.heartbeat = self._make_heartbeat()
        self._kept = self._make_kept()
        self._parts = self._make_parts()
        self._fetchers: list[Fetcher] = []
        self.managers = [self._make_manager(name) for name in config.capsules]
        self._poller = None if self._suspects else self._make_poller()
        self.background = self._make_background()

    def disconnect(self) -> None:
        """Close every connection. Only when all has ended."""
        for manager in self.managers:
            manager.disconnect()
        for loop in self.background:
            loop.disconnect()
        self.redis.close()
        self.forks.end()

    def _make_stall_watch(self) -> StallWatch:
        return StallWatch(
            after=self._config.stall_after,
            work_state=self.work_state,
            holder=self.holder,
            on_look=self._line.table.show_life if self._line else lambda _now: None,
            report=self.report,
        )

    def _make_heartbeat(self) -> Heartbeat:
        hub_loop = get_hub().loop
        config = self._config
        return Heartbeat(
            info=self.info,
            connect=config.redis.connect,
            work_state=self.work_state,
            tracker=self._tracker,
            clock=self._clock,
            redis_state=self.redis_state,
            report=self.report,
            dialect=Dialect(config.dialect) if config.dialect else None,
            on_beat=lambda is_first: hub_loop.run_callback_threadsafe(gevent.spawn, self._on_beat, is_first),
            on_signal=_ignore_signal if self._embedded else _send_signal,
            on_due=lambda due: hub_loop.run_callback_threadsafe(self._hear_of_due, due),
            show_title=(lambda _title: None) if self._embedded else _title_setter(),
        )

    def running_in(self, greenlet: object) -> Running | None:
        """The job that runs in this greenlet."""
        return next(filter(None, (manager.running_in(greenlet) for manager in self.managers)), None)

    def holder(self) -> tuple[str, Running] | None:
        """The job that keeps the hub from everything else now, if it's a job."""
        return next(filter(None, (manager.holder() for manager in self.managers)), None)

    def _make_parts(self) -> Parts:
        config = self._config
        return Parts(
            registry=self._registry,
            server_middleware=tuple(config.server_middleware),
            forks=self.forks,
            work_state=self.work_state,
            failures=self._make_failures(),
            tracker=self._tracker,
            job_logger=JobLogger(
                skip=config.skip_default_job_logging,
                attributes=config.logged_job_attributes,
                show_args=ArgsFilter() if config.log_args else None,
                levels=self._job_levels,
            ),
            clock=self._clock,
            report=self.report,
            threads=self._threads,
        )

    def _make_failures(self) -> FailureRecorder:
        config = self._config
        return FailureRecorder(
            settle=Settle(
                identity=self.info.identity,
                redis=self.redis,
                redis_state=self.redis_state,
                kept=self._kept,
            ),
            options=FailureOptions(
                max_retries=config.max_retries,
                dead_limits=self._dead_limits,
                unknown=config.unknown,
                backtrace_cleaner=config.backtrace_cleaner,
                death_handlers=config.death_handlers,
            ),
            clock=self._clock,
            report=self.report,
            surroundings=self.heartbeat,
        )

    def _make_kept(self) -> KeptJobs:
        return KeptJobs(
            redis=self.redis,
            every=self.heartbeat.every,
            redis_state=self.redis_state,
            report=self.report,
        )

    def _make_manager(self, capsule_name: str) -> Manager:
        capsule = self._config.capsules[capsule_name]
        surroundings: dict[str, Any] = {
            "identity": self.info.identity,
            "capsule": capsule,
            "connect": self._connect_for_fetch,
            "block": self._longest_wait,
            "surroundings": self.heartbeat,
            "redis_state": self.redis_state,
            "report": self.report,
        }
        if self._suspects:
            fetcher: Fetcher = SuspectFetcher(
                self._suspects,
                redis=self.redis,
                kept=self._kept,
                convict=self._convict,
                on_through=self._say_through,
                **surroundings,
            )
        else:
            fetcher = Fetcher(**surroundings)
        self._fetchers.append(fetcher)
        return Manager(capsule, fetcher, self._parts)

    def _say_through(self) -> None:
        if self._line is not None:
            self._line.tell(News(is_through=True))

    def _convict(self, work: UnitOfWork, error: PoisonPill, buried: Callable[[], object]) -> None:
        tid = f"convict {id(work)}"  # one that Redis refuses to bury stays taken
        self.work_state.take(tid, work.raw)
        self._parts.failures.convicted(work, error, self._registry.get, buried)
        if not self._kept.holds(work):
            self.work_state.end(tid, failed=None)

    def _make_background(self) -> list[Component]:
        if self._poller is None:
            return [self._kept]
        loops: list[Component] = [self._poller, self._make_audit(), self._kept]
        return loops if self._line else [*loops, self._make_sweep_loop()]

    def _make_poller(self) -> Poller:
        config = self._config
        return Poller(
            connection=self.connect(),
            client_middleware=config.client_middleware,
            surroundings=self.heartbeat,
            clock=self._clock,
            redis_state=self.redis_state,
            report=self.report,
            poll_interval=partial(poll_interval, config),
            dead_limits=self._dead_limits,
            call=self._call,
        )

    def _hear_of_due(self, due: float) -> None:
        if self._poller is not None:
            self._poller.hear_of_due(due)

    def _make_audit(self) -> Audit:
        return Audit(
            identity=self.info.identity,
            connection=self.connect(),
            fetchers=self._fetchers,
            work_state=self.work_state,
            kept=self._kept,
            every=self.heartbeat.every,
            redis_state=self.redis_state,
            report=self.report,
        )

    def _make_sweep_loop(self) -> SweepLoop:
        connection = self.connect()
        return SweepLoop(
            Sweeper(connection, ttl=self._config.heartbeat_ttl, clock=self._clock),
            connection=connection,
            redis_state=self.redis_state,
            report=self.report,
        )

    def _connect_for_fetch(self) -> RedisConnection:
        return self.connect(read_timeout=self._longest_wait + READ_MARGIN)


def _send_signal(name: str) -> None:
    os.kill(os.getpid(), getattr(signal, f"SIG{name}"))


def _ignore_signal(name: str) -> None:
    """As Ruby's does: only the program that it is in may end an embedded server."""
    logger.warning("%s was left for this process, and is ignored: it is embedded in another program", name)


def _title_setter() -> Callable[[str], object]:
    """Shows a title in `ps` when the package `setproctitle` is there, else does nothing."""
    try:
        from setproctitle import setproctitle  # an extra
    except ImportError:
        return lambda _title: None
    return setproctitle
