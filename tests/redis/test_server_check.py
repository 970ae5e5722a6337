"""What is asked at boot: generation, role, memory policy, clock."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from sidekiq_py.errors import RedisAuthError, RedisDown, RedisError
from sidekiq_py.redis_connection import RedisOptions, check_server
from tests.redis.canned_server import canned_server
from tests.servers import start_server

NAMES = {"redis6": ("redis", "6.2"), "redis7": ("redis", "7."), "valkey9": ("valkey", "9.")}


def test_a_good_server_is_described_without_a_warning(matrix_server):
    connection = RedisOptions.from_url(matrix_server.url).connect()

    info = check_server(connection)

    assert any(info.name == name and info.version.startswith(v) for name, v in NAMES.values())
    assert info.role == "master"
    assert info.maxmemory_policy == "noeviction"
    assert info.uptime >= 0
    assert 0 < info.rtt_us < 1_000_000
    assert abs(info.clock_skew) < 0.5
    assert info.warnings == []


def test_a_server_that_evicts_is_warned_about(tmp_path):
    server = start_server("default", tmp_path, extra_args=("--maxmemory-policy", "allkeys-lru"))

    [warning] = check_server(RedisOptions.from_url(server.url).connect()).warnings

    assert "'allkeys-lru', set it to 'noeviction'" in warning
    server.stop()


@pytest.mark.parametrize("shift", [90.0, -90.0])
def test_how_far_the_clocks_are_apart_is_measured(redis_options, shift):
    info = check_server(redis_options.connect(), now=lambda: time.time() + shift)

    assert info.clock_skew == pytest.approx(-shift, abs=0.5)


@pytest.mark.row("D18")
def test_a_replica_is_refused(tmp_path):
    server = start_server("default", tmp_path, extra_args=("--replicaof", "127.0.0.1 1"))

    with pytest.raises(
        RedisError, match="is a replica, which can't be written to: use the address of its master"
    ):
        check_server(RedisOptions.from_url(server.url).connect())

    server.stop()


def answering_info(text: str):
    def answer(command: list[bytes]) -> bytes:
        if command[0] == b"INFO":
            return b"$%d\r\n%s\r\n" % (len(text), text.encode())
        return b"*2\r\n$10\r\n1700000000\r\n$6\r\n000000\r\n" if command[0] == b"TIME" else b"+OK\r\n"

    return answer


@pytest.mark.parametrize("version", ["3.2.1", "6.0.16", "6.1.240"])
def test_a_server_before_six_two_is_refused(tmp_path: Path, version):
    with canned_server(tmp_path / "s", answering_info(f"redis_version:{version}\r\nrole:master\r\n")) as url:
        connection = RedisOptions.from_url(url).connect()

        with pytest.raises(RedisError, match=f"is Redis {version}: sidekiq-py needs Redis 6.2 or newer"):
            check_server(connection)


@pytest.mark.parametrize("version", ["6.2.0", "7.4.0", "8.0.3", "10.0.0"])
def test_a_server_from_six_two_on_is_taken(tmp_path: Path, version):
    with canned_server(tmp_path / "s", answering_info(f"redis_version:{version}\r\nrole:master\r\n")) as url:
        info = check_server(RedisOptions.from_url(url).connect(), now=lambda: 1700000000.0)

    assert (info.name, info.version) == ("redis", version)


def test_a_server_that_does_not_know_info_is_taken(tmp_path: Path):
    def answer(command: list[bytes]) -> bytes:
        return b"-ERR unknown command 'INFO'\r\n" if command[0] == b"INFO" else answering_info("")(command)

    with canned_server(tmp_path / "s", answer) as url:
        info = check_server(RedisOptions.from_url(url).connect(), now=lambda: 1700000000.0)

    assert (info.name, info.version, info.role) == (None, None, None)


def test_an_unreachable_server_is_down_and_a_locked_one_an_auth_error(tmp_path: Path):
    with pytest.raises(RedisDown):
        check_server(RedisOptions.from_url(f"unix://{tmp_path}/none.sock").connect())

    with canned_server(tmp_path / "s", lambda _: b"-NOAUTH Authentication required.\r\n") as url:
        connection = RedisOptions.from_url(url).connect()
        with pytest.raises(RedisAuthError):
            check_server(connection)
