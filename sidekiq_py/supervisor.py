"""The parent of the worker processes: starts them, sees them die, has their jobs brought back, starts others.

Single-threaded, never monkey-patched, and without a line of the application: what can kill a worker can't
kill this. Ruby twin: none in Sidekiq itself; Enterprise has sidekiqswarm.
"""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Final

from sidekiq_py.backoff import Backoff
from sidekiq_py.clock import Clock
from sidekiq_py.config import Config
from sidekiq_py.exit_code import ExitCode
from sidekiq_py.lifeguard import Lifeguard
from sidekiq_py.redis_connection import RedisConnection
from sidekiq_py.signal_pipe import SignalPipe
from sidekiq_py.suspects import Suspect
from sidekiq_py.worker_place import STEADY_AFTER, WorkerPlace
from sidekiq_py.worker_process import CannotFork, Death, WorkerProcess, fork_worker

logger = logging.getLogger("sidekiq")

LOOK_EVERY: Final = 1.0  # seconds at most between two looks at everything
REDIS_TIMEOUT: Final = 2.0  # seconds; nobody else is served while Redis is asked
FINAL_WORDS: Final = 8.0  # seconds beyond the timeout, until workers that didn't stop are killed
LAST_RESORT: Final = 2 * FINAL_WORDS  # the same, until this process ends, whatever keeps it
LAST_RESCUE: Final = 2.0  # seconds after the last worker's end; while Redis is down, a later sweep has to do
MOST_LANES: Final = 4  # processes that run suspects at the same time
NEW_LANE_AFTER: Final = 1.0  # seconds; a suspect that runs longer doesn't keep the others waiting
NOT_STARTED: Final = (ExitCode.USAGE, ExitCode.HANDLERS, ExitCode.REDIS)
HEARD: Final = (
    *(signal.SIGINT, signal.SIGTERM, signal.SIGTSTP, signal.SIGTTIN),
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGCHLD),
)


