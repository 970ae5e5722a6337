"""Has a thread of its own call the log handlers, for a thread that must not wait for them.

In somebody else's program they may be slow, and hold locks that others want.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final, TypeAlias

CallHandlers: TypeAlias = Callable[[logging.Logger, logging.LogRecord], None]

PATIENCE: Final = 1.0  # seconds that the last records have


class Relay:
    """Takes the records of the thread that made it, from `start` to `stop`."""

    def __init__(self, call_handlers: CallHandlers) -> None:
        self._call_handlers = call_handlers
        self._thread_served = threading.get_ident()
        self._records: SimpleQueue[tuple[logging.Logger, logging.LogRecord] | None] = SimpleQueue()
        self._is_open = False

    def start(self) -> None:
        self._is_open = True
        self._thread = threading.Thread(target=self._run, name="sidekiq log", daemon=True)
        self._thread.start()

    def takes(self, logger: logging.Logger, record: logging.LogRecord) -> bool:
        """Whether the record is in our hands now; else its handlers are to be called at once."""
        if not self._is_open or threading.get_ident() != self._thread_served:
            return False
        self._records.put((logger, record))
        return True

    def stop(self) -> None:
        """Call the handlers for what is left, but don't wait long for them."""
        self._is_open = False
        self._records.put(None)
        self._thread.join(PATIENCE)

    def _run(self) -> None:
        while (entry := self._records.get()) is not None:
            self._call_handlers(*entry)
