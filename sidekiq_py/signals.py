"""What a server is told from outside: heard by a native thread, even while a handler keeps the hub busy.

Signals come from the system; a worker also hears its supervisor, who speaks in signals' names. After a stop
signal the same thread is the last resort: when the process has not ended in time, it calls `overdue`.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import Final

from gevent import get_hub
from gevent.monkey import get_original

from sidekiq_py.component import ErrorReporter
from sidekiq_py.signal_pipe import HARMLESS, SignalPipe, unclaimed
from sidekiq_py.worker_process import Line

STOP: Final = ("INT", "TERM")
HEARD: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGTSTP, signal.SIGTTIN)
ORPHANED: Final = "ORPHANED"  # the supervisor is gone
LONGEST_READ: Final = 256  # bytes of what a supervisor says; the rest is read next
PAUSE_AFTER_ERROR: Final = 1.0  # seconds

_start_new_thread = get_original("_thread", "start_new_thread")
_sleep = get_original("time", "sleep")
_select = get_original("select", "select")


def refusal(name: str, *, has_supervisor: bool) -> str | None:
    """Why nothing happens at this signal, and what to send instead; None for one that is obeyed."""
    if name == "USR1":  # until Sidekiq 5 it meant TSTP
        return "got USR1, which means nothing here: TSTP quiets, TERM stops, USR2 restarts"
    if name not in ("HUP", "USR2"):
        return None
    if has_supervisor:
        return f"got {name}, which is for the supervisor: send it to process {os.getppid()}"
    return (
        f"got {name}, but nobody is here to start a successor (--processes 0): send TERM, and let the "
        "process manager start it again"
    )


class Signals:
    """Hears INT, TERM, TSTP and TTIN between `start` and `restore`; HUP, USR1 and USR2 unless others do.

    `on_signal` is called on the hub's thread with the signal's name, or with a supervisor's word. `overdue`
    is called on the native thread when the process is still there `stop_within` seconds after the first stop
    signal, or after `expect_end`.
    """

    def __init__(
        self,
        *,
        on_signal: Callable[[str], object],
        overdue: Callable[[], object],
        stop_within: float,
        line: Line | None = None,
    ) -> None:
        self._on_signal = on_signal
        self._overdue = overdue
        self._stop_within = stop_within
        self._line = line
        self._deadline: float | None = None  # monotonic seconds; set by the first stop signal
        self._unfinished = b""  # the beginning of a word whose end the supervisor has not said yet
        self._report = ErrorReporter()  # the application's handlers are for the hub's thread
        self._loop = get_hub().loop
        self._pipe = SignalPipe([*HEARD, *unclaimed(HARMLESS)])
        self._sources: list[int] = []
        self._keep_waiting = self._loop.async_()

    def start(self) -> None:
        self._pipe.open()
        self._sources = [self._pipe.fileno(), *([self._line.control.fileno()] if self._line else [])]
        self._keep_waiting.start(lambda: None)  # a hub where nothing is left but us would give up
        _start_new_thread(self._listen, ())

    def restore(self) -> None:
        """Give the signals back to whoever had them. The thread ends, or sees to it that the process does."""
        self._pipe.restore()
        self._keep_waiting.close()

    def expect_end(self) -> None:
        """The process has nothing left to do: it has as much time to end as after a stop signal."""
        self._has_to_end()
        self._pipe.wake()

    def abandon(self) -> None:
        """In a forked child: signals sent to it are its own, and not to be heard by its parent."""
        self._pipe.abandon()

    def _listen(self) -> None:
        """Nothing ends it before the pipe does: a server that hears nothing can't be stopped in order."""
        while True:
            try:
                self._listen_to_all()
            except BaseException as error:
                self._report.log(error, {"context": "the thread that hears signals failed, and goes on"})
                _sleep(PAUSE_AFTER_ERROR)
            else:
                return

    def _listen_to_all(self) -> None:
        while True:
            timeout = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
            ready, _, _ = _select(self._sources, [], [], timeout)
            if not ready:
                self._overdue()
                return
            words = self._words(ready)
            if words is None:
                self._see_out()
                return
            for word in words:
                if word in STOP:
                    self._has_to_end()
                self._loop.run_callback_threadsafe(self._on_signal, word)

    def _has_to_end(self) -> None:
        if self._deadline is None:
            self._deadline = time.monotonic() + self._stop_within

    def _see_out(self) -> None:
        """The server has ended; what the application left behind may keep the process for ever."""
        if self._deadline is not None:
            _sleep(max(0.0, self._deadline - time.monotonic()))
            self._overdue()

    def _words(self, ready: Sequence[int]) -> list[str] | None:
        """What was said; None when nothing will be heard any more."""
        words: list[str] = []
        for source in ready:
            if source != self._pipe.fileno():
                words += self._from_supervisor(source)
            elif (signals := self._pipe.read()) is None:
                return None
            else:
                words += [each.name[3:] for each in signals if self._counts(each)]
        return words

    def _counts(self, number: signal.Signals) -> bool:
        """Control-C reaches the whole group: then the supervisor decides what it means."""
        return self._line is None or number != signal.SIGINT

    def _from_supervisor(self, source: int) -> list[str]:
        try:
            said = os.read(source, LONGEST_READ)
        except OSError:  # it died before it had read all that we told it
            said = b""
        if not said:
            self._sources.remove(source)
            return [ORPHANED, "TERM"]
        *words, self._unfinished = (self._unfinished + said).split(b"\n")
        return [word.decode() for word in words]
