"""Is this a Redis we can work with? Asked once at boot, and by `doctor`."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sidekiq_py.errors import RedisAuthError, RedisError
from sidekiq_py.redis_connection.server_time import read_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from sidekiq_py.redis_connection.connection import RedisConnection

OLDEST: Final = (6, 2)  # LMOVE, BLMOVE and ZRANGE BYSCORE came with 6.2; Sidekiq 7 asks for the same
ROUND_TRIPS: Final = 3  # the fastest of these is the round-trip time


@dataclass(frozen=True, kw_only=True)
class ServerInfo:
    """What the server says about itself. None where the ACL denies INFO."""

    name: str | None = None  # "redis" or "valkey"
    version: str | None = None  # its own numbering: valkey 9.1.2 calls itself redis 7.2.4 as well
    maxmemory_policy: str | None = None
    role: str | None = None  # "master" or "slave"
    uptime: int | None = None  # seconds
    rtt_us: int = 0  # microseconds
    clock_skew: float = 0.0  # seconds; positive when the server's clock is ahead of ours
    warnings: list[str] = field(default_factory=list)  # sentences for the log at boot


def check_server(connection: RedisConnection, now: Callable[[], float] = time.time) -> ServerInfo:
    """Ask the server who it is. RedisError when it can't serve us: older than 6.2, or a replica."""
    facts = _info(connection)
    heard = min(read_time(connection, now) for _ in range(ROUND_TRIPS))
    name = "valkey" if "valkey_version" in facts else "redis" if facts else None
    info = ServerInfo(
        name=name,
        version=facts.get(f"{name}_version"),
        maxmemory_policy=facts.get("maxmemory_policy"),
        role=facts.get("role"),
        uptime=int(facts["uptime_in_seconds"]) if "uptime_in_seconds" in facts else None,
        rtt_us=round(heard.round_trip * 1_000_000),
        clock_skew=heard.skew,
    )
    _refuse(info, connection)
    info.warnings.extend(_warnings(info))
    return info


def _info(connection: RedisConnection) -> dict[str, str]:
    try:
        reply: bytes = connection.call("INFO")
    except RedisAuthError as error:
        if not str(error).startswith("NOPERM"):
            raise
        return {}
    except RedisError:  # renamed or disabled, as some hosters do
        return {}
    lines = reply.decode(errors="replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))


def _refuse(info: ServerInfo, connection: RedisConnection) -> None:
    if info.version and info.name == "redis" and _numbers(info.version) < OLDEST:
        raise RedisError(
            f"the server at {connection.address} is Redis {info.version}: "
            "sidekiq-py needs Redis 6.2 or newer, or Valkey"
        )
    if info.role not in {None, "master"}:
        raise RedisError(
            f"the server at {connection.address} is a replica, which can't be written to: "
            "use the address of its master, or Sentinel's"
        )


def _warnings(info: ServerInfo) -> list[str]:
    warnings = []
    if info.maxmemory_policy not in {None, "noeviction"}:
        warnings.append(
            f"Redis may throw jobs away when its memory is full: maxmemory-policy is "
            f"{info.maxmemory_policy!r}, set it to 'noeviction'"
        )
    return warnings


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
