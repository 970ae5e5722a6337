"""Where the lines go: one handler of ours, and never a change to a handler that isn't."""

from __future__ import annotations

import _thread
import logging
import sys
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Final, TextIO

from sidekiq_py.errors import InvalidConfig
from sidekiq_py.logger.context import DEFAULT_ATTRIBUTES, JobRecordFactory, job_level
from sidekiq_py.logger.formats import (
    LOG_FORMATS,
    JsonFormatter,
    LogfmtFormatter,
    SidekiqFormatter,
    TextFormatter,
)
from sidekiq_py.logger.guard import guard_handlers, our_loggers, unguard_handlers
from sidekiq_py.logger.levels import JobLevels, parse_level
from sidekiq_py.logger.prints import Prints

logger: Final = logging.getLogger("sidekiq")
"""The server's own logger; `sidekiq.job` and the like are below it."""


class SidekiqHandler(logging.StreamHandler[TextIO]):
    """Writes each record as one line in one write, and lets through what the record's job allows."""

    def __init__(self, stream: TextIO, formatter: logging.Formatter, base: int) -> None:
        super().__init__(stream)
        self.setFormatter(formatter)
        self.base = base
        self._is_broken = self._breaks = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line. Where nobody can read it any more, that is said once, and the server goes on."""
        self._breaks = False
        super().emit(record)
        self._is_broken = self._breaks

    def createLock(self) -> None:  # noqa: N802  # logging's name
        # A native lock even when threading is monkey-patched: a patched one is handed over by the hub, and
        # the heartbeat's thread must get its line out while a job keeps the hub busy. Nothing yields inside.
        self.lock = _thread.RLock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Drop what the running job's `log_level`, else the general level, leaves out."""
        least = job_level()
        return record.levelno >= (self.base if least is None else least) and super().filter(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        """A character that the stream can't write is escaped; a stream that is gone is told of once."""
        error = sys.exc_info()[1]
        if isinstance(error, UnicodeEncodeError):
            self._write_escaped(record)
        elif isinstance(error, OSError) or getattr(self.stream, "closed", False):
            self._tell_once(error)
        else:
            super().handleError(record)

    def _tell_once(self, error: BaseException | None) -> None:
        self._breaks = True
        if not self._is_broken:
            with suppress(OSError, ValueError):
                print(f"sidekiq-py: log lines are lost, stdout can't be written to: {error}", file=sys.stderr)

    def _write_escaped(self, record: logging.LogRecord) -> None:
        encoding = getattr(self.stream, "encoding", None) or "ascii"
        line = self.format(record).encode(encoding, "backslashreplace").decode(encoding)
        self.stream.write(line + self.terminator)
        self.flush()


class LoggingSetup:
    """Our handler in its place: `step_aside` while the application loads, then `settle`, `close` at the end.

    The place is decided by who configured what, so that no record is printed twice:

    1. The application gave the `sidekiq` logger handlers: they get our records and we add nothing.
    2. It gave the root logger handlers: ours sits on `sidekiq` and stops there (propagate off), so stdout
       has Sidekiq's lines, and the application's own records go where it sent them.
    3. Neither: ours sits on the root logger, and every library's records come out in our format too.
    """

    def __init__(self, handler: SidekiqHandler, level: int) -> None:
        self.levels = JobLevels(level)
        self._handler = handler
        self._level = level
        self._ours = logger
        self._home: logging.Logger | None = None
        self._before: tuple[int, bool] = (logging.NOTSET, True)
        self._ours_before = self._ours.level
        self._ours.setLevel(level)
        install_record_factory()
        self.settle()

    def settle(self) -> None:
        """Look again who has handlers, and move ours if needed.

        Also wakes our loggers when a `dictConfig` with its default `disable_existing_loggers` put them to
        sleep, and guards those that are new.
        """
        for each in our_loggers():
            each.disabled = False
        guard_handlers()
        home = self._rightful_home()
        if home is not self._home or (home is not None and self._handler not in home.handlers):
            self._leave_home()
            self._move_into(home)

    def change(
        self, *, format: str, level: str, environ: Mapping[str, str], attributes: Collection[str]
    ) -> None:  # noqa: A002
        """Go on in this format from now on, and from this level on; as `setup_logging`."""
        number = _level(level)
        stream = self._handler.stream
        self._handler.setFormatter(_formatter(format, attributes, use_colour(stream, environ)))
        self._handler.base = self._level = number
        self.levels.base = number
        home = self._home
        self._leave_home()
        self._ours.setLevel(number)
        self._move_into(home)

    def take_prints(self) -> None:
        """From now on what is printed becomes records, where those are for machines and go to stdout."""
        formatter = self._handler.formatter
        if (
            self._home is not None
            and self._handler.stream is sys.stdout
            and isinstance(formatter, JsonFormatter)
        ):
            sys.stdout = Prints(self._handler, passes_json=not isinstance(formatter, LogfmtFormatter))

    def step_aside(self) -> None:
        """While the application loads: `logging.basicConfig` does nothing when the root logger has a handler.

        Its records go where Python sends them until then, ours go on; `settle` ends this.
        """
        if self._home is logging.root:
            self._leave_home()
            self._move_into(self._ours)

    def close(self) -> None:
        """Leave `logging` as it was found, and what prints, too."""
        if isinstance(sys.stdout, Prints):
            sys.stdout.flush()
            sys.stdout = self._handler.stream
        self.levels.govern(())
        self._leave_home()
        self._ours.setLevel(self._ours_before)
        unguard_handlers()
        remove_record_factory()
        self._handler.close()

    def _rightful_home(self) -> logging.Logger | None:
        if _has_foreign_handlers(self._ours):
            return None
        return self._ours if _has_foreign_handlers(logging.root) else logging.root

    def _move_into(self, home: logging.Logger | None) -> None:
        self._home = home
        if home is None:
            self.levels.govern(())
            return
        self._before = (home.level, home.propagate)
        home.addHandler(self._handler)
        home.setLevel(self._level)
        if home is not logging.root:
            home.propagate = False
        self.levels.govern({self._ours, home})

    def _leave_home(self) -> None:
        if self._home is None:
            return
        self._home.removeHandler(self._handler)
        level, self._home.propagate = self._before
        self._home.setLevel(level)
        self._home = None


def setup_logging(
    *,
    format: str = "pretty",  # noqa: A002  # the option's name
    level: str | int = "info",
    stream: TextIO | None = None,
    environ: Mapping[str, str] | None = None,
    attributes: Collection[str] = DEFAULT_ATTRIBUTES,
) -> LoggingSetup:
    """Print records as Sidekiq does, to stdout unless told otherwise.

    `environ` is where `use_colour` looks; `attributes` are the payload keys to show. Raises InvalidConfig
    for an unknown format or level.
    Ruby twin: Sidekiq::Logger.new.
    """
    number = _level(level)
    out = sys.stdout if stream is None else stream
    formatter = _formatter(format, attributes, use_colour(out, environ or {}))
    return LoggingSetup(SidekiqHandler(out, formatter, number), number)


def _level(level: str | int) -> int:
    if (number := parse_level(level)) is None:
        raise InvalidConfig(f"log level {level!r} is unknown: give debug, info, warn, error or fatal")
    return number


def use_colour(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Colour on a terminal only. NO_COLOR forbids it; FORCE_COLOR, unless empty or 0, demands it."""
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return environ.get("TERM") != "dumb" and bool(getattr(stream, "isatty", lambda: False)())


def install_record_factory() -> None:
    """Have every record made while a job runs carry `record.sidekiq`. Twice is once.

    All that an embedded server, whose host program owns logging, needs.
    """
    factory = logging.getLogRecordFactory()
    if not isinstance(factory, JobRecordFactory):
        logging.setLogRecordFactory(JobRecordFactory(factory))


def remove_record_factory() -> None:
    """Undo `install_record_factory`, unless somebody has put a factory over ours since."""
    factory = logging.getLogRecordFactory()
    if isinstance(factory, JobRecordFactory):
        logging.setLogRecordFactory(factory.inner)


def _formatter(name: str, attributes: Collection[str], colour: bool) -> SidekiqFormatter:
    if name not in LOG_FORMATS:
        raise InvalidConfig(f"log format {name!r} is unknown: give {', '.join(LOG_FORMATS)}")
    if name == "json":
        return JsonFormatter()
    if name == "logfmt":
        return LogfmtFormatter()
    return TextFormatter(
        colour=colour and name == "pretty", timestamp=name != "no-timestamp", attributes=attributes
    )


def _has_foreign_handlers(logger: logging.Logger) -> bool:
    return any(not isinstance(each, SidekiqHandler | logging.NullHandler) for each in logger.handlers)
