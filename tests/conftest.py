"""One private Redis for the session, empty before each test that asks for it."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis as redis_py

from sidekiq_py.redis_connection import RedisOptions, RedisPool
from tests.helpers import emptied
from tests.server_process import ServerProcess, server_starter
from tests.servers import MATRIX, Kind, Server, start_server


def pytest_configure() -> None:
    """Under nohup the servers that tests start would ignore HUP, as programs do by old custom."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Server]:
    """The default server. Tests that stop, kill or configure a server start one of their own."""
    directory = Path(tempfile.mkdtemp(prefix="sidekiq-py-tests-"))
    server = start_server("default", directory)
    yield server
    server.stop()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session", params=MATRIX)
def matrix_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Each generation of servers in turn: a test that asks for it runs once on each. Not emptied."""
    kind: Kind = request.param
    server = start_server(kind, tmp_path_factory.mktemp(kind))
    yield server
    server.stop()


@pytest.fixture
def redis_client(redis_server: Server) -> Iterator[redis_py.Redis]:
    """A plain redis-py client for arranging and asserting; replies are bytes. Empties the server first."""
    client = redis_py.Redis(unix_socket_path=str(redis_server.socket_path), decode_responses=False)
    emptied(client)
    yield client
    client.close()


@pytest.fixture
def raw(redis_client: redis_py.Redis) -> redis_py.Redis:
    return redis_client


@pytest.fixture
def redis_url(redis_server: Server, redis_client: redis_py.Redis) -> str:
    """The URL of an empty server."""
    return redis_server.url


@pytest.fixture
def redis_options(redis_url: str) -> RedisOptions:
    return RedisOptions.from_url(redis_url)


@pytest.fixture
def redis(redis_options: RedisOptions) -> Iterator[RedisPool]:
    """Our own pool on an empty server: what the parts under test are given."""
    pool = RedisPool(redis_options)
    yield pool
    pool.close()


@pytest.fixture
def sidekiq_py(tmp_path: Path, redis_url: str) -> Iterator[Callable[..., ServerProcess]]:
    """Starts the real command: `sidekiq_py(HANDLERS, "-c", "2", environ={…}, name="other", boot=True)`.

    Several may run; `redis_url=` points one elsewhere. All are killed when the test ends.
    """
    with server_starter(tmp_path, redis_url) as start:
        yield start
