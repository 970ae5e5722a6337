"""A Sidekiq server and client in Python, on one Redis with Ruby's.

    from sidekiq_py import job

    @job("HardJob", queue="default", retry=5)
    def hard_job(name: str, count: int = 1) -> None: ...

    hard_job.perform_async("bob", 5)

Importing this is cheap and changes nothing: no gevent, no redis-py, no patching.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sidekiq_py.client import Client
from sidekiq_py.errors import (
    ArgumentsMisfit,
    InvalidConfig,
    InvalidHandler,
    InvalidJob,
    InvalidPayload,
    JobTimeout,
    MaybeEnqueued,
    RedisAuthError,
    RedisDown,
    RedisError,
    Shutdown,
    SidekiqError,
    UnknownJobClass,
)
from sidekiq_py.job import Job, RunningJob, current_job, job
from sidekiq_py.payload import Payload
from sidekiq_py.version import VERSION

if TYPE_CHECKING:
    from sidekiq_py.config import Config, configure_client, configure_server
    from sidekiq_py.embedded import Embedded, configure_embed
    from sidekiq_py.run_async import run_async

__version__ = VERSION

__all__ = [
    "ArgumentsMisfit",
    "Client",
    "Config",
    "Embedded",
    "InvalidConfig",
    "InvalidHandler",
    "InvalidJob",
    "InvalidPayload",
    "Job",
    "JobTimeout",
    "MaybeEnqueued",
    "Payload",
    "RedisAuthError",
    "RedisDown",
    "RedisError",
    "RunningJob",
    "Shutdown",
    "SidekiqError",
    "UnknownJobClass",
    "__version__",
    "configure_client",
    "configure_embed",
    "configure_server",
    "current_job",
    "job",
    "run_async",
]

# A program that only declares jobs needs no configuration and no asyncio, and doesn't pay for their import.
# `job` must not come this way: loading the module of that name would put itself in the function's place.
_LATE = {
    "Config": "sidekiq_py.config",
    "Embedded": "sidekiq_py.embedded",
    "configure_client": "sidekiq_py.config",
    "configure_embed": "sidekiq_py.embedded",
    "configure_server": "sidekiq_py.config",
    "run_async": "sidekiq_py.run_async",
}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_LATE[name]), name)
    return found