class Supervisor:
    """`run` is its whole life. In each new process it raises ForkedWorker instead of returning."""

    def __init__(self, config: Config, clock: Clock | None = None) -> None:
        self._config = config = _own(config)
        self._clock = clock or Clock()
        self._lifeguard = Lifeguard(
            self._connect(), ttl=config.heartbeat_ttl, stall_after=config.stall_after, clock=self._clock
        )
        self._places = [WorkerPlace(number, config, self._clock) for number in range(1, config.processes + 1)]
        self._workers: dict[int, WorkerProcess] = {}  # every child by its pid, in a place or not
        self._lane_backoff = Backoff(0.1, 5.0)
        self._next_lane_at = 0.0
        self._fork_backoff = Backoff(0.5, 10.0)
        self._next_fork_at = 0.0  # monotonic seconds; set while the system lets none be started
        self._signals = SignalPipe(HEARD)
        self._unmet_limit: int | None = None  # bytes; told once
        self._code = 0
        self._has_booted = False
        self._takes_jobs = True
        self._kill_at: float | None = None  # monotonic seconds; set while stopping
        self._give_up_at = 0.0  # the same; set when the last worker has ended

    def _connect(self) -> RedisConnection:
        redis = replace(self._config.redis, connect_timeout=REDIS_TIMEOUT, read_timeout=REDIS_TIMEOUT)
        return redis.connect()

    def run(self) -> int:
        """Until every worker has stopped; returns the exit code, the highest of theirs."""
        gc.collect()
        gc.freeze()  # else the first collection in a worker would copy every page
        self._signals.open()
        try:
            while True:
                self._start_workers()
                if not self._workers and not self._has_more_to_do():
                    return self._code
                self._wait()
                self._reap()
                self._serve()
                self._kill_overdue()
        finally:
            self._signals.restore()
            self._lifeguard.close()

    def _has_more_to_do(self) -> bool:
        if self._kill_at is not None:
            now = self._clock.monotonic()
            self._give_up_at = self._give_up_at or now + LAST_RESCUE
            return self._lifeguard.is_busy and now < self._give_up_at
        return self._lifeguard.is_busy or (
            self._takes_jobs and any(not each.is_closed for each in self._places)
        )

    def _serve(self) -> None:
        self._lifeguard.tick(self._workers.values())
        if not self._takes_jobs and self._lifeguard.suspects:
            self._lifeguard.give_suspects_back()
            self._lifeguard.tick(self._workers.values())

    # -- starting --------------------------------------------------------------------------------------

    def _start_workers(self) -> None:
        if not self._takes_jobs or self._clock.monotonic() < self._next_fork_at:
            return
        try:
            for place in self._places:
                if place.wants_worker:
                    place.fill(self._fork(place.number))
            self._renew_one()
            self._recycle_one()
            self._run_suspects()
        except CannotFork as error:
            self._wait_for_room(error)

    def _fork(self, number: int, *, suspects: Sequence[Suspect] = ()) -> WorkerProcess:
        worker = fork_worker(number, suspects=suspects, siblings=self._workers.values())
        self._workers[worker.pid] = worker
        if self._next_fork_at:
            self._next_fork_at = 0.0
            self._fork_backoff.succeeded()
            logger.info("workers can be started again")
        return worker

    def _wait_for_room(self, error: CannotFork) -> None:
        """The others work on; those who were to run on their own, too, wait for their turn."""
        if not self._next_fork_at:
            logger.error("no worker can be started now: %s. It is tried again until it works", error)
        self._next_fork_at = self._clock.monotonic() + self._fork_backoff.next_pause()

    def _renew_one(self) -> None:
        """Rolling restart: a worker drains when its successor has booted; then it's the next one's turn."""
        if any(place.successor for place in self._places):
            return
        for place in self._places:
            if place.is_to_be_renewed:
                place.fill(self._fork(place.number))
                return

    def _recycle_one(self) -> None:
        """One worker that has grown too large or too old drains; the others go on meanwhile."""
        if not any(place.is_recycling for place in self._places):
            for place in self._places:
                if reason := place.reason_to_recycle():
                    logger.info("worker %d %s: it finishes its jobs, then another takes over", *reason)
                    place.recycle()
                    return

    # -- suspects --------------------------------------------------------------------------------------

    def _run_suspects(self) -> None:
        """Jobs that ran when their worker died run again one by one, in processes made for that: lanes."""
        lanes = self._lanes()
        if len(lanes) >= MOST_LANES or self._clock.monotonic() < self._next_lane_at:
            return
        if self._lifeguard.suspects:
            self._fork(0, suspects=tuple(self._lifeguard.suspects))
            self._lifeguard.suspects.clear()
        elif lane := next(filter(self._is_held_up, lanes), None):
            self._fork(0, suspects=lane.suspects)
            lane.suspects = ()  # its process still goes through them; whoever adopts one first has it

    def _lanes(self) -> list[WorkerProcess]:
        return [worker for worker in self._workers.values() if worker.number == 0]

    def _is_held_up(self, lane: WorkerProcess) -> bool:
        """Whether suspects wait behind one that takes long."""
        since = self._clock.monotonic() - NEW_LANE_AFTER
        return len(lane.suspects) > 1 and any(started.at < since for started in lane.table.running())

    # -- hearing ---------------------------------------------------------------------------------------

    def _wait(self) -> None:
        """Until a signal, news from a worker, or the time for another look."""
        lines = {worker.line.fileno(): worker for worker in self._workers.values() if not worker.is_silent}
        now = self._clock.monotonic()
        vacant = [place for place in self._places if place.is_vacant and self._takes_jobs]
        starts = [max(place.start_at, self._next_fork_at) - now for place in vacant]
        pause = min([LOOK_EVERY, *starts])
        ready, _, _ = select.select([self._signals.fileno(), *lines], [], [], max(0.0, pause))
        for each in ready:
            if each in lines:
                self._hear(lines[each])
            else:
                for number in self._signals.read() or ():
                    self._on_signal(number)

    def _hear(self, worker: WorkerProcess) -> None:
        had_booted = worker.has_booted
        worker.hear()
        if worker.has_booted and not had_booted:
            self._has_booted = True
            self._follow(worker)
            self._compare_with_limit(worker)
        for place in self._places:
            place.heard(worker)

    def _follow(self, worker: WorkerProcess) -> None:
        """What the application sets in code, which only workers load, counts here too."""
        before = self._duties()
        if worker.news.settings is not None:
            worker.news.settings.put_into(self._config)
        if self._duties() != before:
            self._lifeguard.close()
            self._lifeguard.serve(
                self._connect(), ttl=self._config.heartbeat_ttl, stall_after=self._config.stall_after
            )

    def _compare_with_limit(self, worker: WorkerProcess) -> None:
        limit = self._config.max_memory
        if limit and worker.idle_memory > limit != self._unmet_limit:
            self._unmet_limit = limit
            logger.warning(
                "max_memory can't be met: it is %d MB, and a worker needs %d MB before its first job. "
                "Each works for %d s, or until it has grown, before it is replaced",
                *(limit >> 20, worker.idle_memory >> 20, STEADY_AFTER),
            )

    def _duties(self) -> tuple[object, ...]:
        return self._config.redis, self._config.heartbeat_ttl, self._config.stall_after

    def _on_signal(self, number: signal.Signals) -> None:
        name = number.name[3:]
        if number is signal.SIGCHLD:
            return
        if number is signal.SIGUSR1:
            logger.warning("got USR1, which means nothing here: TSTP quiets, TERM stops, USR2 restarts")
            return
        if number in (signal.SIGTERM, signal.SIGINT):
            self._stop(name)  # first: the log may keep us for ever
            logger.info("got %s", name)
            return
        logger.info("got %s", name)
        if number in (signal.SIGUSR2, signal.SIGHUP):
            for place in self._places:
                place.wants_renewal = True
        else:
            self._tell_all(name)
            if number is signal.SIGTSTP:
                self._quiet()

    def _quiet(self) -> None:
        self._takes_jobs = False
        for lane in self._lanes():  # each finishes its job; the others are not for us to run any more
            self._lifeguard.suspects += lane.suspects
            lane.suspects = ()

    def _stop(self, name: str) -> None:
        self._takes_jobs = False
        if self._kill_at is None:
            self._kill_at = self._clock.monotonic() + self._config.timeout + FINAL_WORDS
            _end_within(self._config.timeout + LAST_RESORT)
            self._tell_all("TERM")
            for worker in self._workers.values():
                if not worker.has_booted:  # it has nothing to lose, and doesn't listen yet
                    worker.terminate()
        elif name == "INT":
            self._tell_all("INT")

    def _tell_all(self, word: str) -> None:
        for worker in self._workers.values():
            worker.tell(word)

    # -- ending ----------------------------------------------------------------------------------------

    def _reap(self) -> None:
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if worker := self._workers.pop(pid, None):  # as PID 1 we also get others' orphans
                self._hear(worker)
                self._ended(worker, Death.of(worker, status, usage.ru_maxrss, self._clock.monotonic()))
                worker.close()

    def _ended(self, worker: WorkerProcess, death: Death) -> None:
        if not self._is_as_wanted(worker, death):
            logger.error("worker %d %s", worker.pid, death.story)
        self._lifeguard.take_over(worker, death)
        if self._kill_at is not None:
            if worker.has_booted:  # one that never did has left nothing undone
                self._code = max(self._code, death.exit_code)
        elif worker.number == 0:
            pause = 0.0 if worker.has_booted else self._lane_backoff.next_pause()
            self._next_lane_at = self._clock.monotonic() + pause
        elif not self._has_booted:  # nothing has ever worked here: whoever started us has to know
            self._code = death.exit_code
            self._stop("TERM")
        for place in self._places:
            if worker is place.successor and self._kill_at is None:
                self._end_renewal(worker, asked_again=place.wants_renewal)
            place.ended(worker)

    def _end_renewal(self, worker: WorkerProcess, *, asked_again: bool) -> None:
        """What one new worker can't boot from, the next can't either: the old ones go on."""
        if asked_again:
            logger.error(
                "worker %d could not boot; the restart that was asked for meanwhile begins", worker.pid
            )
            return
        for place in self._places:
            place.wants_renewal = False
        logger.error(
            "the rolling restart ends here: worker %d could not boot. The old workers go on; the next USR2 "
            "or HUP tries again",
            worker.pid,
        )

    def _is_as_wanted(self, worker: WorkerProcess, death: Death) -> bool:
        """Whether the death needs no word: it was asked for, or the worker has said itself what is wrong."""
        is_stopping = self._kill_at is not None
        if not worker.has_booted:
            return death.code in NOT_STARTED or (is_stopping and death.code in (0, -signal.SIGTERM))
        return death.code == 0 and (worker.may_end or is_stopping)

    def _kill_overdue(self) -> None:
        if self._kill_at is not None and self._clock.monotonic() >= self._kill_at:
            for worker in self._workers.values():
                logger.error("worker %d did not stop in time and is killed", worker.pid)
                worker.kill()
            self._kill_at = self._clock.monotonic() + FINAL_WORDS


def _end_within(seconds: float) -> None:
    """End the process then, even where its log's reader has stopped reading: a handler ends that wait."""
    signal.signal(signal.SIGALRM, lambda *_: os._exit(ExitCode.CRASH))
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _own(config: Config) -> Config:
    """A copy: what code sets is for us to follow, and not for the next worker to inherit."""
    copied = copy(config)
    copied.origins = dict(config.origins)
    return copied
