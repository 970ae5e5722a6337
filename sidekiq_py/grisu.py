"""The digits that the json library beside Sidekiq 8 writes for a float.

It finds them with Grisu2 (Florian Loitsch, "Printing Floating-Point Numbers Quickly and Accurately with
Integers", 2010): fast, always read back equal, but for one float in a thousand not the shortest or not the
closest digits. Whoever wants its bytes has to take the same steps. Arithmetic is that of 64-bit integers.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import Final

_FIRST_POWER: Final = -348  # of ten; every eighth one is used, so that few have to be kept
_STEP: Final = 8
_POWERS: Final = 87
_LOG10_OF_2: Final = 0.30102999566398114
_LOWEST, _HIGHEST = -60, -32  # binary exponents between which digits can be cut off with shifts
_HIDDEN_BIT: Final = 1 << 52
_HALF: Final = 1 << 63


def digits_of(number: float) -> tuple[str, int]:
    """Digits of a positive finite float, and the power of ten that the last of them stands for."""
    fraction, exponent = _parts(number)
    upper = 2 * fraction + 1
    shift = 64 - upper.bit_length()
    upper <<= shift
    scale = exponent - 1 - shift  # the binary exponent that all three share
    # Below a power of two the floats lie twice as close.
    gap = 2 if fraction == _HIDDEN_BIT else 1
    lower = ((fraction << gap) - 1) << (exponent - gap - scale)
    middle = fraction << (exponent - scale)

    power, power_scale, ten = _power_for(scale)
    low, value, high = ((part * power + _HALF) >> 64 for part in (lower, middle, upper))
    return _cut(low + 1, value, high - 1, bits=-(scale + power_scale + 64), ten=-ten)


def _parts(number: float) -> tuple[int, int]:
    """The integer and the binary exponent that make the float."""
    (bits,) = struct.unpack("<Q", struct.pack("<d", number))
    exponent, fraction = divmod(bits, _HIDDEN_BIT)
    return (fraction + _HIDDEN_BIT, exponent - 1075) if exponent else (fraction, -1074)


def _power_for(scale: int) -> tuple[int, int, int]:
    """A power of ten that brings numbers of this binary exponent into reach: 64 bits, exponent, which one."""
    guess = int(-(scale + _POWERS) * _LOG10_OF_2)
    index = int((guess - _FIRST_POWER) / _STEP)
    while True:
        power, power_scale = _power(index)
        reached = scale + power_scale + 64
        if _LOWEST <= reached <= _HIGHEST:
            return power, power_scale, _FIRST_POWER + _STEP * index
        index += 1 if reached < _LOWEST else -1


@cache
def _power(index: int) -> tuple[int, int]:
    """A power of ten, rounded to 64 bits, and its binary exponent."""
    ten = _FIRST_POWER + _STEP * index
    top, bottom = (10**ten, 1) if ten >= 0 else (1, 10**-ten)
    scale = top.bit_length() - bottom.bit_length() - 64
    while True:
        above, below = (top, bottom << scale) if scale >= 0 else (top << -scale, bottom)
        rounded = (2 * above + below) // (2 * below)
        if rounded.bit_length() == 64:
            return rounded, scale
        scale += rounded.bit_length() - 64


def _cut(low: int, value: int, high: int, *, bits: int, ten: int) -> tuple[str, int]:
    """Digits of `high`, until what is left fits between it and `low`; then down towards `value`."""
    room, above = high - low, high - value
    whole, rest = high >> bits, high & ((1 << bits) - 1)
    text = ""
    for kappa in range(9, -1, -1):
        digit, whole = divmod(whole, 10**kappa)
        if digit or text:
            text += str(digit)
        left = (whole << bits) + rest
        if left <= room:
            return _rounded(text, room, left, unit=10**kappa << bits, above=above), ten + kappa
    while True:
        rest, room, above, kappa = rest * 10, room * 10, above * 10, kappa - 1
        digit, rest = rest >> bits, rest & ((1 << bits) - 1)
        if digit or text:
            text += str(digit)
        if rest < room:
            return _rounded(text, room, rest, unit=1 << bits, above=above), ten + kappa


def _rounded(text: str, room: int, left: int, *, unit: int, above: int) -> str:
    """The last digit lowered as long as that brings the whole closer to the value."""
    last = int(text)
    while (
        left < above and room - left >= unit and (left + unit < above or above - left > left + unit - above)
    ):
        last -= 1
        left += unit
    return str(last)
