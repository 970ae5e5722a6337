"""Timeouts by `signal.alarm`, as a job or a library may set them: what their handler raises is for that job.

Python runs a signal handler wherever the main thread is: in a greenlet that waits for the server's end, or in
another job, which would fail in the place of the one that took too long.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any, TypeAlias

import gevent

from sidekiq_py.component import ErrorReporter
from sidekiq_py.work_state import Running

Handler: TypeAlias = Callable[[int, FrameType | None], Any]
RunningIn: TypeAlias = Callable[[object], Running | None]


class Alarms:
    """Between `start` and `stop` a signal handler that a job sets raises in that job.

    `running_in` tells which job runs in a greenlet. A handler that is no job's, or was taken from `signal`
    before the start, is left alone.
    """

    def __init__(self, *, running_in: RunningIn, report: ErrorReporter) -> None:
        self._running_in = running_in
        self._report = report
        self._usual: Any = None

    def start(self) -> None:
        self._usual = signal.signal
        signal.signal = self._signal  # type: ignore[assignment]

    def stop(self) -> None:
        signal.signal = self._usual

    def _signal(self, number: int, handler: Any) -> Any:
        greenlet = gevent.getcurrent()
        job = self._running_in(greenlet)
        if job is not None and callable(handler) and not isinstance(handler, _HandlerOfJob):
            handler = _HandlerOfJob(self, handler, greenlet, job)
        return self._usual(number, handler)

    def still_runs(self, setter: _HandlerOfJob) -> bool:
        return self._running_in(setter.greenlet) is setter.job

    def raise_in_job(self, error: BaseException, setter: _HandlerOfJob) -> None:
        """On the hub, so that nothing can end the job between the look and the throw."""
        if self.still_runs(setter):
            setter.greenlet.throw(error)
        else:
            self._report.log(error, {"context": "a signal handler that a job has left behind raised"})


@dataclass(frozen=True)
class _HandlerOfJob:
    """What stands in `signal` for a job's handler."""

    alarms: Alarms
    handler: Handler
    greenlet: Any
    job: Running

    def __call__(self, number: int, frame: FrameType | None) -> None:
        try:
            self.handler(number, frame)
        except BaseException as error:
            if gevent.getcurrent() is self.greenlet and self.alarms.still_runs(self):
                raise
            gevent.get_hub().loop.run_callback(self.alarms.raise_in_job, error, self)
