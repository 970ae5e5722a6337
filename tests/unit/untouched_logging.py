"""The standard library's `logging` as in a program that never configured it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sidekiq_py.logger import logger


@contextmanager
def untouched_logging() -> Iterator[Callable[[], None]]:
    """Gives a function that takes pytest's handlers off the root logger; all is put back at the end.

    To be called inside a test: pytest puts its handlers there anew for each phase.
    """
    root = logging.root
    handlers, level, propagate = root.handlers[:], root.level, logger.propagate
    disabled = {each: each.disabled for each in _loggers()}

    def forget_pytest() -> None:
        root.handlers[:] = [each for each in root.handlers if not type(each).__module__.startswith("_pytest")]
        root.setLevel(logging.WARNING)

    yield forget_pytest
    root.handlers[:] = handlers
    root.setLevel(level)
    logger.handlers[:] = []
    logger.propagate = propagate
    for each in _loggers():
        each.disabled = disabled.get(each, False)


def _loggers() -> list[logging.Logger]:
    found = logging.root.manager.loggerDict.values()
    return [each for each in found if isinstance(each, logging.Logger)]
