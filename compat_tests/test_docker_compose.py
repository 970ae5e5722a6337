"""Every command of docker-compose.yml works together with the others, here without Docker."""

from __future__ import annotations

import os
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py
import yaml

from compat_tests.ruby import Ruby
from tests.documents import ROOT
from tests.helpers import eventually
from tests.server_process import ServerProcess
from tests.servers import free_port

SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
SLOW = 30.0  # seconds; the machine may be busy
Start = Callable[..., "subprocess.Popen[bytes]"]

pytestmark = pytest.mark.parametrize("ruby", ["8.1"], indirect=True)


@pytest.fixture
def start_ruby(ruby: Ruby, tmp_path: Path) -> Iterator[Start]:
    """Starts a service that is built from ruby_fixtures."""
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, **environ: str) -> subprocess.Popen[bytes]:
        with (tmp_path / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                ruby.command(*SERVICES[name]["command"]),
                env={**ruby.environment(), **environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def worker(redis_url: str, tmp_path: Path) -> Iterator[ServerProcess]:
    """The sidekiq-py service, with the file that is mounted into it."""
    service = SERVICES["sidekiq-py"]
    source, target, _ = service["volumes"][0].split(":")
    (tmp_path / Path(target).name).write_text((ROOT / source).read_text())
    environ = {**os.environ, "REDIS_URL": redis_url, "PYTHONUNBUFFERED": "1"}
    server = ServerProcess(service["command"][1:], tmp_path / "worker.log", environ, tmp_path)
    yield server.wait_until_booted()
    server.kill()


def test_ruby_enqueues_python_runs_ruby_shows_it(
    ruby: Ruby, start_ruby: Start, worker: ServerProcess, raw: redis_py.Redis
) -> None:
    port = free_port()
    start_ruby("web", HOST="127.0.0.1", PORT=str(port))
    start_ruby("sidekiq")

    assert start_ruby("enqueue").wait(SLOW) == 0

    def ran() -> list[dict[str, Any]]:
        return ruby.ran()

    eventually(lambda: any(each["args"] == ["from Python"] for each in ran()), SLOW)  # Ruby did Python's job
    eventually(lambda: sum(each["class"] == "HardJob" for each in ran()) == 25, SLOW)
    eventually(lambda: sum(each["class"] == "FlakyJob" for each in ran()) == 2, SLOW)
    page = eventually(lambda: fetch(f"http://127.0.0.1:{port}/busy"), SLOW)
    assert worker.identity in page
    assert "python" in page


def fetch(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read().decode())
    except OSError as error:
        raise AssertionError(f"no page yet: {error}") from error
