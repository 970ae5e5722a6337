"""A user who may do less than a server needs is found at the start."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from sidekiq_py.errors import RedisAuthError
from sidekiq_py.redis_connection import RedisConnection, RedisOptions, check_rights
from tests.documents import least_rights
from tests.redis.parts import IDENTITY
from tests.servers import Server


@pytest.fixture
def admin(matrix_server: Server) -> Iterator[RedisConnection]:
    connection = RedisOptions.from_url(matrix_server.url).connect()
    connection.call("FLUSHALL")
    yield connection
    connection.call("CONFIG", "SET", "maxmemory", 0)
    connection.call("ACL", "DELUSER", "worker")
    connection.disconnect()


@pytest.fixture
def worker_with(admin: RedisConnection, matrix_server: Server) -> Callable[..., RedisConnection]:
    """A connection of a user with these rights."""

    def connect(*rules: str) -> RedisConnection:
        admin.call("ACL", "SETUSER", "worker", "reset", "on", ">secret", *rules)
        return RedisOptions.from_url(matrix_server.url, username="worker", password="secret").connect()

    return connect


def check(connection: RedisConnection) -> None:
    check_rights(connection, identity=IDENTITY, queues=["low"])


def test_the_rights_that_the_page_names_are_enough_and_nothing_is_left_behind(worker_with, admin):
    check(worker_with(*least_rights()))

    assert admin.call("KEYS", "*") == []


@pytest.mark.parametrize("memory", [0, 1])
def test_every_missing_right_is_named_in_one_sentence(worker_with, admin, memory):
    connection = worker_with("~*", "+@all", "-rpush", "-zadd", "-blmove", "-evalsha")
    admin.call("CONFIG", "SET", "maxmemory", memory)

    with pytest.raises(RedisAuthError) as caught:
        check(connection)

    assert str(caught.value) == (
        f"Redis at {connection.address} doesn't let user 'worker' run BLMOVE, EVALSHA, RPUSH, ZADD: "
        "allow that with ACL SETUSER worker +blmove +evalsha +rpush +zadd"
    )


def test_patterns_that_let_at_every_key_of_this_server_are_enough(worker_with):
    own = ("~queue:low", "~queues", "~processes", "~retry", "~schedule", "~dead", "~stat:*", "~sidekiq-py:*")

    check(worker_with("+@all", *own, f"~{IDENTITY}*"))


@pytest.mark.parametrize("pattern", ["~queue:*", "~sidekiq-py:*"])
def test_keys_that_may_not_be_used_are_said_as_well(worker_with, pattern):
    connection = worker_with(pattern, "+@all")

    with pytest.raises(
        RedisAuthError, match="at all keys of Sidekiq: allow them with ACL SETUSER worker ~\\*"
    ):
        check(connection)


def test_what_was_tried_does_not_outlive_its_test_where_it_may_not_be_deleted(worker_with, admin):
    with pytest.raises(RedisAuthError, match="LREM, SREM, UNLINK"):
        check(worker_with("~*", "+@all", "-unlink", "-lrem", "-srem"))

    assert all(admin.call("TTL", key) > 0 for key in admin.call("KEYS", "*"))
