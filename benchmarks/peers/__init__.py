"""Other Python queues: each in a virtual environment of its own, with its own client and its own worker.

A peer's application is `<name>_app.py` here. It is told where Redis is by REDIS_URL and how many jobs it may
run at once by CONCURRENCY, has a task that does nothing, and an `enqueue(count)`. Results are not stored, and
logs are at error level.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parent.parent / "build" / "benchmarks"


class PeerMissing(Exception):
    """It can't be installed here."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    name: str
    package: str  # whose version is told
    requirements: tuple[str, ...]
    worker: tuple[str, ...]  # its command; {c} is the concurrency
    queue: str  # the key whose arrival lets the worker begin
    until: tuple[str, ...]  # keys that are gone when all is done and acknowledged
    note: str = ""

    @property
    def home(self) -> Path:
        return ENVIRONMENTS / self.package

    def install(self) -> str:
        """Make its environment if there is none; the version. PeerMissing when that fails."""
        python = self.home / "bin" / "python"
        stamp = self.home / "requirements"
        try:
            if not stamp.exists() or stamp.read_text() != repr(self.requirements):
                subprocess.run([sys.executable, "-m", "venv", "--clear", str(self.home)], check=True)
                pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
                subprocess.run([*pip, *self.requirements], check=True, capture_output=True, text=True)
                stamp.write_text(repr(self.requirements))
            ask = f"from importlib.metadata import version; print(version({self.package!r}))"
            return subprocess.check_output([str(python), "-c", ask], text=True).strip()
        except (subprocess.CalledProcessError, OSError) as error:
            raise PeerMissing(f"{self.name} does not install here: {error}") from error

    def enqueue(self, count: int, redis_url: str) -> None:
        """As its users do it, from a process of its own."""
        code = f"import {self.package}_app as app; app.enqueue({count})"
        environ = self._environ(redis_url, concurrency=1)
        subprocess.run([str(self.home / "bin" / "python"), "-c", code], env=environ, cwd=HERE, check=True)

    @contextlib.contextmanager
    def start(self, redis_url: str, concurrency: int, log: Path) -> Iterator[int]:
        """A running worker's pid. Killed, with all its children, when the block ends."""
        command = [word.format(c=concurrency) for word in self.worker]
        with log.open("ab") as output:
            process = subprocess.Popen(
                [str(self.home / "bin" / command[0]), *command[1:]],
                env=self._environ(redis_url, concurrency),
                cwd=HERE,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            yield process.pid
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.wait()

    def _environ(self, redis_url: str, concurrency: int) -> dict[str, str]:
        own = {"REDIS_URL": redis_url, "CONCURRENCY": str(concurrency), "PYTHONDONTWRITEBYTECODE": "1"}
        return {**os.environ, **own, "PYTHONPATH": str(HERE)}


PEERS = (
    Peer(
        name="Dramatiq (gevent)",
        package="dramatiq",
        requirements=("dramatiq[redis,gevent]",),
        worker=("dramatiq-gevent", "dramatiq_app", "-p", "1", "-t", "{c}"),
        queue="dramatiq:default",
        until=("dramatiq:default", "dramatiq:default.msgs"),
    ),
    Peer(
        name="Celery (gevent)",
        package="celery",
        requirements=("celery[redis,gevent]",),
        worker=(
            *("celery", "-A", "celery_app", "worker", "-P", "gevent", "-c", "{c}", "-l", "ERROR"),
            *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        ),
        queue="celery",
        until=("celery", "unacked"),
    ),
    Peer(
        name="RQ (SimpleWorker)",
        package="rq",
        requirements=("rq",),
        worker=("rq", "worker", "--quiet", "--worker-class", "rq.SimpleWorker", "default"),
        queue="rq:queue:default",
        until=("rq:queue:default", "rq:wip:default"),
        note="one job at a time, whatever the concurrency",
    ),
    Peer(
        name="Huey (greenlet)",
        package="huey",
        requirements=("huey", "redis", "gevent"),
        worker=("huey_consumer", "huey_app.huey", "-k", "greenlet", "-w", "{c}", "-q"),
        queue="huey.redis.bench",
        until=("huey.redis.bench",),
        note="acknowledges nothing: a crash loses what runs",
    ),
    Peer(
        name="taskiq (list)",
        package="taskiq",
        requirements=("taskiq", "taskiq-redis"),
        worker=(
            *("taskiq", "worker", "taskiq_app:broker", "--workers", "1", "--max-async-tasks", "{c}"),
            *("--log-level", "ERROR"),
        ),
        queue="taskiq",
        until=("taskiq",),
        note="acknowledges nothing: a crash loses what runs",
    ),
    Peer(
        name="arq",
        package="arq",
        requirements=("arq",),
        worker=("arq", "arq_app.WorkerSettings"),
        queue="arq:queue",
        until=("arq:queue",),
    ),
    Peer(
        name="saq",
        package="saq",
        requirements=("saq[redis]", "typing_extensions"),
        worker=("saq", "saq_app.settings", "--quiet"),
        queue="saq:default:queued",
        until=("saq:default:queued", "saq:default:active", "saq:default:incomplete"),
    ),
)
