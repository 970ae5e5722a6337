"""A server at work as a test sees it: what it is given, what its handlers noted, where a job ended up.

Handlers and tests talk through files in the server's directory, so that nothing depends on the Redis that a
test may break: `note("ran", 1)` in a handler is a line of `stage.notes`, `wait_for("go")` ends with
`stage.let("go")`.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import redis as redis_py

from tests.helpers import emptied, eventually
from tests.server_process import ServerProcess, run_sidekiq_py
from tests.servers import Server

PRELUDE = '''
import os, time
from sidekiq_py import configure_server, current_job, job

def note(*words):
    """One write of one line, so that the lines of many greenlets and processes never mix."""
    with open("notes", "ab", buffering=0) as notes:
        notes.write((" ".join(map(str, words)) + "\\n").encode())

def wait_for(name):
    while not os.path.exists(name):
        time.sleep(0.01)

@job("Canary")
def canary(word="tweet"):
    note("canary", word)
'''
LONG = 30.0  # seconds for what happens "soon" on a busy machine

Place = Literal["ran", "retry", "dead"]
_serial = itertools.count(1)


def payload(job_class: str, *args: object, **fields: object) -> bytes:
    """A job as Sidekiq 7 writes it, with a jid of its own."""
    job = {"retry": True, "queue": "default", "class": job_class, "args": list(args), "jid": new_jid()}
    return json.dumps(
        {**job, "created_at": 1763952000.5, "enqueued_at": 1763952000.5, **fields}, separators=(",", ":")
    ).encode()


def new_jid() -> str:
    return f"{next(_serial):024x}"


class Stage:
    """A directory, a Redis and the server that works on them."""

    def __init__(self, directory: Path, redis_url: str, raw: redis_py.Redis) -> None:
        self.directory = directory
        self.redis_url = redis_url
        self.raw = raw
        self.servers: list[ServerProcess] = []

    # -- what goes in ----------------------------------------------------------------------------------

    def start(
        self, handlers: str, *arguments: str, environ: Mapping[str, str] | None = None
    ) -> ServerProcess:
        """Start the command on PRELUDE and these handlers, and wait until it takes jobs."""
        server = self.launch(handlers, *arguments, environ=environ).wait_until_booted()
        eventually(lambda: self.raw.sismember("processes", server.identity), LONG)
        return server

    def launch(
        self, handlers: str, *arguments: str, environ: Mapping[str, str] | None = None
    ) -> ServerProcess:
        """`start` without the waiting."""
        server = run_sidekiq_py(
            self.directory,
            self.redis_url,
            PRELUDE + handlers,
            *arguments,
            environ=environ,
            name=f"server{len(self.servers)}",
        )
        self.servers.append(server)
        return server

    @property
    def server(self) -> ServerProcess:
        """The newest one."""
        return self.servers[-1]

    @property
    def log(self) -> str:
        """The newest one's; empty when all were started by other means."""
        return self.servers[-1].log if self.servers else ""

    def push(self, job_class: str, *args: object, queue: str = "default", **fields: object) -> bytes:
        """LPUSH a job as a Ruby client does; returns its bytes."""
        raw = payload(job_class, *args, queue=queue, **fields)
        self.raw.lpush(f"queue:{queue}", raw)
        return raw

    def let(self, name: str) -> None:
        """End the handlers' `wait_for(name)`."""
        (self.directory / name).touch()

    # -- what comes out --------------------------------------------------------------------------------

    @property
    def notes(self) -> list[str]:
        file = self.directory / "notes"
        return file.read_text().splitlines() if file.exists() else []

    def wait_for_note(self, line: str) -> None:
        def noted() -> bool:
            assert line in self.notes, f"{line!r} is not in {self.notes}\n{self.log}"
            return True

        eventually(noted, LONG)

    def queue(self, name: str = "default") -> list[bytes]:
        """What waits, the next to run first."""
        return list(reversed(self.raw.lrange(f"queue:{name}", 0, -1)))

    def claimed(self) -> list[bytes]:
        """What the servers hold, finished or not, whoever they are."""
        claims = self.raw.keys("sidekiq-py:claim:*")
        return [raw for claim in claims for raw in self.raw.lrange(claim, 0, -1)]

    def retries(self) -> list[bytes]:
        return list(self.raw.zrange("retry", 0, -1))

    def dead(self) -> list[bytes]:
        return list(self.raw.zrange("dead", 0, -1))

    def wait_until_settled(self, queue: str = "default") -> None:
        """Until nothing waits in the queue and nothing is claimed."""

        def settled() -> bool:
            assert self.queue(queue) == [], self.log
            assert self.claimed() == [], self.log
            return True

        eventually(settled, LONG)

    def retry_of(self, jid: str) -> dict[str, Any]:
        """The entry of the retry set with this jid, when it is there."""

        def found() -> dict[str, Any]:
            jobs = [json.loads(raw) for raw in self.retries()]
            matching = [job for job in jobs if job.get("jid") == jid]
            assert matching, f"{jid} is not in the retry set\n{self.log}"
            return matching[0]

        return eventually(found, LONG)

    def end(self) -> None:
        for server in self.servers:
            server.kill()
        self.raw.close()


def on(redis_server: Server, directory: Path) -> Stage:
    """A stage on this Redis, which it empties."""
    raw = redis_py.Redis(unix_socket_path=str(redis_server.socket_path), decode_responses=False)
    emptied(raw)
    return Stage(directory, redis_server.url, raw)
