"""Which Sidekiq speaks on the other side, and so how we write timestamps.

Sidekiq 8 writes integer milliseconds and reads both forms; 6 and 7 write float seconds and show the year
58866 for milliseconds. Rule: a payload's own style comes first, then what the live Ruby processes speak,
and float seconds, which all three read right, when nobody is there to ask.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import IntEnum

from sidekiq_py.errors import InvalidConfig

_VERSION = re.compile(r"(\d+)")


class Dialect(IntEnum):
    """The major version of Sidekiq whose way of writing we follow."""

    SIX = 6
    SEVEN = 7
    EIGHT = 8

    @classmethod
    def of_versions(cls, versions: Iterable[str | None]) -> Dialect | None:
        """The oldest dialect among live Ruby processes' `info.version`; None when there are none.

        A process without a version is a 6.x (or 7.0.1 and before).
        """
        majors = [int(found[1]) if (found := _VERSION.match(text or "6")) else 6 for text in versions]
        return cls(min(max(min(majors), cls.SIX), cls.EIGHT)) if majors else None

    @classmethod
    def _missing_(cls, value: object) -> Dialect:
        raise InvalidConfig(
            f"dialect is the generation of Sidekiq to write like: 6, 7 or 8, or None to follow those seen in "
            f"Redis; got {value!r}"
        )

    @property
    def modern_floats(self) -> bool:
        """Whether exponents are spelt as the json library beside Sidekiq 8 spells them."""
        return self is Dialect.EIGHT

    def timestamp(self, now: float) -> float | int:
        """The moment `now` (epoch seconds) as this dialect writes it into a payload."""
        return milliseconds(now) if self is Dialect.EIGHT else seconds(now)


UNKNOWN = Dialect.SEVEN  # float seconds: the one form that 6.4, 7.3 and 8.1 all read right


def milliseconds(now: float) -> int:
    """Epoch milliseconds, an integer: how Sidekiq 8 tells a new timestamp from an old one."""
    return int(now * 1000)


def seconds(now: float) -> float:
    """Epoch seconds, always a float: an integer here would be read as milliseconds by Sidekiq 8."""
    return float(now)


def timestamp_like(reference: object, now: float, default: Dialect) -> float | int:
    """The moment `now` in the style of another timestamp of the same job, usually its `created_at`."""
    if isinstance(reference, bool) or not isinstance(reference, int | float):
        return default.timestamp(now)
    return seconds(now) if isinstance(reference, float) else milliseconds(now)
