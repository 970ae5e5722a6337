"""Reads an option's value from what a command line, an environment or a file gave.

Each reader returns the typed value or raises `Misfit`, which says what is expected.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeAlias

from sidekiq_py.capsule import Share, parse_queues
from sidekiq_py.did_you_mean import did_you_mean
from sidekiq_py.errors import InvalidConfig
from sidekiq_py.logger import parse_level
from sidekiq_py.redis_connection import RedisOptions

Reader: TypeAlias = Callable[[object], object]
CapsuleOptions: TypeAlias = dict[str, dict[str, object]]

LEVELS: Final = ("debug", "info", "warn", "error", "fatal")
SHOWN: Final = 100  # characters of a value in an error message
LEAST_MEMORY: Final = 16 * 2**20  # bytes; below that no Python process would live
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?) ?([KMG]?)(?:i?B)?", re.IGNORECASE)
_UNITS: Final = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}
_TRUE: Final = frozenset({"true", "yes", "on", "1"})
_FALSE: Final = frozenset({"false", "no", "off", "0"})


class Misfit(ValueError):
    """The value can't be used: says what is expected instead, and `hint` what was meant perhaps."""

    def __init__(self, expected: str, hint: str = "") -> None:
        super().__init__(expected)
        self.hint = hint


def whole_number(least: int) -> Reader:
    """Reads `5`, `"5"` or `"1_000"`, not less than `least`."""

    def read(given: object) -> int:
        number = _number(given, int)
        if number is None or number < least:
            raise Misfit(f"a whole number of {least} or more")
        return int(number)

    return read


def seconds(given: object) -> float:
    """A time above 0, such as `25` or `"0.5"`."""
    number = _number(given, float)
    if number is None or not 0 < number < float("inf"):
        raise Misfit("a number of seconds above 0")
    return float(number)


def memory(given: object) -> int:
    """Bytes, from `512M`, `2G` or `1.5GB`; a bare number is bytes."""
    match = _SIZE.fullmatch(str(given).strip())
    if match is None or (size := int(float(match[1]) * _UNITS[match[2].upper()])) < LEAST_MEMORY:
        raise Misfit("a size of 16M or more, such as 512M or 2G")
    return size


def boolean(given: object) -> bool:
    """true, yes, on, 1 or their opposites."""
    word = str(given).strip().lower()
    if word not in _TRUE | _FALSE:
        raise Misfit("true or false")
    return word in _TRUE


def text(given: object) -> str:
    """Any single line that isn't blank."""
    if isinstance(given, bool) or not isinstance(given, str | int | float) or not str(given).strip():
        raise Misfit("text")
    return str(given)


def texts(given: object) -> list[str]:
    """A list of texts, each once; a single text is cut at blanks and commas."""
    if isinstance(given, str):
        given = given.replace(",", " ").split()
    if not isinstance(given, Iterable) or isinstance(given, Mapping):
        raise Misfit("a list of names")
    return list(dict.fromkeys(text(each) for each in given))


def one_of(*choices: str) -> Reader:
    """Reads one of these words."""

    def read(given: object) -> str:
        word = str(given).strip()
        if word not in choices:
            raise Misfit(f"one of {', '.join(choices)}", did_you_mean(word, choices))
        return word

    return read


def dialect(given: object) -> int:
    """A major version of Sidekiq to write like: 6, 7 or 8."""
    number = _number(given, int)
    if number not in (6, 7, 8):
        raise Misfit("6, 7 or 8")
    return int(number)


def log_level(given: object) -> str:
    """debug, info, warn, error or fatal."""
    if not isinstance(given, str) or parse_level(given) is None:
        raise Misfit(f"one of {', '.join(LEVELS)}", did_you_mean(str(given), LEVELS))
    return given.strip().lower()


def redis_url(given: object) -> RedisOptions:
    """Where Redis is; the message of a misfit shows no password."""
    return RedisOptions.from_url(text(given))


def queues(given: object) -> list[Share]:
    """Queues with their weights in any form that Sidekiq takes; a single text is cut at blanks."""
    return parse_queues(given.split() if isinstance(given, str) else given)


def capsules(given: object) -> CapsuleOptions:
    """Name to `queues` and `concurrency`, what is left out left out."""
    if not isinstance(given, Mapping):
        raise Misfit("a mapping such as {single: {queues: [serial], concurrency: 1}}")
    return {str(name): _capsule(str(name), options) for name, options in given.items()}


_CAPSULE_READERS: Final[dict[str, Reader]] = {"queues": queues, "concurrency": whole_number(1)}


def _capsule(name: str, options: object) -> dict[str, object]:
    if not isinstance(options, Mapping):
        raise Misfit(f"a mapping, with queues and concurrency for each capsule (capsule {name!r} has none)")
    found: dict[str, object] = {}
    for key, value in options.items():
        if key not in _CAPSULE_READERS:
            raise InvalidConfig(
                f"capsule {name!r} has an unknown key {key!r}{did_you_mean(str(key), _CAPSULE_READERS)} "
                f"(a capsule has queues and concurrency)"
            )
        if value is not None:
            found[key] = _read_in_capsule(name, key, value)
    return found


def _read_in_capsule(name: str, key: str, value: object) -> object:
    try:
        return _CAPSULE_READERS[key](value)
    except Misfit as misfit:
        raise InvalidConfig(f"{key} of capsule {name!r} must be {misfit}, got {shown(value)}") from None


def shown(value: object) -> str:
    """The value for an error message, cut short."""
    try:
        text_shown = repr(value)
    except ValueError:  # a whole number longer than Python writes out
        return "a huge number"
    return text_shown if len(text_shown) <= SHOWN else text_shown[:SHOWN] + "…"


def _number(given: object, kind: type[int] | type[float]) -> int | float | None:
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        return None
    try:
        number = kind(given)
    except (ValueError, OverflowError):
        return None
    return number if isinstance(given, str) or number == given else None
