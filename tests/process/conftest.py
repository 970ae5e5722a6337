"""Stages for tests of the real command: one for each test, or one that a module's tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process import stage as stages
from tests.process.stage import Stage
from tests.servers import Server, start_server


@pytest.fixture
def stage(redis_server: Server, tmp_path: Path) -> Iterator[Stage]:
    """An empty Redis and an empty directory; `stage.start(HANDLERS)` starts a server on them."""
    built = stages.on(redis_server, tmp_path)
    yield built
    built.end()


@pytest.fixture(scope="module")
def shared_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A stage with a Redis of its own for the whole module: nobody else empties it."""
    directory = tmp_path_factory.mktemp("shared")
    server = start_server("default", directory / "redis")
    built = stages.on(server, directory)
    yield built
    built.end()
    server.stop()
