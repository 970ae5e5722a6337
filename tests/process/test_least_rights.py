"""A Redis user with the rights that docs/configuration.md names, and no others, is enough for everything."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sidekiq_py import Client
from sidekiq_py.api import DeadSet, RetrySet, ScheduledSet, Stats
from sidekiq_py.redis_connection import RedisOptions, RedisPool
from tests.documents import least_rights
from tests.helpers import eventually
from tests.process import stage as stages
from tests.process.stage import LONG, Stage
from tests.servers import MATRIX, Kind, start_server

HANDLERS = """
@job("Fail")
def fail():
    raise ValueError("on purpose")

@job("Wait")
def wait(name):
    note("waits")
    wait_for(name)
    note("waited")
"""


@pytest.fixture(params=MATRIX)
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    kind: Kind = request.param
    server = start_server(kind, tmp_path / "redis")
    built = stages.on(server, tmp_path)
    raw: Any = built.raw
    raw.execute_command("ACL", "SETUSER", "worker", "on", ">secret", *least_rights())
    built.redis_url += "?username=worker&password=secret"
    yield built
    built.end()
    server.stop()


@pytest.mark.row("K9")
def test_all_that_servers_and_clients_do_they_may_and_nothing_else_is_tried(stage: Stage):
    raw: Any = stage.raw
    raw.execute_command("ACL", "LOG", "RESET")
    pool = RedisPool(RedisOptions.from_url(stage.redis_url))
    client = Client(redis=pool)
    server = stage.start(HANDLERS, "-c", "5", environ={"SIDEKIQ_HEARTBEAT_TTL": "2"})

    client.push({"class": "Canary", "args": ["pushed"]})
    client.push_bulk({"class": "Canary", "args": [["bulk"]]})
    client.push({"class": "Canary", "args": ["late"], "at": time.time() + 0.5})
    client.push({"class": "Fail", "args": []})
    client.push({"class": "Fail", "args": [], "retry": 0})
    client.push({"class": "Wait", "args": ["go"]})
    for word in ("pushed", "bulk", "late"):
        stage.wait_for_note(f"canary {word}")
    stage.wait_for_note("waits")
    eventually(lambda: RetrySet(pool).size == DeadSet(pool).size == 1, LONG)
    os.kill(server.worker_pid, signal.SIGKILL)
    eventually(lambda: stage.notes.count("waits") == 2, LONG)
    stage.let("go")
    stage.wait_for_note("waited")
    stage.wait_until_settled()
    assert (Stats.fetch(pool).enqueued, ScheduledSet(pool).size) == (0, 0)
    RetrySet(pool).clear()
    assert server.stop() == 0

    denied = [(each["reason"], each["object"]) for each in raw.acl_log()]
    assert denied == []
    assert "NOPERM" not in server.log
    pool.close()
