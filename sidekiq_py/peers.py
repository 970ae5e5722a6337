"""Who else works on this Redis: the live processes, Ruby's and ours, and the dialect they ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from sidekiq_py import keys
from sidekiq_py.clock import Clock
from sidekiq_py.dialect import UNKNOWN, Dialect
from sidekiq_py.errors import RedisAuthError, RedisDown, RedisError

if TYPE_CHECKING:
    from sidekiq_py.redis_connection import Redis

PYTHON_LABEL: Final = "python"  # in `info.labels` of every process of ours
ASK_EVERY: Final = 60.0  # seconds; a process that stops beating is gone from Redis after as long


@dataclass(frozen=True, slots=True)
class Peer:
    """One live server process, as its heartbeat describes it. No version: Sidekiq 6, or 7.0.1 and before."""

    identity: str
    version: str | None
    labels: tuple[str, ...]

    @property
    def is_python(self) -> bool:
        return PYTHON_LABEL in self.labels


class _Info(msgspec.Struct):
    """The part of a process's `info` that is read here."""

    version: str | None = None
    labels: tuple[str, ...] = ()


_read_info = msgspec.json.Decoder(_Info).decode


def live_peers(redis: Redis) -> list[Peer]:
    """The processes whose heartbeat has not expired. Reads `processes` and each `info`; two round trips."""
    identities = sorted(
        identity.decode(errors="replace") for identity in redis.call("SMEMBERS", keys.PROCESSES)
    )
    infos = redis.pipeline([("HGET", identity, "info") for identity in identities])
    return [
        Peer(identity, info.version, info.labels)
        for identity, text in zip(identities, infos, strict=True)
        if (info := _parse(text)) is not None
    ]


def _parse(text: object) -> _Info | None:
    """None for a process that is gone, or whose info is no such thing."""
    if not isinstance(text, bytes):
        return None
    try:
        return _read_info(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


class DialectWatch:
    """The dialect of the oldest live Ruby process, or float seconds when there is none; asked once a minute.

    A Redis that doesn't let us look is no reason to fail: then too we write what all versions read.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or Clock()
        self._seen = UNKNOWN
        self._ask_at = float("-inf")

    def current(self, redis: Redis) -> Dialect:
        """The dialect to write now. Raises RedisDown when Redis has to be asked and can't answer."""
        now = self._clock.monotonic()
        if now >= self._ask_at:
            self._seen = _spoken(redis)
            self._ask_at = now + ASK_EVERY
        return self._seen


def _spoken(redis: Redis) -> Dialect:
    try:
        peers = _read_twice(redis)
    except (RedisError, RedisAuthError):  # a tight ACL
        return UNKNOWN
    return Dialect.of_versions(peer.version for peer in peers if not peer.is_python) or UNKNOWN


def _read_twice(redis: Redis) -> list[Peer]:
    try:
        return live_peers(redis)
    except RedisDown:  # reading again harms nobody, and a stale connection is the usual cause
        return live_peers(redis)
