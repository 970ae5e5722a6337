"""What the server says of itself: the summary at boot and the one at the end.

Pure text; who starts and stops the server logs it.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from sidekiq_py.capsule import Capsule
from sidekiq_py.config import Config
from sidekiq_py.version import VERSION

_INDENT = "  "


@dataclass(frozen=True, kw_only=True)
class ServerInfo:
    """What Redis said of itself when we connected. `rtt` is one round trip in seconds."""

    name: str = "redis"  # or "valkey"
    version: str
    policy: str
    rtt: float

    @classmethod
    def from_info(cls, reply: bytes, rtt: float) -> ServerInfo:
        """From the reply to INFO, which some servers trim: what is missing reads `unknown`."""
        lines = reply.decode(errors="replace").splitlines()
        found = dict(line.split(":", 1) for line in lines if ":" in line)
        return cls(
            name=found.get("server_name", "redis"),
            version=found.get("valkey_version") or found.get("redis_version") or "unknown",
            policy=found.get("maxmemory_policy", "unknown"),
            rtt=rtt,
        )

    @property
    def warning(self) -> str | None:
        """A sentence for the log when Redis may throw jobs away."""
        if self.policy in ("noeviction", "unknown"):
            return None
        return (
            f"maxmemory-policy is {self.policy}: when memory runs out, {self.name} deletes jobs. "
            "Set it to noeviction"
        )


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
        f"{_INDENT}environment {config.environment}, tag {config.tag or '-'}, identity {identity}",
        f"{_INDENT}{server.name} {server.version} at {config.redis.masked_url}, "
        f"round trip {server.rtt * 1000:.2f} ms, maxmemory-policy {server.policy}",
        *[f"{_INDENT}{_describe(each)}" for each in config.capsules.values()],
        f"{_INDENT}{count}{names}",
        *[f"{_INDENT}{name} at {where}" for name, where in (binds or {}).items()],
    ]


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
