"""Notices when the hub's loop stands still, and says who holds it.

A handler that computes, or calls into C, without ever giving way keeps every other job of its process
waiting: fetched ones don't start, sleeping ones don't wake up, nothing times out. The heartbeat goes on, and
to the outside all looks well. So a native thread asks the loop every second for a sign of life.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable
from contextvars import Context, copy_context
from time import monotonic, process_time
from types import FrameType
from typing import Final

from gevent import get_hub
from gevent.monkey import get_original

from sidekiq_py.component import ErrorReporter
from sidekiq_py.logger import bind_job, current_tid
from sidekiq_py.running_table import SHOW_LIFE_EVERY
from sidekiq_py.stack_dump import INNERMOST
from sidekiq_py.work_state import Running, WorkState

logger = logging.getLogger("sidekiq")

COMPUTES: Final = 0.25  # of the time, on a busy machine: then somebody does; a stopped process doesn't

_allocate_lock = get_original("_thread", "allocate_lock")
_get_ident = get_original("_thread", "get_ident")
_start_new_thread = get_original("_thread", "start_new_thread")


class StallWatch:
    """A warning when the loop has not turned for `after` seconds, with the stack; a line when it does again.

    `holder` tells the job that has the interpreter now, with its processor's tid. Whoever keeps even the
    interpreter's lock keeps us from looking too: then the warning comes when it is let go. Jobs pay nothing.
    """

    def __init__(
        self,
        *,
        after: float,
        work_state: WorkState,
        holder: Callable[[], tuple[str, Running] | None],
        on_look: Callable[[float], object],
        report: ErrorReporter,
    ) -> None:
        self._work_state = work_state
        self._after = after
        self._holder = holder
        self._on_look = on_look
        self._report = report
        self._ask_every = min(SHOW_LIFE_EVERY, after / 5)
        self._loop = get_hub().loop
        self._watched_thread = _get_ident()
        self._stop_wanted = _allocate_lock()
        self._stop_wanted.acquire()
        self._looked_at = self._asked_at = monotonic()
        self._computed_until = process_time()
        self._answered_at: float | None = self._asked_at
        self._context: Context | None = None  # while the loop stands still: what log lines belong to

    def start(self) -> None:
        """Watch the hub of the thread that made this."""
        self._looked_at = monotonic()
        self._on_look(self._looked_at)  # a job may hold the interpreter before the thread runs
        _start_new_thread(self._run, ())

    def stop(self) -> None:
        self._stop_wanted.release()

    def _run(self) -> None:
        while not self._stop_wanted.acquire(timeout=self._ask_every):
            try:
                self._look()
            except BaseException as error:  # one bad look must not be the last
                self._report.log(error, {"context": "looking after the event loop failed"})
        self._on_look(0.0)

    def _look(self) -> None:
        now = monotonic()
        self._on_look(now)
        overslept, self._looked_at = now - self._looked_at - self._ask_every, now
        computed, self._computed_until = process_time() - self._computed_until, process_time()
        if (answered_at := self._answered_at) is not None:
            self._turned_after(answered_at - self._asked_at)
        if overslept >= self._after and self._context is None:
            self._all_stood_still(overslept, computed)
            self._ask(now - overslept)
        elif answered_at is not None:
            self._ask(now)
        else:
            self._work_state.lag = lag = now - self._asked_at
            if self._context is None and lag >= self._after:
                self._stalled(lag)

    def _ask(self, since: float) -> None:
        self._answered_at, self._asked_at = None, since
        self._loop.run_callback_threadsafe(self._answer)

    def _answer(self) -> None:
        self._answered_at = monotonic()

    def _turned_after(self, lag: float) -> None:
        self._work_state.lag = lag
        if self._context is not None:
            self._context.run(logger.info, "the event loop turns again after %.1f s", lag)
            self._context = None

    def _all_stood_still(self, lag: float, computed: float) -> None:
        """This thread could not look for so long. Whoever kept it from that may be done by now.

        Where hardly anything was computed meanwhile, whoever holds the loop now has only just got it.
        """
        if computed < lag * COMPUTES or self._holder() is None or not self._stalled(lag):
            self._work_state.stalls += 1
            logger.warning(
                "nothing ran for %.1f s: the process was stopped, or something kept the interpreter's lock",
                lag,
            )

    def _stalled(self, lag: float) -> bool:
        """Tell who holds the loop; False when nobody does any more."""
        frame = sys._current_frames().get(self._watched_thread)
        held_by = self._holder()
        if frame is None or (held_by is None and _is_at_rest(frame)):
            return False
        self._work_state.stalls += 1
        self._context = copy_context()
        if held_by is not None:
            self._context.run(_bind, *held_by)
        self._context.run(
            logger.warning,
            "%s has held the event loop for %.1f s, and no other job of this process gets on meanwhile\n%s",
            *("this job" if held_by else "something that is no job", lag),
            "".join(traceback.format_stack(frame, limit=INNERMOST)).rstrip(),
        )
        return True


def _bind(tid: str, running: Running) -> None:
    current_tid.set(tid)
    bind_job(running.job, running.work.queue)


def _is_at_rest(frame: FrameType) -> bool:
    """Whether the thread waits in its hub for something to happen."""
    return frame.f_code.co_name == "run" and frame.f_globals.get("__name__") == "gevent.hub"
