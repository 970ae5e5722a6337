"""What Ruby's own methods and operators answer, for the plain values a config file can hold."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Final, TypeAlias

Value: TypeAlias = str | int | float | bool | None

_INTEGER = re.compile(r"\s*([+-]?\d+(?:_\d+)*)\s*", re.ASCII)
_OCTAL = re.compile(r"^([+-]?0)(?=[0-9_])")
_FLOAT = re.compile(r"\s*([+-]?\d+(?:_\d+)*(?:\.\d+(?:_\d+)*)?(?:[eE][+-]?\d+)?)\s*", re.ASCII)


class CannotEvaluate(ValueError):
    """The expression is understood, but has no value now: Ruby would raise too."""


def truthy(value: Value) -> bool:
    """Ruby's truth: nil and false are false, `0` and `""` are true."""
    return value is not None and value is not False


def inspect(value: Value) -> str:
    """The value as Ruby shows it."""
    return f'"{value}"' if isinstance(value, str) else to_s(value) or "nil"


def to_s(value: Value) -> str:
    """The value as `<%= … %>` writes it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    # Ruby writes 1e+20 as 1.0e+20.
    return re.sub(r"^(-?\d)e", r"\1.0e", str(value)) if isinstance(value, float) else str(value)


def operate(name: str, left: Value, right: Value) -> Value:
    """`left name right`, for ==, != and the operators on two numbers or two strings."""
    if name in _EQUALITY:
        return (left == right and (type(left) is type(right) or _numbers(left, right))) is _EQUALITY[name]
    texts = isinstance(left, str) and isinstance(right, str) and name in _ON_TEXTS
    if not texts and not _numbers(left, right):
        raise CannotEvaluate(f"{inspect(left)} {name} {inspect(right)} has no value")
    try:
        return _OPERATORS[name](left, right)
    except ZeroDivisionError:
        raise CannotEvaluate("it divides by 0") from None


def call(name: str, value: Value) -> Value:
    """`value.name` of a method in METHODS."""
    return METHODS[name](value)


def _numbers(*values: Value) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _divide(left: int | float, right: int | float) -> int | float:
    whole = isinstance(left, int) and isinstance(right, int)
    return left // right if whole else left / right  # whole numbers round down, in Ruby as here


_EQUALITY: Final = {"==": True, "!=": False}
_ON_TEXTS: Final = frozenset({"+", "<", ">", "<=", ">="})
_OPERATORS: Final[dict[str, Callable[..., Value]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _divide,
    "%": operator.mod,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


def _to_i(value: Value) -> Value:
    if isinstance(value, str):
        match = _INTEGER.match(value)
        return int(match[1]) if match else 0
    return 0 if value is None else int(_number("to_i", value))


def _to_f(value: Value) -> Value:
    if isinstance(value, str):
        match = _FLOAT.match(value)
        return float(match[1]) if match else 0.0
    return 0.0 if value is None else float(_number("to_f", value))


def _number(method: str, value: Value) -> int | float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise CannotEvaluate(f"{inspect(value)} has no method .{method}")


def _integer(value: Value) -> Value:
    if not isinstance(value, str):
        return int(_number("to_int", value))
    digits = _OCTAL.sub(r"\1o", value.strip())
    try:
        return int(digits, 0)  # Ruby too reads 0x1f and 0b11
    except ValueError:
        raise CannotEvaluate(f"Integer() can't read {inspect(value)}") from None


def _float(value: Value) -> Value:
    if isinstance(value, str):
        match = _FLOAT.fullmatch(value)
        if match is None:
            raise CannotEvaluate(f"Float() can't read {inspect(value)}")
        return float(match[1])
    return float(_number("to_f", value))


def _of_text(name: str, change: Callable[[str], Value]) -> Callable[[Value], Value]:
    def method(value: Value) -> Value:
        if not isinstance(value, str):
            raise CannotEvaluate(f"{inspect(value)} has no method .{name}")
        return change(value)

    return method


def _blank(value: Value) -> bool:
    return not truthy(value) or (isinstance(value, str) and not value.strip())


CONVERSIONS: Final[dict[str, Callable[[Value], Value]]] = {
    "Integer": _integer,
    "Float": _float,
    "String": to_s,
}

METHODS: Final[dict[str, Callable[[Value], Value]]] = {
    "to_i": _to_i,
    "to_f": _to_f,
    "to_s": to_s,
    "to_sym": _of_text("to_sym", str),
    "strip": _of_text("strip", str.strip),
    "chomp": _of_text("chomp", lambda text: text.removesuffix("\n").removesuffix("\r")),
    "downcase": _of_text("downcase", str.lower),
    "upcase": _of_text("upcase", str.upper),
    "empty?": _of_text("empty?", lambda text: not text),
    "nil?": lambda value: value is None,
    "blank?": _blank,
    "present?": lambda value: not _blank(value),
    "presence": lambda value: None if _blank(value) else value,
    "freeze": lambda value: value,
}
