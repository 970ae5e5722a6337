"""JSON spelt as Ruby spells it, and the question whether Ruby could read a text at all.

Sets in Redis are keyed by exact bytes. Ruby's `SortedEntry#reschedule` parses a member, writes it again and
moves *that*: when its spelling differs from ours, Redis gains a second member and the job runs twice.
Ruby twin: JSON.generate and JSON.parse with their default options.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from sidekiq_py.grisu import digits_of

MAX_NESTING = 100  # Ruby's JSON.generate and JSON.parse both refuse more

# Floats that msgspec and Ruby may spell differently: big, tiny, with an exponent, and for the newer json all
# but those of one or two decimals. Matching inside a string is harmless, it only costs the slow way.
_ODD_FLOAT = re.compile(rb"(?:^|[\[,:])-?(?:\d{11,}\.|[\d.]+e|0\.000)")
_ODD_MODERN_FLOAT = re.compile(rb"(?:^|[\[,:])-?(?:\d{11,}\.|[\d.]+e|\d+\.\d{3})")
# Possessive, for a way back kept for each character of a string takes a hundred times its size. And no number
# is looked at from its middle: with a million digits that would take hours.
_TO_TIDY = re.compile(
    rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[ \t\r\n]++'
    rb"|(?<!\d)-?(?:\d++(?:\.\d++)?+[eE][+-]?\d++|\d++\.\d++|(?<=-)0(?!\d))",
)
_encode = msgspec.json.encode


def generate(value: object, *, modern_floats: bool = False) -> bytes:
    """JSON text of plain data: no spaces, raw UTF-8, shortest floats, in Ruby's spelling.

    `modern_floats` chooses between the two generations of Ruby's json: the one beside Sidekiq 8 writes
    `1e+20` instead of `1.0e+20`, and now and then other digits (see `grisu`). Raises ValueError for NaN and
    Infinity, TypeError for what JSON can't say.
    """
    text = _encode(value)
    if (_ODD_MODERN_FLOAT if modern_floats else _ODD_FLOAT).search(text) is None:
        return text
    return "".join(_spell(value, modern_floats)).encode()


def _spell(value: object, modern: bool) -> Iterable[str]:
    if isinstance(value, float):
        yield float_text(value, modern=modern)
    elif isinstance(value, Mapping):
        yield "{"
        for position, (key, item) in enumerate(value.items()):
            yield ("," if position else "") + _encode(key).decode() + ":"
            yield from _spell(item, modern)
        yield "}"
    elif isinstance(value, list | tuple):
        yield "["
        for position, item in enumerate(value):
            yield "," if position else ""
            yield from _spell(item, modern)
        yield "]"
    else:
        yield _encode(value).decode()


def float_text(number: float, *, modern: bool = False) -> str:
    """One float as Ruby's Float#to_s (or, when `modern`, as json 2.10 and later) writes it."""
    if not math.isfinite(number):
        raise ValueError(f"{number} has no JSON form")
    sign = "-" if math.copysign(1.0, number) < 0 else ""
    if number == 0:
        return f"{sign}0.0"
    if modern:
        return sign + _modern(*_by_grisu(abs(number)))
    return sign + _classic(*_shortest(abs(number)))


def _shortest(number: float) -> tuple[str, int]:
    """Shortest digits that read back equal, and the power of ten of the first one."""
    mantissa, _, power = repr(number).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    leading_zeros = len(whole + fraction) - len(digits)
    return digits.rstrip("0"), int(power or 0) + len(whole) - 1 - leading_zeros


def _by_grisu(number: float) -> tuple[str, int]:
    """The same, with the digits that the json beside Sidekiq 8 finds."""
    digits, last = digits_of(number)
    return digits.rstrip("0"), last + len(digits) - 1


def _classic(digits: str, exponent: int) -> str:
    if _is_plain(digits, exponent, smallest=-4):
        return _plain(digits, exponent)
    return f"{digits[0]}.{digits[1:] or '0'}e{exponent:+03d}"


def _modern(digits: str, exponent: int) -> str:
    if _is_plain(digits, exponent, smallest=-9):
        return _plain(digits, exponent)
    return f"{digits[0]}{'.' + digits[1:] if digits[1:] else ''}e{exponent:+d}"


def _is_plain(digits: str, exponent: int, *, smallest: int) -> bool:
    """Whether Ruby writes the number without an exponent: neither tiny nor in need of zeros to fill up."""
    return smallest <= exponent < 15 or 0 < exponent + 1 < len(digits)


def _plain(digits: str, exponent: int) -> str:
    if exponent < 0:
        return f"0.{'0' * (-exponent - 1)}{digits}"
    whole = digits[: exponent + 1].ljust(exponent + 1, "0")
    return f"{whole}.{digits[exponent + 1 :] or '0'}"


def tidy(text: bytes, *, modern_floats: bool | None = None) -> bytes:
    """The same JSON in Ruby's spelling: no white space, no needless escapes.

    `modern_floats` says which Ruby is going to read it, see `generate`; None when nobody knows, and then what
    either of them wrote stays as it is. Works on tokens, so that order, unknown keys and integers of any size
    stay too.
    """
    return _TO_TIDY.sub(lambda match: _tidy_token(match.group(), modern_floats), text)


def _tidy_token(token: bytes, modern_floats: bool | None) -> bytes:
    if token[0] == 0x22:  # a string
        return token if b"\\" not in token else _encode(msgspec.json.decode(token))
    if token[0] in b" \t\r\n":
        return b""
    return b"0" if token == b"-0" else _tidy_float(token, modern_floats)


def _tidy_float(token: bytes, modern: bool | None) -> bytes:
    number = float(token)
    if not math.isfinite(number):
        return token
    if modern is None and token == float_text(number, modern=True).encode():
        return token
    return float_text(number, modern=bool(modern)).encode()


def unreadable_by_ruby(text: bytes) -> str | None:
    """Why a Ruby process would lose this job when it parses and writes it again, or None when it would not.

    Ruby's poller takes an entry out of its set before it parses it, so such a text must never wait there.
    """
    try:
        depth = _depth(
            json.loads(text.decode(), object_pairs_hook=_unique_pairs, parse_int=len, parse_constant=_refuse)
        )
    except (ValueError, RecursionError) as error:
        return str(error)
    return f"nested {depth} deep, Ruby stops at {MAX_NESTING}" if depth > MAX_NESTING else None


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object names a key twice")
    return found


def _refuse(word: str) -> float:
    raise ValueError(f"{word} is not JSON")


def _depth(value: object) -> int:
    """Levels of nesting; raises ValueError at a number that overflowed to Infinity."""
    deepest, waiting = 0, [(value, 1)]
    while waiting:
        item, level = waiting.pop()
        if isinstance(item, float) and math.isinf(item):
            raise ValueError("a number is too large for a float")
        if isinstance(item, dict | list):
            deepest = max(deepest, level)
            waiting.extend(
                (child, level + 1) for child in (item.values() if isinstance(item, dict) else item)
            )
    return deepest
