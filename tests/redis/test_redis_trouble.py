"""What Redis says when it can't or won't serve, and what we make of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sidekiq_py.errors import RedisAuthError, RedisDown, RedisError
from sidekiq_py.redis_connection import RedisConnection, RedisOptions
from sidekiq_py.scripts import Script
from tests.helpers import eventually
from tests.redis.canned_server import canned_server
from tests.servers import MATRIX, Kind, Server, start_server

PUSH = Script("push", "return redis.call('LPUSH', KEYS[1], ARGV[1])")
FOREVER = Script("forever", "while true do end")


@pytest.fixture(params=MATRIX)
def troubled_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A server for this test alone, in a directory that has a vanishing one for its snapshots."""
    kind: Kind = request.param
    snapshots = tmp_path / "snapshots"
    snapshots.mkdir()
    server = start_server(kind, tmp_path, extra_args=("--dir", str(snapshots)))
    yield server
    server.stop()


@pytest.fixture
def admin(troubled_server: Server) -> Iterator[RedisConnection]:
    connection = RedisOptions.from_url(troubled_server.url).connect()
    yield connection
    connection.disconnect()


@pytest.fixture
def connection(troubled_server: Server) -> Iterator[RedisConnection]:
    connection = RedisOptions.from_url(troubled_server.url).connect()
    yield connection
    connection.disconnect()


def assert_down_but_not_sent(push: Callable[[], object], prefix: str) -> None:
    with pytest.raises(RedisDown, match=prefix) as caught:
        push()

    assert not caught.value.sent


def pushes(connection: RedisConnection) -> dict[str, Callable[[], object]]:
    """One push in each of two ways."""
    return {
        "call": lambda: connection.call("LPUSH", "list", "x"),
        "script": lambda: connection.run_script(PUSH, ["list"], ["x"]),
    }


def test_a_full_server_is_down_for_writes(connection, admin):
    admin.call("CONFIG", "SET", "maxmemory", 1)

    for push in pushes(connection).values():
        assert_down_but_not_sent(push, "OOM")

    admin.call("CONFIG", "SET", "maxmemory", 0)
    assert connection.call("LPUSH", "list", "x") == 1


def test_a_replica_is_down_for_writes(connection, admin):
    admin.call("REPLICAOF", "127.0.0.1", 1)

    for push in pushes(connection).values():
        assert_down_but_not_sent(push, "READONLY")

    admin.call("REPLICAOF", "NO", "ONE")
    assert connection.call("LPUSH", "list", "x") == 1


def test_a_replica_without_its_master_is_down(connection, admin):
    admin.call("CONFIG", "SET", "replica-serve-stale-data", "no")
    admin.call("REPLICAOF", "127.0.0.1", 1)

    with pytest.raises(RedisDown, match="MASTERDOWN"):
        connection.call("GET", "list")

    admin.call("REPLICAOF", "NO", "ONE")
    admin.call("CONFIG", "SET", "replica-serve-stale-data", "yes")


def test_a_server_that_misses_replicas_is_down_for_writes(connection, admin):
    admin.call("CONFIG", "SET", "min-replicas-to-write", 5)

    # Redis 6.2 lets scripts pass; 7 and later don't.
    assert_down_but_not_sent(pushes(connection)["call"], "NOREPLICAS")


def test_a_server_that_can_not_save_is_down_for_writes(connection, admin, tmp_path):
    (tmp_path / "snapshots").rmdir()
    admin.call("CONFIG", "SET", "save", "900 1")
    admin.call("BGSAVE")
    eventually(lambda: b"rdb_last_bgsave_status:err" in admin.call("INFO", "persistence"))

    for push in pushes(connection).values():
        assert_down_but_not_sent(push, "MISCONF")

    admin.call("CONFIG", "SET", "save", "")
    assert connection.call("LPUSH", "list", "x") == 1


def test_a_server_busy_with_a_script_is_down_until_the_script_is_killed(connection, admin):
    admin.call("CONFIG", "SET", "lua-time-limit", 10)
    connection.call("PING")
    stuck = threading.Thread(target=lambda: pytest.raises(RedisError, admin.run_script, FOREVER, []))
    stuck.start()

    eventually(lambda: says_busy(connection))
    eventually(lambda: isinstance(connection.pipeline([("SCRIPT", "KILL")])[0], bytes))

    stuck.join()
    assert connection.call("PING") == b"PONG"


