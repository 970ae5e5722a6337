"""Redis, reached our way: nothing sent twice, errors that say what to do, no password ever shown."""

from __future__ import annotations

from sidekiq_py.redis_connection.connection import RedisConnection
from sidekiq_py.redis_connection.options import RedisOptions
from sidekiq_py.redis_connection.pool import RedisPool
from sidekiq_py.redis_connection.server_check import ServerInfo, check_server
from sidekiq_py.redis_connection.verbs import Arg, Command, Redis, Reply

__all__ = [
    "Arg",
    "Command",
    "Redis",
    "RedisConnection",
    "RedisOptions",
    "RedisPool",
    "Reply",
    "ServerInfo",
    "check_server",
]
