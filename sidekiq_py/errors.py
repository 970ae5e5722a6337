"""Every exception that sidekiq-py raises, one sentence each."""

from __future__ import annotations

from typing import Final


class SidekiqError(Exception):
    """Base of all errors raised by sidekiq-py."""


class InvalidJob(SidekiqError, ValueError):
    """The job can't be pushed as given: the message says what was given, what is allowed, how to fix it.

    Ruby raises ArgumentError in these places.
    """


class InvalidHandler(SidekiqError, ValueError):
    """A function can't be taken as handler, middleware or callback: it is asynchronous, or takes too much.

    Of a handler also: wrong name, taken name, impossible option.
    """


class InvalidConfig(SidekiqError, ValueError):
    """An option, a config file or an environment variable says something that can't be followed."""


class HandlersNotLoaded(SidekiqError):
    """The application's handlers can't be imported; `.trace` is its own traceback, "" when it has none."""

    def __init__(self, message: str, trace: str = "") -> None:
        super().__init__(message)
        self.trace = trace


class InvalidPayload(SidekiqError, ValueError):
    """Bytes from Redis are not a job that could ever run, in Python or in Ruby."""


class UnknownJobClass(SidekiqError):
    """No handler is registered for the job's class. On the wire it is Ruby's NameError."""

    ruby_class = "NameError"


class ArgumentsMisfit(SidekiqError, TypeError):
    """The job's arguments don't fit the handler's signature: names handler, parameter and value."""

    ruby_class = "ArgumentError"


class JobTimeout(SidekiqError):
    """Raised inside a job that has run for longer than its handler's `timeout`."""

    ruby_class = "Timeout::Error"


class PoisonPill(SidekiqError):
    """The job's process died while it ran, again and again: the last time it was alone."""

    ruby_class = "Sidekiq::PoisonPill"


class RedisError(SidekiqError):
    """Redis answered with an error that is not about its state: our command or a key's type is wrong."""


class PoolExhausted(RedisError):
    """Every connection of the pool was lent for too long, so the command was never sent."""


class RedisDown(SidekiqError):
    """Redis can't serve now: unreachable, loading, read-only, busy, out of memory. Worth another try.

    `.sent` is True when the connection broke after the command went out: it may or may not have been run.
    """

    def __init__(self, message: str, *, sent: bool = False) -> None:
        super().__init__(message)
        self.sent = sent

    @property
    def is_full(self) -> bool:
        """Redis has used up its memory: it refuses what would need more, and serves the rest."""
        return str(self).startswith("OOM")


class RedisAuthError(SidekiqError):
    """Redis refuses the user or the password, or the user may not run a command we need."""


OUTAGE: Final = (RedisDown, RedisAuthError)  # what a server at work waits out: rights can come back, too


class MaybeEnqueued(RedisDown):
    """The connection broke after the push was sent: the job may or may not be stored. `.jids` says which."""

    def __init__(self, message: str, jids: list[str]) -> None:
        super().__init__(message, sent=True)
        self.jids = jids


class EmbeddedProcess(SidekiqError):
    """The process lives inside another program, which alone may quiet or stop it."""


class Shutdown(BaseException):
    """Raised inside a job that still runs when the shutdown timeout is over; its job is back in its queue.

    Ruby twin: Sidekiq::Shutdown, which is an Interrupt. Not an Exception, so that `except Exception` in a
    handler lets it through.
    """
