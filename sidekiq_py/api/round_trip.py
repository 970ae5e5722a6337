"""Reading what others may have filled with anything: many keys in one round trip, texts, counters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from sidekiq_py.errors import RedisError
from sidekiq_py.redis_connection import Command, Redis, usable


def read(redis: Redis, commands: Sequence[Command]) -> list[Any]:
    """A reply for each command, None where the key holds another type than Sidekiq's.

    Raises RedisDown and RedisAuthError.
    """
    return [_readable(reply) for reply in usable(redis).pipeline(commands)]


def replies(redis: Redis, commands: Sequence[Command]) -> list[Any]:
    """A reply for each command, in one round trip that a full Redis serves too. Raises the first error."""
    found = redis.pipeline(commands)
    for reply in found:
        if isinstance(reply, Exception):
            raise reply
    return found


def _readable(reply: Any) -> Any:
    if isinstance(reply, RedisError):
        return None
    if isinstance(reply, Exception):
        raise reply
    return reply


def names(members: Sequence[bytes] | None) -> list[str]:
    """A set's members as sorted text."""
    return sorted(member.decode(errors="replace") for member in members or ())


def json_object(text: bytes | None) -> dict[str, Any]:
    """The object in a JSON text; empty for anything else."""
    try:
        found = msgspec.json.decode(text or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def whole_number(text: bytes | None) -> int:
    """A counter; 0 when it is missing or no number."""
    try:
        return int(text or 0)
    except ValueError:
        return 0
