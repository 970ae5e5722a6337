"""E11: jobs of many megabytes are fetched one at a time; a worker's memory is that of a few, failures too."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.chaos.ruin import Ruin
from tests.helpers import eventually
from tests.process.stage import LONG, payload


@pytest.mark.row("E11")
@pytest.mark.parametrize(
    ("count", "megabytes"), [(60, 2), pytest.param(100, 10, marks=pytest.mark.soak)], ids=str
)
def test_many_large_jobs_take_the_memory_of_a_few(ruin: Ruin, count: int, megabytes: int):
    server = ruin.start("-c", "2")
    before = peak_memory(server.worker_pid)
    jobs = [payload("Brief", 0, filler="x" * megabytes * 2**20) for _ in range(count)]

    ruin.push_all(jobs)
    ruin.assert_once(jobs)

    # Two run, one or two are on their way, each as bytes, text and values for a while: some fifteen copies.
    assert peak_memory(server.worker_pid) - before < 30 * megabytes * 2**20


@pytest.mark.row("E11")
def test_a_large_job_that_fails_takes_the_memory_of_a_few(ruin: Ruin):
    server = ruin.start("-c", "2")
    before = peak_memory(server.worker_pid)
    megabytes = 10

    ruin.push("Fails", filler="x" * megabytes * 2**20)
    eventually(lambda: ruin.stage.raw.zcard("retry") == 1, LONG)

    assert peak_memory(server.worker_pid) - before < 25 * megabytes * 2**20


def peak_memory(pid: int) -> int:
    """The most bytes that the process ever held."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024
