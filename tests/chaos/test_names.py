"""C19: the address of Redis is a name, and for a while nobody can tell whose."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.proxy import Proxy, proxy
from tests.chaos.ruin import TTL, Ruin
from tests.helpers import eventually, rest
from tests.process import stage as stages
from tests.process.stage import LONG
from tests.servers import Server

TICKS = """
@job("Ticks")
def ticks():
    start()
    while not os.path.exists("go"):
        note("tick", time.monotonic())
        time.sleep(0.05)
    end()
"""
SILENT = "127.53.53.53"  # a name server there hears and never answers
KNOWN = "127.0.0.1 localhost redis.test\n"
UNKNOWN = "127.0.0.1 localhost\n"


def may_mount() -> bool:
    command = ["unshare", "--mount", "true"]
    return shutil.which("unshare") is not None and subprocess.run(command, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not may_mount(), reason="needs the right to make a mount namespace")


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file of names that servers started here have. What it lacks takes them four seconds to miss."""
    names = tmp_path / "hosts"
    names.write_text(KNOWN)
    (tmp_path / "resolv.conf").write_text(f"nameserver {SILENT}\noptions timeout:2 attempts:2\n")
    mounts = f"mount --bind {names} /etc/hosts && mount --bind {tmp_path}/resolv.conf /etc/resolv.conf"
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\nexec unshare --mount sh -c \'{mounts} && exec "$@"\' - {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((SILENT, 53))
        yield names


@pytest.fixture
def line(redis_server: Server) -> Iterator[Proxy]:
    with proxy(redis_server.socket_path) as between:
        yield between


@pytest.fixture
def ruin(redis_server: Server, line: Proxy, hosts: Path, tmp_path: Path) -> Iterator[Ruin]:
    built = Ruin(stages.on(redis_server, tmp_path))
    built.stage.redis_url = line.url.replace("127.0.0.1", "redis.test")
    yield built
    built.end()


@pytest.mark.row("C19")
@pytest.mark.parametrize("lost", ["one connection", pytest.param("all connections", marks=pytest.mark.soak)])
def test_while_no_name_can_be_resolved_jobs_and_heart_go_on_and_afterwards_all_does(
    ruin: Ruin, line: Proxy, hosts: Path, lost: str
):
    raw: Any = ruin.stage.raw
    server = ruin.start("-c", "3", handlers=TICKS)
    jobs = ruin.push("Ticks")
    ruin.wait_until_running(1)
    eventually(lambda: raw.info("clients")["blocked_clients"] == 1, LONG)

    hosts.write_text(UNKNOWN)
    if lost == "one connection":
        [idle] = [client for client in raw.client_list() if client["cmd"] == "blmove"]
        raw.client_kill_filter(_id=idle["id"])
    else:
        line.cut_all()
    server.wait_for_log("Redis is down")
    until = time.monotonic() + 3 * TTL
    while time.monotonic() < until:
        assert lost == "all connections" or raw.exists(server.identity)
        rest(0.1)
    hosts.write_text(KNOWN)
    jobs += ruin.push("Brief", count=10)
    ruin.wait_until_ended(jobs[1:])
    ruin.stage.let("go")

    ruin.assert_once(jobs)
    ticks = [float(each.split()[1]) for each in ruin.stage.notes if each.startswith("tick")]
    assert max(later - earlier for earlier, later in pairwise(ticks)) < 2  # a look-up takes four seconds
    assert "Traceback" not in server.log
    server.wait_for_log("Redis is back")
    assert server.stop() == 0
