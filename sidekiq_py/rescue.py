"""Brings back the jobs of processes that died without putting them back themselves.

Who owns claims is in the registry `sidekiq-py:processes`; who lives is told by heartbeats alone, as for
Ruby's Web. Nobody judges others who was cut off from Redis itself: after an outage every heartbeat has
expired, and a hasty sweeper would take a whole fleet's running jobs.

Ruby twin: the recovery of Pro's super_fetch.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec

from sidekiq_py import keys
from sidekiq_py.errors import RedisAuthError, RedisError
from sidekiq_py.failpoint import failpoint
from sidekiq_py.redis_connection import Redis
from sidekiq_py.scripts import load

logger = logging.getLogger("sidekiq")

BATCH: Final = 100  # payloads a script moves at most, so that Redis is never held for long
SCAN_PAGE: Final = 1000

_RESCUE = load("rescue")
_CLAIM = re.compile(re.escape(keys.CLAIM_PREFIX) + r"([^|]+)\|(.*)", re.DOTALL)


class Owner(msgspec.Struct, kw_only=True):
    """An entry of the registry: the process that owns claim lists."""

    hostname: str = ""
    pid: int = 0
    started_at: float = 0.0
    is_alone: bool = False  # it runs one suspect at a time, nothing else
    queues: list[str] = msgspec.field(default_factory=list)


@dataclass
class Rescued:
    """What a rescue found: how many jobs went back to their queues, and those held back as suspects."""

    requeued: int = 0
    suspects: list[tuple[str, bytes]] = field(default_factory=list)


def owners(redis: Redis) -> dict[str, Owner]:
    """All processes that registered as owners of claims, by identity. An unreadable entry has no queues."""
    words = redis.call("HGETALL", keys.CLAIM_OWNERS)
    pairs = zip(words[::2], words[1::2], strict=True)
    return {identity.decode("utf-8", "replace"): _owner(text) for identity, text in pairs}


def _owner(text: bytes) -> Owner:
    try:
        return msgspec.json.decode(text, type=Owner)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Owner()


def orphans(redis: Redis) -> dict[str, Owner]:
    """The owners of claims that don't beat, by identity."""
    found = owners(redis)
    if not found:
        return {}
    alive = redis.pipeline([("EXISTS", identity) for identity in found])
    return {
        identity: owner for (identity, owner), beats in zip(found.items(), alive, strict=True) if beats == 0
    }


def unregistered(redis: Redis) -> dict[str, Owner]:
    """Owners of claims who neither beat nor are in the registry: damage of a restore. Scans all keys."""
    registered = owners(redis)
    found: dict[str, Owner] = {}
    for key in _scan(redis, f"{keys.CLAIM_PREFIX}*"):
        match = _CLAIM.fullmatch(key)
        if match and match[1] not in registered and not redis.call("EXISTS", match[1]):
            found.setdefault(match[1], Owner()).queues.append(match[2])
    return found


def _scan(redis: Redis, pattern: str) -> Iterator[str]:
    cursor: bytes = b"0"
    while True:
        cursor, page = redis.call("SCAN", cursor, "MATCH", pattern, "COUNT", SCAN_PAGE)
        yield from (key.decode("utf-8", "replace") for key in page)
        if cursor == b"0":
            return


def _nobody(_raw: bytes) -> bool:
    return False


def rescue(
    redis: Redis,
    identity: str,
    queues: Iterable[str],
    *,
    is_suspect: Callable[[bytes], bool] = _nobody,
    was_seen: bool = False,
    stays_registered: bool = False,
) -> Rescued | None:
    """Put the claimed jobs of a dead process back at the head of their queues, in their old order.

    Suspects, told by their payloads, stay claimed and are returned. The registry entry goes when nothing is
    claimed any more, unless it `stays_registered` for another look. None when the process lives after all,
    going by its heartbeat unless its death `was_seen`. Any number of rescuers may race or be killed.
    """
    rescued, is_complete = Rescued(), True
    heartbeat = keys.NOBODY if was_seen else identity
    for queue_name in queues:
        try:
            if not _rescue_queue(redis, (heartbeat, identity, queue_name), is_suspect, into=rescued):
                return None
        except RedisError as error:  # a key of another type; the other queues' jobs come back all the same
            is_complete = False
            logger.error(
                "jobs of %s stay claimed, they can't go back to %r: %s",
                *(identity, keys.queue(queue_name), error),
            )
    if is_complete and not rescued.suspects and not stays_registered:
        redis.pipeline([("HDEL", keys.CLAIM_OWNERS, identity), ("SREM", keys.PROCESSES, identity)])
    return rescued


def _rescue_queue(
    redis: Redis, place: tuple[str, str, str], is_suspect: Callable[[bytes], bool], *, into: Rescued
) -> bool:
    heartbeat, identity, queue_name = place
    claim = keys.claim(identity, queue_name)
    claimed: list[bytes] = redis.call("LRANGE", claim, 0, -1)
    innocents = []
    for raw in claimed:
        if is_suspect(raw):
            into.suspects.append((queue_name, raw))
        else:
            innocents.append(raw)
    for start in range(0, len(innocents), BATCH):
        batch = innocents[start : start + BATCH]
        moved: int = redis.run_script(_RESCUE, [heartbeat, claim, keys.queue(queue_name)], batch)
        if moved < 0:
            return False
        failpoint("rescue.reply")
        into.requeued += moved
    return True


def server_uptime(redis: Redis) -> float:
    """Seconds that this Redis has been up; endless where INFO is denied."""
    try:
        info: bytes = redis.call("INFO", "server")
    except (RedisAuthError, RedisError):
        return float("inf")
    found = re.search(rb"uptime_in_seconds:(\d+)", info)
    return float(found[1]) if found else float("inf")
