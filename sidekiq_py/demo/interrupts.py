"""Ctrl-C, but never in the middle of starting or ending something that would then be left behind."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Self

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Within this block, INT, TERM and a closed terminal are only noted, but for the parts that allow them.

    Where they are allowed they raise KeyboardInterrupt, at once if one has been noted before.
    """

    def __init__(self) -> None:
        self._noted = False
        self._allowed = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """The part of the block that may be interrupted."""
        self._allowed = True
        try:
            if self._noted:
                raise KeyboardInterrupt
            yield
        finally:
            self._allowed = False

    def _note(self, *_: object) -> None:
        self._noted = True
        if self._allowed:
            self._allowed = False  # one is enough: the next must not interrupt the cleaning up
            raise KeyboardInterrupt
