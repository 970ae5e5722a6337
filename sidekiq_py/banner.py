"""What the server says of itself: the summary at boot and the one at the end.

Pure text; who starts and stops the server logs it.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from sidekiq_py.capsule import Capsule
from sidekiq_py.config import Config
from sidekiq_py.redis_connection import ServerInfo
from sidekiq_py.version import VERSION


def boot_lines(
    config: Config,
    server: ServerInfo,
    handlers: Sequence[str],
    *,
    identity: str,
    binds: Mapping[str, str] | None = None,
) -> list[str]:
    """The boot summary, one fact group a line. No password is in it.

    `handlers` are job class names; they are listed when verbose. `binds` says what listens where:
    `{"metrics": "http://0.0.0.0:9394/metrics"}`.
    """
    count = f"{len(handlers)} handler{'' if len(handlers) == 1 else 's'}"
    names = f": {', '.join(sorted(handlers))}" if config.verbose and handlers else ""
    return [
        f"sidekiq-py {VERSION}, Python {platform.python_version()}, gevent {version('gevent')}",
        f"environment {config.environment}, tag {config.tag or '-'}, identity {identity}",
        f"{_introduce(server)} at {config.redis.masked_url}, "
        f"round trip {server.rtt_us / 1000:.2f} ms, "
        f"maxmemory-policy {server.maxmemory_policy or 'unknown'}",
        *[f"{_describe(each)}" for each in config.capsules.values()],
        f"{count}{names}",
        *[f"{name} at {where}" for name, where in (binds or {}).items()],
    ]


def _introduce(server: ServerInfo) -> str:
    return f"{server.name or 'redis'} {server.version or '(version unknown)'}"


def _describe(capsule: Capsule) -> str:
    weighted = capsule.mode == "weighted"
    queues = [f"{name} {max(weight, 1)}" if weighted else name for name, weight in capsule.weights.items()]
    return (
        f"capsule {capsule.name}: {capsule.concurrency} at once, {capsule.mode} order, "
        f"queues {', '.join(queues)}"
    )


def farewell(*, done: int, failed: int, requeued: int, uptime: float, stopping: float) -> str:
    """The last line: jobs of this process's whole life, the seconds it lived and those it took to stop."""
    return (
        f"Bye! {done} done, {failed} failed, {requeued} pushed back; "
        f"up {uptime:.1f} s, stopped in {stopping:.1f} s"
    )


def last_words(held_by: Mapping[str, Any] | None, running: int, trouble: BaseException | None) -> str:
    """Where it takes the last resort to end: which job kept the process, and where those are that ran."""
    reason = "the process did not stop in time"
    if held_by is not None:
        jid, job_class = held_by.get("jid", "?"), held_by.get("class", "?")
        reason = f"a job did not let the process stop (jid={jid} class={job_class})"
    if trouble is not None:
        return f"{reason}; jobs stay claimed until a rescue: {trouble}"
    return f"{reason}; " + ("what ran is back on its queue" if running else "no job ran any more")
