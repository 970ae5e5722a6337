"""Who this process is: what it tells Sidekiq's Web UI about itself, once, at boot."""

from __future__ import annotations

import os
import resource
import secrets
import socket
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sidekiq_py.capsule import Capsule
from sidekiq_py.config import Config
from sidekiq_py.payload import generate
from sidekiq_py.peers import PYTHON_LABEL
from sidekiq_py.version import VERSION

_STATM = Path("/proc/self/statm")


@dataclass(frozen=True)
class ProcessInfo:
    """The `info` of a process hash: every key of the newest Sidekiq, and the older ones others still read."""

    identity: str
    hostname: str
    pid: int
    started_at: float  # epoch seconds
    config: Config
    embedded: bool = False
    is_alone: bool = False  # runs one suspect at a time, nothing else

    @classmethod
    def of_this_process(
        cls, config: Config, *, now: float, embedded: bool = False, is_alone: bool = False
    ) -> ProcessInfo:
        """A new identity, `<hostname>:<pid>:<12 hex>`; two processes never share one."""
        hostname, pid = config.hostname or socket.gethostname(), os.getpid()
        return cls(
            identity=f"{hostname}:{pid}:{secrets.token_hex(6)}",
            hostname=hostname,
            pid=pid,
            started_at=now,
            config=config,
            embedded=embedded,
            is_alone=is_alone,
        )

    @property
    def concurrency(self) -> int:
        return self.config.total_concurrency

    @cached_property
    def json(self) -> bytes:
        config = self.config
        info: dict[str, Any] = {
            "hostname": self.hostname,
            "started_at": float(self.started_at),
            "pid": self.pid,
            "tag": config.tag,
            "concurrency": config.total_concurrency,  # 6.4 and 7.3 read it here, 8.1 in the hash
            "capsules": {name: _describe(capsule) for name, capsule in config.capsules.items()},
            "queues": config.all_queues,
            "weights": [capsule.weights for capsule in config.capsules.values()],
            "labels": list(dict.fromkeys([*config.labels, PYTHON_LABEL])),
            "identity": self.identity,
            "version": f"sidekiq-py {VERSION}",
            "embedded": self.embedded,
        }
        return generate(info)

    @cached_property
    def owner_json(self) -> bytes:
        """Its entry in the registry of those who own claims; see `rescue.Owner`."""
        return generate(
            {
                "hostname": self.hostname,
                "pid": self.pid,
                "started_at": float(self.started_at),
                "is_alone": self.is_alone,
                "queues": self.config.all_queues,
            }
        )

    def title(self, busy: int, *, quiet: bool) -> str:
        """What `ps` shows: Sidekiq's form, so that scripts which grep for "sidekiq" and "busy" still work."""
        words = ["sidekiq-py", VERSION, self.config.tag, f"[{busy} of {self.concurrency} busy]"]
        return " ".join([*words, "stopping"] if quiet else words)


def _describe(capsule: Capsule) -> dict[str, object]:
    return {"concurrency": capsule.concurrency, "mode": capsule.mode, "weights": capsule.weights}


def resident_kilobytes() -> int:
    """Memory of this process in RAM, kB; where the system doesn't say, the most it ever was."""
    try:
        return int(_STATM.read_text().split()[1]) * (os.sysconf("SC_PAGE_SIZE") // 1024)
    except (OSError, ValueError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak // 1024 if sys.platform == "darwin" else peak
