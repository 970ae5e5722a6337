"""A log handler that raises costs its caller nothing: the application's handlers hear what our loops log.

`logging` leaves it to each handler to catch its own errors, and one that doesn't throws them at whoever logs.
At us those are the fetchers, the heartbeat and the processors, which must outlive a log service that is down.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Final
from weakref import WeakSet

from sidekiq_py.errors import JobTimeout
from sidekiq_py.logger.formats import is_ours
from sidekiq_py.logger.relay import Relay
from sidekiq_py.user_code import name_of

_told_of: Final[WeakSet[logging.Handler]] = WeakSet()


def guard_handlers(relay: Relay | None = None) -> None:
    """From now on no handler's error leaves a log call of the loggers `sidekiq` and below.

    It goes to stderr, once per handler, and the handlers behind it get the record all the same. Handlers may
    come and go; none is changed. Twice is once. A `relay` gets the records that it takes.
    """
    for each in our_loggers():
        # On the logger, which is ours, and before the class's own: Sentry puts its hook there.
        vars(each)["callHandlers"] = (
            partial(_relay_or_call, relay, each) if relay else partial(call_handlers, each)
        )


def unguard_handlers() -> None:
    """Undo `guard_handlers`."""
    for each in our_loggers():
        vars(each).pop("callHandlers", None)


def our_loggers() -> list[logging.Logger]:
    """`sidekiq` and those below it that somebody has asked for by now."""
    known = list(logging.root.manager.loggerDict.values())
    return [each for each in known if isinstance(each, logging.Logger) and is_ours(each.name)]


def _relay_or_call(relay: Relay, logger: logging.Logger, record: logging.LogRecord) -> None:
    if not relay.takes(logger, record):
        call_handlers(logger, record)


def call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
    """As `logging` does, and whatever a handler raises stays here."""
    try:
        type(logger).callHandlers(logger, record)
    except JobTimeout:  # meant for the job that logs
        raise
    except (Exception, SystemExit) as error:
        broken = _handler_in(error.__traceback__)
        _tell(broken, error)
        _call_the_rest(logger, record, broken)


def _call_the_rest(logger: logging.Logger, record: logging.LogRecord, broken: logging.Handler | None) -> None:
    """The handlers that come after the broken one, which cut them off."""
    handlers = [handler for each in _with_ancestors(logger) for handler in each.handlers]
    if broken is None or broken not in handlers:
        return
    for handler in handlers[handlers.index(broken) + 1 :]:
        try:
            if record.levelno >= handler.level:
                handler.handle(record)
        except JobTimeout:
            raise
        except (Exception, SystemExit) as error:
            _tell(handler, error)


def _with_ancestors(logger: logging.Logger) -> Iterator[logging.Logger]:
    each: logging.Logger | None = logger
    while each is not None:
        yield each
        each = each.parent if each.propagate else None


def _handler_in(traceback: TracebackType | None) -> logging.Handler | None:
    """The outermost handler on the way to the error."""
    while traceback is not None:
        found = traceback.tb_frame.f_locals.get("self")
        if isinstance(found, logging.Handler):
            return found
        traceback = traceback.tb_next
    return None


def _tell(handler: logging.Handler | None, error: BaseException) -> None:
    if handler is None:
        name = "something that listens to the log"
    elif handler in _told_of:
        return
    else:
        _told_of.add(handler)
        name = f"the log handler {name_of(handler)}"
    if sys.stderr is not None:
        with suppress(Exception):
            print(
                f"sidekiq-py: {name} raises {type(error).__name__}: {error}; it loses log lines",
                file=sys.stderr,
                flush=True,
            )
