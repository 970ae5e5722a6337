"""How a record looks: Sidekiq's lines with and without colour or time, JSON, and logfmt.

Text lines hold Sidekiq's fields and no more, so that parsers written for Sidekiq keep working; `queue` and
`attempt` join them when they are among the logged attributes. JSON and logfmt hold everything.

Ruby twin: Sidekiq::Logger::Formatters.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Collection, Mapping
from typing import Final, Literal, TypeAlias, get_args

import msgspec

from sidekiq_py.logger.context import DEFAULT_ATTRIBUTES, context_of, tid
from sidekiq_py.payload import error_class, error_message

LogFormat: TypeAlias = Literal["pretty", "plain", "no-timestamp", "json", "logfmt"]
LOG_FORMATS: Final[tuple[LogFormat, ...]] = get_args(LogFormat)

_LEVELS: Final = {logging.WARNING: "WARN", logging.CRITICAL: "FATAL"}  # where Ruby's word differs
_COLOURS: Final = {"DEBUG": 34, "INFO": 32, "WARN": 33, "ERROR": 31, "FATAL": 35}
_ALWAYS_STRUCTURED: Final = frozenset({"queue", "attempt"})
_OWN_NAMES: Final = frozenset({"message", "asctime", "taskName", "sidekiq"})
_STANDARD: Final = _OWN_NAMES | logging.makeLogRecord({}).__dict__.keys()
_NEEDS_QUOTES: Final = re.compile(r'[\s="]|^$')


class SidekiqFormatter(logging.Formatter):
    """What all formats share: the clock, the words for levels, the context."""

    def __init__(self) -> None:
        super().__init__()
        self._second = (0, "")

    def timestamp(self, record: logging.LogRecord) -> str:
        """ISO 8601, UTC, milliseconds: `2026-11-24T02:57:07.056Z`."""
        second = int(record.created)
        known, text = self._second  # one tuple, so that another thread never sees half of a new one
        if known != second:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = (second, text)
        return f"{text}.{int((record.created - second) * 1000):03d}Z"

    def level(self, record: logging.LogRecord) -> str:
        """DEBUG, INFO, WARN, ERROR or FATAL."""
        return _LEVELS.get(record.levelno) or record.levelname


class TextFormatter(SidekiqFormatter):
    """`INFO  2026-11-24T02:57:07.056Z pid=5445 tid=3il jid=… class=HardJob tags=a,b elapsed=0.0: done`.

    A traceback follows on lines of its own.
    """

    def __init__(
        self,
        *,
        colour: bool = False,
        timestamp: bool = True,
        attributes: Collection[str] = DEFAULT_ATTRIBUTES,
    ) -> None:
        super().__init__()
        self._colour = colour
        self._timestamp = timestamp
        self._hidden = _ALWAYS_STRUCTURED.difference(attributes) | {"tid"}

    def format(self, record: logging.LogRecord) -> str:
        found = context_of(record)
        shown = "".join(
            [f" {name}={text_value(value)}" for name, value in found.items() if name not in self._hidden]
        )
        when = f" {self.timestamp(record)}" if self._timestamp else ""
        thread = found.get("tid") or tid()
        line = f"{self._word(record)}{when} pid={record.process} tid={thread}{shown}: {record.getMessage()}"
        return "\n".join([line, *self._trailers(record)]) if record.exc_info or record.stack_info else line

    def _word(self, record: logging.LogRecord) -> str:
        level = self.level(record)
        if not self._colour:
            return f"{level:5}"
        return f"\x1b[1;{_COLOURS.get(level, 37)}m{level:5}\x1b[0m"

    def _trailers(self, record: logging.LogRecord) -> list[str]:
        trailers = []
        if record.exc_info and record.exc_info[0] is not None:
            trailers.append(self.formatException(record.exc_info))
        if record.stack_info:
            trailers.append(self.formatStack(record.stack_info))
        return trailers


class JsonFormatter(SidekiqFormatter):
    """One JSON object a line: ts, pid, tid, lvl, msg, ctx (absent when empty), err, logger.

    `err` holds class, message and stack of the record's exception; `logger` names a logger that isn't ours.
    What was given as `extra=` is in ctx.
    """

    def format(self, record: logging.LogRecord) -> str:
        return dump_json(self.entry(record))

    def entry(self, record: logging.LogRecord) -> dict[str, object]:
        """The record as one mapping, in the order of the line."""
        found = {**context_of(record), **_extra_of(record)}
        entry: dict[str, object] = {
            "ts": self.timestamp(record),
            "pid": record.process,
            "tid": found.pop("tid", "") or tid(),
            "lvl": self.level(record),
            "msg": record.getMessage(),
        }
        if found:
            entry["ctx"] = found
        if record.exc_info and (error := record.exc_info[1]) is not None:
            stack = self.formatException(record.exc_info)
            entry["err"] = {"class": error_class(error), "message": error_message(error), "stack": stack}
        if not is_ours(record.name):
            entry["logger"] = record.name
        return entry


class LogfmtFormatter(JsonFormatter):
    """`ts=… pid=… tid=… lvl=INFO msg=done jid=… elapsed=0.0 err.class=…`: the JSON line, flat."""

    def format(self, record: logging.LogRecord) -> str:
        entry = self.entry(record)
        nested = {"ctx": "", "err": "err."}
        pairs = []
        for name, value in entry.items():
            if name in nested and isinstance(value, dict):
                pairs += [f"{_bare(nested[name] + str(key))}={_quoted(each)}" for key, each in value.items()]
            else:
                pairs.append(f"{name}={_quoted(value)}")
        return " ".join(pairs)


def is_ours(name: str) -> bool:
    """Whether a logger of this name is `sidekiq` or below it."""
    return name == "sidekiq" or name.startswith("sidekiq.")


def text_value(value: object) -> str:
    """As Ruby shows it: arrays joined by commas. Control characters are escaped: a tag can't forge a line."""
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def dump_json(entry: Mapping[str, object]) -> str:
    """One line of valid JSON, whatever is in it: NaN becomes null, what JSON lacks becomes its `str`."""
    try:
        return msgspec.json.encode(entry, enc_hook=str).decode()
    except (UnicodeEncodeError, ValueError, TypeError, RecursionError):
        # Rare: a lone surrogate, a circular list. Everything as escaped text is better than no line.
        return json.dumps({name: _as_text(value) for name, value in entry.items()})


def _as_text(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _as_text(each) for key, each in value.items() if not isinstance(each, dict)}
    return value if isinstance(value, int) else str(value)


def _extra_of(record: logging.LogRecord) -> dict[str, object]:
    given = record.__dict__
    return {name: given[name] for name in given.keys() - _STANDARD}


def _bare(name: str) -> str:
    if name.isprintable() and _NEEDS_QUOTES.search(name) is None:
        return name
    return "".join(char if char.isprintable() and char not in ' ="' else "_" for char in name)


def _quoted(value: object) -> str:
    if isinstance(value, dict):
        value = dump_json(value)
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    if text.isprintable() and _NEEDS_QUOTES.search(text) is None:
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())
