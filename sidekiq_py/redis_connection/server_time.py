"""What time it is for Redis, and how long it takes to hear that."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sidekiq_py.redis_connection.connection import RedisConnection


class ServerTime(NamedTuple):
    """One answer to TIME. The shorter the round trip, the more exact is the skew: half of it may be wrong."""

    round_trip: float  # seconds
    skew: float  # seconds; positive when the server's clock is ahead of ours


def read_time(connection: RedisConnection, now: Callable[[], float] = time.time) -> ServerTime:
    """Ask once. The server's clock is taken to have been read at the middle of the round trip."""
    sent = time.monotonic()
    seconds, microseconds = connection.call("TIME")
    round_trip = time.monotonic() - sent
    return ServerTime(round_trip, int(seconds) + int(microseconds) / 1_000_000 - (now() - round_trip / 2))
