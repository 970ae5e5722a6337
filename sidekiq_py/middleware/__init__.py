"""Middleware chains, server and client. Ruby twin: lib/sidekiq/middleware."""

from __future__ import annotations

from sidekiq_py.middleware.chain import CallNext, Chain, ClientMiddleware, ServerMiddleware, compose

__all__ = ["CallNext", "Chain", "ClientMiddleware", "ServerMiddleware", "compose"]
