"""`@job`: a Python function under a Ruby job class name, which can be called, pushed and scheduled.

Ruby twin: Sidekiq::Job.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import update_wrapper
from numbers import Real
from typing import Any, Concatenate, Final, Generic, ParamSpec, TypeVar

from sidekiq_py.bulk import argument_lists
from sidekiq_py.client import Client, default_client
from sidekiq_py.client_defaults import defaults
from sidekiq_py.errors import InvalidHandler, InvalidJob
from sidekiq_py.job_util import declared_options, described, is_finite
from sidekiq_py.middleware import Chain, ServerMiddleware, compose
from sidekiq_py.payload import Payload, generate, parse
from sidekiq_py.registry import Handler, RetriesExhausted, RetryIn, registry, without_name
from sidekiq_py.running_job import RunningJob, current_job, running
from sidekiq_py.user_code import check_function

__all__ = ["Job", "RunningJob", "Setter", "current_job", "job", "run"]

P = ParamSpec("P")
R = TypeVar("R")
Options = ParamSpec("Options")
S = TypeVar("S")
RetryInT = TypeVar("RetryInT", bound=RetryIn)
ExhaustedT = TypeVar("ExhaustedT", bound=RetriesExhausted)

ABSOLUTE_FROM: Final = 1_000_000_000  # a larger interval is a moment, epoch seconds, as in Ruby


def options(
    *,
    queue: str = "default",
    retry: bool | int | None = True,
    backtrace: bool | int = False,
    tags: Sequence[str] = (),
    dead: bool = True,
    retry_for: float | timedelta | None = None,
    retry_queue: str | None = None,
    log_level: str | None = None,
    timeout: float | timedelta | None = None,
    **more: Any,
) -> None:
    """What `@job` and `set` take, Ruby's sidekiq_options. Only what is given is stored, in the order given.

    queue: where the job waits. retry: True (25 times), a number, 0 (straight to the dead set), False (gone).
    retry_for: seconds to go on retrying. retry_queue: where retries wait. backtrace: True, or how many lines
    to keep with the error. dead: False keeps an exhausted job out of the dead set. tags: shown in the Web UI
    and in logs. log_level: of the job's own log lines. Any other key is carried along, but for misspelt ones.

    timeout: seconds that a run may take in a Python server, for `@job` alone; then JobTimeout is raised where
    the handler waits, and the job fails. It can't interrupt what computes without ever waiting.
    """


def _takes_options(
    _: Callable[Options, None],
) -> Callable[[Callable[Concatenate[S, ...], R]], Callable[Concatenate[S, Options], R]]:
    """Shows type checkers the keywords of `options`; the function sees them in the order they were given."""
    return lambda function: function


class Setter(Generic[P, R]):
    """A job class with options for the next push. Made by `set` and `via`; pushing leaves it as it was.

    Ruby twin: Sidekiq::Job::Setter.
    """

    def __init__(self, handler: Handler, given: Mapping[str, Any], client: Client) -> None:
        self.handler = handler
        self._given = given
        self._client = client

    def perform_async(self, *args: P.args, **kwargs: P.kwargs) -> str | None:
        """Put the job on its queue; returns its jid, or None when client middleware stopped it.

        Raises InvalidJob for what JSON can't carry and ArgumentsMisfit for a call that the function
        doesn't take, both before anything is sent; then as `Client.push`.
        """
        return self._client.push(self._item(args=self._json(args, kwargs), **{"class": self.handler.name}))

    def perform_in(self, interval: float | timedelta, *args: P.args, **kwargs: P.kwargs) -> str | None:
        """Run the job after so many seconds (or a timedelta); from 1,000,000,000 on they are a moment.

        What is not in the future goes to the queue now.
        """
        seconds = interval.total_seconds() if isinstance(interval, timedelta) else _number(interval)
        now = self._client.clock.now()
        at = seconds if seconds >= ABSOLUTE_FROM else now + seconds
        call = {"class": self.handler.name, "args": self._json(args, kwargs)}
        # Keys stand as Ruby writes them: after set(…) the arguments come first, as in perform_async.
        item = self._item(**dict(reversed(call.items())) if self._given else call)
        return self._client.push(item if at <= now else {**item, "at": at})

    def perform_at(self, when: float | datetime, *args: P.args, **kwargs: P.kwargs) -> str | None:
        """Run the job at a moment: epoch seconds or a datetime with a time zone. The past means now."""
        if not isinstance(when, datetime):
            return self.perform_in(when, *args, **kwargs)
        if when.tzinfo is None:
            raise InvalidJob(
                f"{when!r} has no time zone, so it names no moment. Is it local? Give when.astimezone()"
            )
        return self.perform_in(max(when.timestamp(), ABSOLUTE_FROM), *args, **kwargs)

    def perform_bulk(
        self,
        rows: Iterable[Sequence[Any]],
        *,
        at: float | Sequence[float] | None = None,
        batch_size: int | None = None,
    ) -> list[str | None]:
        """Push a job for each row of arguments, 1,000 in one round trip. See `Client.push_bulk`."""
        item = self._item(
            **{"class": self.handler.name}, args=[self._json(row, {}) for row in argument_lists(rows)]
        )
        return self._client.push_bulk(item if at is None else {**item, "at": at}, batch_size=batch_size)

    def perform_inline(self, *args: P.args, **kwargs: P.kwargs) -> R | None:
        """Run the job here and now, through JSON and all middleware; returns what the function returned.

        None also when a middleware stopped it. An error is raised to the caller; nothing is retried.
        """
        item = self._item(args=self._json(args, kwargs), **{"class": self.handler.name})
        payload = self._client.prepare(item)
        if payload is None:
            return None
        result: R | None = run(payload, defaults.config.server_middleware)  # type: ignore[assignment]
        return result

    def via(self, client: Client) -> Setter[P, R]:
        """The same job class and options, pushed through another client."""
        return Setter(self.handler, self._given, client)

    def _json(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
        return self.handler.signature.to_json(args, kwargs)

    def _item(self, **call: Any) -> dict[str, Any]:
        return {**self.handler.options, **self._given, **call}

    @_takes_options(options)
    def set(self, **given: Any) -> Setter[P, R]:
        """The job class with these options for the next push; see `options`."""
        if "timeout" in given:
            raise InvalidJob(f"timeout belongs to the handler: @job({self.handler.name!r}, timeout=…)")
        return Setter(self.handler, {**self._given, **declared_options(given)}, self._client)


class Job(Setter[P, R]):
    """A registered function: call it as before, or push it. Made by `@job`."""

    def __init__(self, handler: Handler, function: Callable[P, R]) -> None:
        super().__init__(handler, {}, default_client)
        self._function = function
        update_wrapper(self, function)

    @property
    def name(self) -> str:
        """The Ruby job class name."""
        return self.handler.name

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._function(*args, **kwargs)

    def retry_in(self, decide: RetryInT) -> RetryInT:
        """Decorator: `decide(count, error, payload)` says when to retry a failed job.

        Seconds or a timedelta, "discard" (gone), "kill" (to the dead set) or None (the default backoff);
        count is 0 at the first failure. Ruby twin: sidekiq_retry_in.
        """
        check_function(f"retry_in of {self.name}", decide, takes="count, error, payload")
        self.handler.retry_in = decide
        return decide

    def retries_exhausted(self, callback: ExhaustedT) -> ExhaustedT:
        """Decorator: `callback(payload, error)` runs when a job has used up its retries.

        Returning "discard" keeps the job out of the dead set. Ruby twin: sidekiq_retries_exhausted.
        """
        check_function(f"retries_exhausted of {self.name}", callback, takes="payload, error")
        self.handler.retries_exhausted = callback
        return callback

    def __repr__(self) -> str:
        return f"<Job {self.name}: {self.handler.place}>"


class Declaration:
    """`@job(…)` before it has met its function."""

    def __init__(self, name: str, given: Mapping[str, Any]) -> None:
        self._name = name
        self._given = given

    def __call__(self, function: Callable[P, R]) -> Job[P, R]:
        given = dict(self._given)
        timeout = given.pop("timeout", None)
        handler = Handler(self._name, function, given, timeout=timeout)
        registry.add(handler)
        return Job(handler, function)


@_takes_options(options)
def job(name: str = "", /, **given: Any) -> Declaration:
    """Decorator: the function runs the jobs of this Ruby class; options are those of `options`.

    Raises InvalidHandler when the name is no Ruby constant or is taken, when the function is asynchronous or
    can't be filled from a JSON array, or when an option makes no sense.
    """
    if callable(name) or name == "":  # `@job` alone would otherwise register nothing, and say nothing
        raise InvalidHandler(without_name(name))
    return Declaration(name, given)


def _number(given: object) -> float:
    if isinstance(given, bool) or not isinstance(given, Real) or not is_finite(given):
        raise InvalidJob(
            "when a job is to run is said in seconds, as a timedelta (perform_in) or as a datetime with a "
            f"time zone (perform_at), got {described(given)}"
        )
    return float(given)


def run(payload: Payload, chain: Chain[ServerMiddleware]) -> object:
    """Run one job in this process, as a server would: from its JSON, inside the chain.

    Raises UnknownJobClass, ArgumentsMisfit and whatever the handler raises.
    """
    received = parse(generate(payload))
    handler = registry.lookup(received["class"])
    queue = str(received.get("queue", "default"))

    with running(received, queue):
        return compose(chain, (received, queue), lambda: handler.perform(received["args"]))()
