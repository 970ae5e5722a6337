"""A stage whose servers are dying: short clocks, a ledger in a file, and nothing left running at the end."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.ruin import Ruin
from tests.process import stage as stages
from tests.servers import MATRIX, Kind, Server, start_server

SAFE = ("--appendonly", "yes", "--appendfsync", "always")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests under `servers` run on each generation of Redis in `make soak`; in `make test` they take turns.

    Whose turn it is follows from the test's name, so that it doesn't change from run to run. A test under
    `every_server` runs on each all the time.
    """
    if "kind" not in metafunc.fixturenames or not metafunc.definition.get_closest_marker("servers"):
        return
    turn = MATRIX[zlib.crc32(metafunc.function.__name__.encode()) % len(MATRIX)]
    is_everywhere = metafunc.definition.get_closest_marker("every_server") is not None
    kinds = [
        pytest.param(kind, marks=[] if is_everywhere or kind == turn else pytest.mark.soak) for kind in MATRIX
    ]
    metafunc.parametrize("kind", kinds)


@pytest.fixture
def kind() -> Kind:
    """Which server the test runs on."""
    return "default"


@pytest.fixture(scope="session")
def server_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Kind], Server]]:
    """One server of each kind for the session, started when first asked for. Not emptied."""
    started: dict[Kind, Server] = {}

    def server(kind: Kind) -> Server:
        if kind not in started:
            started[kind] = start_server(kind, tmp_path_factory.mktemp(kind))
        return started[kind]

    yield server
    for each in started.values():
        each.stop()


@pytest.fixture
def ruin(kind: Kind, server_of: Callable[[Kind], Server], tmp_path: Path) -> Iterator[Ruin]:
    built = Ruin(stages.on(server_of(kind), tmp_path))
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
