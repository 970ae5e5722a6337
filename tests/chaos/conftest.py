"""A stage whose servers are dying: short clocks, a ledger in a file, and nothing left running at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.ruin import Ruin
from tests.process import stage as stages
from tests.servers import Server, start_server

SAFE = ("--appendonly", "yes", "--appendfsync", "always")


@pytest.fixture
def ruin(redis_server: Server, tmp_path: Path) -> Iterator[Ruin]:
    built = Ruin(stages.on(redis_server, tmp_path))
    yield built
    built.end()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Server]:
    """A Redis that the test may stop, freeze and configure; it keeps what it has confirmed."""
    server = start_server("default", tmp_path / "redis", extra_args=SAFE)
    yield server
    server.stop()


@pytest.fixture
def own_ruin(own_redis: Server, tmp_path: Path) -> Iterator[Ruin]:
    """`ruin` on that Redis."""
    built = Ruin(stages.on(own_redis, tmp_path))
    yield built
    built.end()
