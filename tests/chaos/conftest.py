"""A stage whose servers are dying: short clocks, a ledger in a file, and nothing left running at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.ruin import Ruin
from tests.process import stage as stages
from tests.servers import Server


@pytest.fixture
def ruin(redis_server: Server, tmp_path: Path) -> Iterator[Ruin]:
    built = Ruin(stages.on(redis_server, tmp_path))
    yield built
    built.end()