def says_busy(connection: RedisConnection) -> bool:
    try:
        connection.call("GET", "x")
    except RedisDown as error:
        return str(error).startswith("BUSY")
    return False


def test_a_server_with_too_many_clients_is_down(connection, admin):
    connection.call("PING")
    admin.call("CONFIG", "SET", "maxclients", 2)
    third = RedisOptions(url=f"unix://{admin.address.path}").connect()

    with pytest.raises(RedisDown) as caught:
        third.call("LPUSH", "list", "x")

    admin.call("CONFIG", "SET", "maxclients", 1000)
    assert not caught.value.sent
    assert third.call("PING") == b"PONG"


def test_a_blocked_call_that_is_ended_with_an_error_is_down(connection, admin):
    number = connection.call("CLIENT", "ID")

    def unblock() -> None:
        eventually(lambda: admin.call("CLIENT", "UNBLOCK", number, "ERROR"))

    helper = threading.Thread(target=unblock)
    helper.start()
    with pytest.raises(RedisDown, match="UNBLOCKED"):
        connection.call("BLPOP", "empty", 0)
    helper.join()


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ("LOADING Redis is loading the dataset in memory", RedisDown),
        ("CLUSTERDOWN The cluster is down", RedisDown),
        ("TRYAGAIN Multiple keys request during rehashing of slot", RedisDown),
        ("MASTERDOWN Link with MASTER is down", RedisDown),
        ("NOAUTH Authentication required.", RedisAuthError),
        ("WRONGPASS invalid username-password pair or user is disabled.", RedisAuthError),
        ("NOPERM this user has no permissions to run the 'lpush' command", RedisAuthError),
        ("BUSYKEY Target key name already exists.", RedisError),
        ("ERR unknown command", RedisError),
        ("SOMETHING new", RedisError),
    ],
)
def test_an_error_reply_becomes_the_exception_of_its_prefix(tmp_path: Path, reply, kind):
    with canned_server(tmp_path / "s", lambda _: f"-{reply}\r\n".encode()) as url:
        connection = RedisOptions.from_url(url).connect()

        with pytest.raises(kind) as caught:
            connection.call("LPUSH", "queue:default", "x")

        assert reply.removeprefix("ERR ") in str(caught.value)
        connection.disconnect()


@pytest.mark.parametrize("reply", ["MOVED 3999 127.0.0.1:6381", "ASK 3999 127.0.0.1:6381", "CROSSSLOT Keys"])
def test_a_cluster_is_named_as_not_supported(tmp_path: Path, reply):
    with canned_server(tmp_path / "s", lambda _: f"-{reply}\r\n".encode()) as url:
        connection = RedisOptions.from_url(url).connect()

        with pytest.raises(RedisError, match="Redis Cluster is not supported"):
            connection.call("LPUSH", "queue:default", "x")

        connection.disconnect()


def test_bytes_that_are_no_redis_reply_are_a_lost_connection(tmp_path: Path):
    with canned_server(tmp_path / "s", lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n") as url:
        connection = RedisOptions.from_url(url).connect()

        with pytest.raises(RedisDown, match="Redis at"):
            connection.call("PING")


def test_a_lost_reply_is_not_asked_for_again(tmp_path: Path):
    seen = []

    def answer(command: list[bytes]) -> bytes:
        seen.append(command[0])
        return b"$100\r\ncut" if command[0] == b"LPUSH" else b"+OK\r\n"

    with canned_server(tmp_path / "s", answer) as url:
        connection = RedisOptions.from_url(url).connect(read_timeout=0.1)

        with pytest.raises(RedisDown) as caught:
            connection.call("LPUSH", "queue:default", "x")

    assert caught.value.sent
    assert seen.count(b"LPUSH") == 1


@pytest.mark.row("C10")
def test_replies_that_drip_in_byte_by_byte_are_read_whole(tmp_path: Path):
    with canned_server(tmp_path / "s", lambda _: b"*2\r\n$1\r\na\r\n:7\r\n") as url:
        connection = RedisOptions.from_url(url).connect()

        assert connection.call("ANYTHING") == [b"a", 7]

        connection.disconnect()
