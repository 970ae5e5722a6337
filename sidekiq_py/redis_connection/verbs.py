"""What a part may ask of Redis: three verbs, whether it holds one connection or a pool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

from sidekiq_py.errors import InvalidConfig
from sidekiq_py.scripts import Arg, Script
from sidekiq_py.user_code import name_of

__all__ = ["Arg", "Command", "Redis", "Reply", "usable"]

Reply: TypeAlias = Any  # bytes, int, None, or a list of these; errors are raised
Command: TypeAlias = Sequence[Arg]


class Redis(Protocol):
    """Satisfied by RedisConnection and RedisPool. Nothing is ever sent twice, except a script unknown so far.

    All verbs raise RedisDown, RedisAuthError or RedisError.
    """

    def call(self, *command: Arg) -> Reply:
        """One command, one reply."""

    def pipeline(self, commands: Sequence[Command]) -> list[Reply]:
        """Many commands in one round trip, not atomic; an error reply stands in its slot as an exception.

        A `script.command(…)` that the server doesn't know is run after the others, in a second round trip.
        """

    def run_script(self, script: Script, keys: Sequence[str], args: Sequence[Arg] = ()) -> Reply:
        """EVALSHA; EVAL when the server doesn't know the script."""


def usable(redis: Redis) -> Redis:
    """What was given as the Redis to work on. InvalidConfig for anything else, as a redis-py client."""
    if hasattr(redis, "call") and hasattr(redis, "run_script"):
        return redis
    raise InvalidConfig(
        f"the Redis to work on is a RedisPool, got a {name_of(type(redis))}, which may send "
        "a command twice. Write RedisPool(RedisOptions.from_url('redis://localhost:6379/0')), with both from "
        "sidekiq_py.redis_connection; a Client also takes the URL itself"
    )
