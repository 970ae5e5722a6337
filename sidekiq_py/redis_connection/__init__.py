"""Redis, reached our way: nothing sent twice, errors that say what to do, no password ever shown.

Importing this loads no redis-py, which takes longer than all the rest of a client: a connection does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidekiq_py.redis_connection.options import RedisOptions
from sidekiq_py.redis_connection.pool import RedisPool
from sidekiq_py.redis_connection.rights import check_rights
from sidekiq_py.redis_connection.server_check import ServerInfo, check_server
from sidekiq_py.redis_connection.verbs import Arg, Command, Redis, Reply, usable

if TYPE_CHECKING:
    from sidekiq_py.redis_connection.connection import RedisConnection

__all__ = [
    "Arg",
    "Command",
    "Redis",
    "RedisConnection",
    "RedisOptions",
    "RedisPool",
    "Reply",
    "ServerInfo",
    "check_rights",
    "check_server",
    "usable",
]


def __getattr__(name: str) -> object:
    if name != "RedisConnection":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sidekiq_py.redis_connection.connection import RedisConnection

    return RedisConnection
