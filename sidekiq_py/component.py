"""What the server's parts share: a guard round a loop, one round the application's code, one line per outage.

Ruby twin: Sidekiq::Component.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, TypeAlias, TypeVar, cast

import gevent
from gevent import GreenletExit
from gevent.event import Event

from sidekiq_py.backoff import LONGEST_PAUSE, Backoff
from sidekiq_py.clock import Clock
from sidekiq_py.errors import OUTAGE
from sidekiq_py.payload import error_message
from sidekiq_py.user_code import called, name_of

logger = logging.getLogger("sidekiq")

# What a Redis says that answers who reads and refuses who writes.
REFUSALS: Final = ("READONLY", "UNBLOCKED", "NOREPLICAS", "MISCONF", "NOPERM")

T = TypeVar("T")
ErrorHandler: TypeAlias = Callable[[BaseException, Mapping[str, Any]], object]


class ErrorReporter:
    """Tells every error handler of an unexpected error; a handler that fails itself is logged, no more.

    `call` is how the application's code is called, in the place of `user_code.called`. `pass_on` says whether
    an error wasn't meant for us, and takes it to where it was.

    Ruby twin: Sidekiq::Component#handle_exception.
    """

    def __init__(
        self,
        handlers: Sequence[ErrorHandler] = (),
        *,
        call: Callable[..., Any] = called,
        pass_on: Callable[[BaseException], bool] = lambda _error: False,
    ) -> None:
        self._handlers = handlers
        self._call = call
        self.pass_on = pass_on

    def __call__(self, error: BaseException, context: Mapping[str, Any]) -> None:
        for handler in self._handlers:
            try:
                self._call(handler, error, context)
            except BaseException as broken:
                _log(f"the error handler {name_of(handler)} failed itself", broken)

    def log(self, error: BaseException, context: Mapping[str, Any]) -> None:
        """Log an error of our own making with its stack, then tell the handlers."""
        if self.pass_on(error):
            return
        _log(str(context.get("context", "error")), error)
        self(error, context)

    def guarded(
        self,
        function: Callable[..., T],
        *arguments: object,
        context: Mapping[str, Any],
        otherwise: T,
        strict: bool = False,
    ) -> T:
        """Call the application's code: what it returns, or `otherwise` when it raises, which is reported.

        Whatever it raises, even a Shutdown: `sys.exit()` in a hook must cost neither the job nor the process,
        and a job that was put back while a hook of it ran is known by its claim. `strict` raises it again.
        """
        try:
            return cast(T, self._call(function, *arguments))
        except BaseException as error:
            self.log(error, context)
            if strict:
                raise
            return otherwise


def _log(sentence: str, error: BaseException) -> None:
    """To the log, or where that fails too (a log handler is the application's), to stderr, or nowhere."""
    try:
        words = error_message(error) or type(error).__name__  # a MemoryError, a Shutdown: they have no text
        logger.error("%s: %s", sentence, words, exc_info=error)
    except BaseException as broken:
        with suppress(BaseException):  # the loops rely on it: what reports an error raises none
            print(f"{sentence}: {error_message(error)}; not logged: {error_message(broken)}", file=sys.stderr)


class RedisState:
    """Whether Redis serves, for all parts of the process: one log line when it stops, one when it is back.

    A reason that shows later, such as a bad certificate behind closed connections, is told once an outage.

    A Redis that only refuses to write goes on answering those who read, so it is back when every part that
    was refused has had its way. Any thread or greenlet may report; the worst a race does is a second line.
    """

    settling = 1.0  # seconds in which connections learn of an outage, or of its end, one by one

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._down_since: float | None = None
        self._back_since = float("-inf")
        self._refused: set[Hashable] = set()
        self._reasons: set[str] = set()  # of this outage, as they were told

    @property
    def is_down(self) -> bool:
        return self._down_since is not None

    def went_down(self, error: BaseException, part: Hashable) -> None:
        """A command of this part failed because Redis can't serve."""
        now = self._clock.monotonic()
        if self._down_since is None and now - self._back_since > self.settling:
            self._down_since = now
            self._reasons = {str(error)}
            logger.warning(
                "Redis is down: %s. Running jobs go on; fetching resumes when it is back",
                str(error).removesuffix("."),
            )
        elif (since := self._down_since) is not None and now - since > self.settling:
            self._tell_further(str(error))
        if self.is_down and str(error).startswith(REFUSALS):
            self._refused.add(part)

    def _tell_further(self, reason: str) -> None:
        """That a connection was closed is how outages begin; why no other can be opened is what helps."""
        if reason not in self._reasons:
            self._reasons.add(reason)
            logger.warning("Redis is still down: %s", reason)

    def is_up(self, part: Hashable) -> None:
        """A command of this part succeeded."""
        self._refused.discard(part)
        if (since := self._down_since) is not None and not self._refused:
            self._down_since = None
            self._back_since = self._clock.monotonic()
            logger.info("Redis is back after %.1f s", self._back_since - since)


class Component:
    """A background loop in a greenlet. `start` returns at once; `stop` when the loop has ended.

    A subclass writes `tick`, which returns the seconds to wait before the next one.
    """

    def __init__(self, *, redis_state: RedisState, report: ErrorReporter) -> None:
        self._redis_state = redis_state
        self._report = report
        self._stopping = Event()
        self._loop: gevent.Greenlet[[], None] | None = None

    def start(self) -> None:
        self._loop = gevent.spawn(self._run)

    def quiet(self) -> None:
        """End the loop after the tick that runs."""
        self._stopping.set()

    def stop(self, timeout: float | None = None) -> None:
        """End the loop; waits `timeout` seconds for a tick that runs."""
        self.quiet()
        if self._loop is not None:
            self._loop.join(timeout)

    def disconnect(self) -> None:
        """Close the connections that are this part's own."""

    def tick(self) -> float:
        raise NotImplementedError

    def _run(self) -> None:
        backoff = Backoff()
        while not self._stopping.is_set():
            try:
                pause = self._pause_after_tick(backoff)
            except GreenletExit:
                raise
            except BaseException as error:  # neither a bad tick nor a line that can't be logged ends the loop
                self._report.log(error, {"context": f"{type(self).__name__} failed"})
                pause = LONGEST_PAUSE
            self._rest(pause)

    def _pause_after_tick(self, backoff: Backoff) -> float:
        try:
            pause = self.tick()
        except OUTAGE as error:
            self._redis_state.went_down(error, self)
            return backoff.next_pause()
        self._tell_that_redis_serves()
        backoff.succeeded()
        return pause

    def _tell_that_redis_serves(self) -> None:
        """A tick has succeeded. A part whose ticks may ask Redis nothing says something else."""
        self._redis_state.is_up(self)

    def _rest(self, seconds: float) -> None:
        self._stopping.wait(seconds)
