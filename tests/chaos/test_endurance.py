"""J7: a worker that has run very many jobs holds hardly more memory than after its first ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.chaos.ruin import Ruin
from tests.helpers import eventually
from tests.process.stage import payload

NOTHING = """
@job("Nothing")
def nothing():
    pass
"""
QUIET = {"SIDEKIQ_SKIP_DEFAULT_JOB_LOGGING": "true"}
FIRST = 10_000


@pytest.mark.row("J7")
@pytest.mark.parametrize("count", [50_000, pytest.param(1_000_000, marks=pytest.mark.soak)])
def test_memory_does_not_grow_with_the_jobs_that_were_run(ruin: Ruin, count: int):
    server = ruin.start("-c", "25", handlers=NOTHING, environ=QUIET)

    run_all(ruin, FIRST)
    before = memory(server.worker_pid)
    for _ in range(FIRST, count, FIRST):
        run_all(ruin, FIRST)

    assert memory(server.worker_pid) - before < 10 * 2**20


def run_all(ruin: Ruin, count: int) -> None:
    raw: Any = ruin.stage.raw
    ruin.push_all([payload("Nothing") for _ in range(count)])
    eventually(lambda: not raw.exists("queue:default"), 60, every=0.05)


def memory(pid: int) -> int:
    """Bytes that the process holds now."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * 4096
