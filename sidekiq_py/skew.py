"""One clock for all who share a Redis: Redis' own, where this machine's is wrong by more than a second.

A schedule is full of moments that others wrote. Who goes by a clock that is an hour fast runs their jobs an
hour early, and its own an hour late.
"""

from __future__ import annotations

import logging
from typing import Final

from sidekiq_py.clock import Clock
from sidekiq_py.redis_connection.server_time import ServerTime

logger = logging.getLogger("sidekiq")

MOST_SKEW: Final = 1.0  # seconds; below that a clock is left alone, so that an answer's delay never moves it


class SkewWatch:
    """Sets `clock.skew` from what each beat hears.

    One log line when this machine's clock goes wrong, one when it is right again.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def learn(self, heard: ServerTime) -> None:
        """Take in an answer that was compared with this machine's clock."""
        skew = heard.skew
        was_wrong = self._clock.skew != 0.0
        if abs(skew) - heard.round_trip / 2 > MOST_SKEW:
            self._clock.skew = skew
            if not was_wrong:
                logger.warning("%s", _sentence(skew))
        elif was_wrong and abs(skew) + heard.round_trip / 2 <= MOST_SKEW:
            self._clock.skew = 0.0
            logger.info("this machine's clock agrees with Redis' again")


def _sentence(skew: float) -> str:
    direction = "ahead of" if skew > 0 else "behind"
    return (
        f"Redis' clock is {abs(skew):.1f} s {direction} this machine's: this process goes by "
        "Redis' from now on; other programs here run and schedule jobs at wrong times until NTP sets it right"
    )
