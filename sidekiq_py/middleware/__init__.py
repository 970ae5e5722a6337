"""Middleware chains, server and client. Ruby twin: lib/sidekiq/middleware."""

from __future__ import annotations

from sidekiq_py.middleware.chain import (
    CLIENT_LINK_TAKES,
    SERVER_LINK_TAKES,
    CallNext,
    Chain,
    ClientMiddleware,
    ServerMiddleware,
    compose,
)

__all__ = [
    "CLIENT_LINK_TAKES",
    "SERVER_LINK_TAKES",
    "CallNext",
    "Chain",
    "ClientMiddleware",
    "ServerMiddleware",
    "compose",
]
