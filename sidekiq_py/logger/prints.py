"""What handlers print, as log records: so that every line on stdout can be parsed, and tells whose it is."""

from __future__ import annotations

import io
import logging
import threading
from typing import Any, Final, TextIO

import msgspec

logger: Final = logging.getLogger("stdout")  # is never configured, it only names the records


class Prints(io.TextIOBase):
    """Stands for `sys.stdout`: each printed line becomes a record, whatever the log level.

    A line that is a JSON object already, from a logging library of the application, is written as it is.
    """

    def __init__(self, handler: logging.StreamHandler[TextIO], *, passes_json: bool) -> None:
        self._handler = handler
        self._real = handler.stream
        self._passes_json = passes_json
        self._unfinished: Any = threading.local()  # one line of each thread or greenlet

    def write(self, text: str) -> int:
        *lines, rest = (getattr(self._unfinished, "text", "") + text).split("\n")
        self._unfinished.text = rest
        for line in lines:
            self._tell(line.rstrip("\r"))
        return len(text)

    def flush(self) -> None:
        line, self._unfinished.text = getattr(self._unfinished, "text", ""), ""
        self._tell(line)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._real.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._real.encoding

    @property
    def buffer(self) -> Any:
        """For bytes, which are written as they are."""
        return self._real.buffer

    def _tell(self, line: str) -> None:
        if not line.strip():
            return
        if self._passes_json and _is_json(line):
            with self._handler.lock or threading.Lock():
                self._real.write(f"{line}\n")
                self._real.flush()
            return
        record = logger.makeRecord(logger.name, logging.INFO, "", 0, "%s", (line,), None)
        self._handler.acquire()
        try:
            self._handler.emit(record)
        finally:
            self._handler.release()


def _is_json(line: str) -> bool:
    if not line.startswith("{"):
        return False
    try:
        return isinstance(msgspec.json.decode(line), dict)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
