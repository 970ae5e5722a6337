"""Log levels by Sidekiq's words, and the level of a single job.

Ruby twin: Sidekiq::LoggingUtils.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

_WORDS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
    "critical": logging.CRITICAL,
    "unknown": logging.CRITICAL,
}
_RUBY_NUMBERS: Final = ("debug", "info", "warn", "error", "fatal", "unknown")  # Logger::Severity 0 to 5


def parse_level(given: object) -> int | None:
    """A level of `logging` from a word (Ruby's or Python's) or one of Ruby's numbers; else None."""
    if isinstance(given, str):
        return _WORDS.get(given.strip().lower())
    if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < len(_RUBY_NUMBERS):
        return _WORDS[_RUBY_NUMBERS[given]]
    return None


class JobLevels:
    """Opens loggers for as long as a job with a lower `log_level` runs; our handler drops what others say.

    `logging` decides by logger before a record exists, so a job's "debug" needs the loggers themselves at
    debug. Only loggers whose records end in our handler are given here, so nobody else sees a flood.
    """

    def __init__(self, base: int) -> None:
        self.base = base
        self._loggers: tuple[logging.Logger, ...] = ()
        self._usual: dict[logging.Logger, int] = {}
        self._active: list[int] = []

    @property
    def lowest(self) -> int:
        """The least level that anybody wants now."""
        return min([self.base, *self._active])

    def govern(self, loggers: Iterable[logging.Logger]) -> None:
        """Take charge of these loggers, and give back those taken before."""
        self._restore()
        self._loggers = tuple(loggers)
        self._apply()

    def enter(self, level: int) -> None:
        """A job with this level starts."""
        self._active.append(level)
        self._apply()

    def leave(self, level: int) -> None:
        """A job with this level has ended."""
        self._active.remove(level)
        self._apply()

    def _apply(self) -> None:
        lowest = self.lowest
        if lowest >= self.base:
            self._restore()
            return
        for logger in self._loggers:
            self._usual.setdefault(logger, logger.level)
            logger.setLevel(min(lowest, self._usual[logger] or lowest))

    def _restore(self) -> None:
        for logger, level in self._usual.items():
            logger.setLevel(level)
        self._usual.clear()
