"""May this user do all that a server does? Asked once at boot, not found out with the first failing job."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from sidekiq_py import keys
from sidekiq_py.errors import RedisAuthError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidekiq_py.redis_connection.connection import RedisConnection
    from sidekiq_py.redis_connection.verbs import Arg, Command

LIFE: Final = 60  # seconds until Redis itself removes what a trial that was cut short left behind

# Behind the key: arguments with which the command changes nothing, is refused for another reason, or adds "",
# which the next one removes.
TRIALS: Final[tuple[tuple[str, tuple[Arg, ...]], ...]] = (
    *((name, ()) for name in ("EXISTS", "GET", "DEL")),
    *(("SET", ("", "NX", "XX")), ("INCRBY", ("x",)), ("BITFIELD", ("GET", "u8", 0))),
    *(("LLEN", ()), ("LRANGE", (0, 0))),
    *(("LPUSH", ("",)), ("RPOP", ()), ("RPUSH", ("",)), ("LREM", (0, ""))),
    *(("SADD", ("",)), ("SCARD", ()), ("SMEMBERS", ()), ("SMISMEMBER", ("",)), ("SREM", ("",))),
    *(("HSET", ("", "", "")), ("HGET", ("",)), ("HGETALL", ()), ("HDEL", ("",)), ("HINCRBY", ("", "x"))),
    *(("ZADD", ("XX", "NX", 0, "")), ("ZCARD", ()), ("ZSCORE", ("",)), ("ZRANGE", (0, 0))),
    *(("ZRANGEBYSCORE", (0, 0)), ("ZREM", ("",)), ("ZREMRANGEBYRANK", (0, 0)), ("ZREMRANGEBYSCORE", (0, 0))),
    *(("EXPIRE", (LIFE,)), ("UNLINK", ())),
)
PLACES: Final = (keys.QUEUES, keys.PROCESSES, keys.RETRY, keys.SCHEDULE, keys.DEAD, keys.STAT_PROCESSED)


def check_rights(connection: RedisConnection, *, identity: str, queues: Sequence[str]) -> None:
    """Try each command that a server sends, on a key of its own. RedisAuthError names those it may not run.

    One round trip. Redis: `sidekiq-py:rights:<random>`, which is gone afterwards.
    """
    scratch = keys.rights(secrets.token_hex(6))
    trials: list[Command] = [
        ("EXISTS", *PLACES, identity, keys.work(identity), *map(keys.queue, queues)),
        ("BLMOVE", scratch, scratch, "RIGHT", "LEFT", "no number"),
        *((name, scratch, *words) for name, words in TRIALS),
        *(("EVAL", "return 1", 0), ("EVALSHA", "0" * 40, 0), ("SCAN", 0), ("TIME",)),
    ]
    replies = connection.pipeline(trials)
    denied = [
        (str(trial[0]), str(reply))
        for trial, reply in zip(trials, replies, strict=True)
        if isinstance(reply, RedisAuthError)
    ]
    if denied:
        raise RedisAuthError(_sentence(connection, denied))


def _sentence(connection: RedisConnection, denied: list[tuple[str, str]]) -> str:
    who = connection.address.user
    name = connection.address.username or "default"
    if any(" key" in reply for _, reply in denied):
        return (
            f"Redis at {connection.address} doesn't let {who} at all keys of Sidekiq: "
            f"allow them with ACL SETUSER {name} ~*"
        )
    missing = sorted({command for command, _ in denied})
    return (
        f"Redis at {connection.address} doesn't let {who} run {', '.join(missing)}: "
        f"allow that with ACL SETUSER {name} {' '.join(f'+{each.lower()}' for each in missing)}"
    )
