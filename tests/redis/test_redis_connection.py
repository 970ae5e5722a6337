"""The four verbs on every generation of servers, and what errors mean."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from sidekiq_py.errors import RedisDown, RedisError
from sidekiq_py.redis_connection import RedisConnection, RedisOptions
from sidekiq_py.redis_connection.connection import LOOK_AGAIN_AFTER
from sidekiq_py.scripts import Script
from tests.helpers import eventually, rest
from tests.servers import MATRIX, Server, start_server

ECHO = Script("echo", "return {KEYS[1], ARGV[1], ARGV[2]}")
COUNT = Script("count", "return redis.call('INCR', KEYS[1])")


@pytest.fixture
def connection(matrix_server: Server) -> Iterator[RedisConnection]:
    connection = RedisOptions.from_url(matrix_server.url).connect()
    connection.call("FLUSHALL")
    connection.call("SCRIPT", "FLUSH")
    yield connection
    connection.disconnect()


@pytest.fixture
def admin(matrix_server: Server) -> Iterator[RedisConnection]:
    """A second connection, for doing things to the first."""
    connection = RedisOptions.from_url(matrix_server.url).connect()
    yield connection
    connection.disconnect()


def test_strings_bytes_and_numbers_arrive_as_bytes(connection):
    connection.call("RPUSH", "list", "é", b"\xff\x00", 7, 1.5)

    assert connection.call("LRANGE", "list", 0, -1) == ["é".encode(), b"\xff\x00", b"7", b"1.5"]


def test_a_missing_value_is_none(connection):
    assert connection.call("GET", "nothing") is None


def test_a_refused_command_raises_with_the_words_of_redis_and_keeps_the_connection(connection):
    connection.call("SET", "string", "x")
    before = connection.call("CLIENT", "ID")

    with pytest.raises(RedisError, match="WRONGTYPE"):
        connection.call("LPUSH", "string", "y")

    assert connection.call("CLIENT", "ID") == before


def test_an_argument_redis_can_not_carry_is_named_before_anything_is_sent(connection):
    with pytest.raises(RedisError, match="can't send 'SET'"):
        connection.call("SET", "key", None)

    assert connection.call("PING") == b"PONG"


def test_a_pipeline_answers_slot_by_slot_with_errors_in_their_place(connection):
    replies = connection.pipeline([("SET", "a", 1), ("LPUSH", "a", 1), ("GET", "a")])

    assert replies[0] == b"OK"
    assert isinstance(replies[1], RedisError)
    assert replies[2] == b"1"


def test_an_empty_pipeline_does_not_even_connect():
    connection = RedisOptions.from_url("unix:///nowhere.sock").connect()

    assert connection.pipeline([]) == []


def test_a_pipeline_may_be_large(connection):
    payload = "x" * 1000

    replies = connection.pipeline([("RPUSH", "list", payload)] * 5000)

    assert replies == list(range(1, 5001))


def test_a_script_gets_its_keys_and_arguments(connection):
    assert connection.run_script(ECHO, ["key"], [b"\xff", 2]) == [b"key", b"\xff", b"2"]


def test_a_script_the_server_forgot_is_sent_again_and_runs_once(connection, admin):
    connection.run_script(COUNT, ["n"])
    admin.call("SCRIPT", "FLUSH")

    assert connection.run_script(COUNT, ["n"]) == 2


def test_a_forgotten_script_in_a_pipeline_runs_once_and_its_neighbours_once(connection):
    replies = connection.pipeline([("INCR", "a"), COUNT.command(["n"]), ("INCR", "b")])

    assert replies == [1, 1, 1]
    assert connection.call("GET", "a") == b"1"


def test_a_script_that_hits_a_wrong_type_raises_redis_error(connection):
    connection.call("SET", "string", "x")

    with pytest.raises(RedisError, match=r"WRONGTYPE|wrong kind of value"):
        connection.run_script(Script("bad", "return redis.call('LPUSH', KEYS[1], 1)"), ["string"])


def test_each_call_finds_its_own_reply_after_an_error(connection):
    for number in range(20):
        with pytest.raises(RedisError):
            connection.call("NOSUCHCOMMAND")

        assert connection.call("ECHO", number) == str(number).encode()


def test_a_connection_killed_at_rest_is_replaced_without_an_error(connection, admin):
    admin.call("CLIENT", "KILL", "ID", connection.call("CLIENT", "ID"))
    rest(LOOK_AGAIN_AFTER * 1.5)

    assert connection.call("PING") == b"PONG"


def test_a_connection_killed_in_mid_call_says_that_the_command_was_sent(connection, admin):
    number = connection.call("CLIENT", "ID")

    with (
        meanwhile(lambda: (until_blocked(admin), admin.call("CLIENT", "KILL", "ID", number))),
        pytest.raises(RedisDown, match="lost Redis at") as caught,
    ):
        connection.call("BLPOP", "empty", 0)

    assert caught.value.sent
    assert connection.call("PING") == b"PONG"


def test_a_reply_that_does_not_come_in_time_is_a_lost_connection(matrix_server):
    hurried = RedisOptions.from_url(matrix_server.url).connect(read_timeout=0.1)

    with pytest.raises(RedisDown, match="Timeout") as caught:
        hurried.call("BLPOP", "empty", 1)

    assert caught.value.sent
    assert hurried.call("ECHO", "fresh") == b"fresh"


def test_a_blocking_call_that_is_told_to_give_up_returns_none_and_keeps_the_connection(connection, admin):
    number = connection.call("CLIENT", "ID")

    with meanwhile(lambda: (until_blocked(admin), admin.call("CLIENT", "UNBLOCK", number))):
        reply = connection.call("BLPOP", "empty", 0)

    assert reply is None
    assert connection.call("CLIENT", "ID") == number


def test_a_client_name_shows_in_the_list_of_clients(matrix_server):
    named = RedisOptions.from_url(matrix_server.url, client_name="sidekiq-py-test").connect()

    assert named.call("CLIENT", "GETNAME") == b"sidekiq-py-test"


@pytest.mark.row("D16")
def test_a_database_is_selected_again_after_a_lost_connection(matrix_server, admin):
    elsewhere = RedisOptions.from_url(f"{matrix_server.url}?db=3").connect()
    elsewhere.call("SET", "where", "three")
    elsewhere.disconnect()

    assert elsewhere.call("GET", "where") == b"three"
    assert admin.call("GET", "where") is None


def test_a_server_that_is_not_there_is_down_and_nothing_was_sent(tmp_path):
    connection = RedisOptions.from_url(f"unix://{tmp_path}/none.sock").connect()

    with pytest.raises(RedisDown, match="cannot reach Redis at .*none.sock") as caught:
        connection.call("PING")

    assert not caught.value.sent


def test_a_host_that_does_not_exist_is_down_and_nothing_was_sent():
    connection = RedisOptions.from_url("redis://no-such-host.invalid").connect()

    with pytest.raises(RedisDown, match=r"no-such-host\.invalid:6379") as caught:
        connection.call("PING")

    assert not caught.value.sent


@pytest.mark.parametrize("kind", MATRIX)
@pytest.mark.parametrize("port", [False, True], ids=["unix", "tcp"])
def test_a_restarted_server_is_found_by_the_next_call(kind, port, tmp_path):
    server = start_server(kind, tmp_path, port=port)
    connection = RedisOptions.from_url(server.url).connect()
    connection.call("PING")
    server.kill()
    with pytest.raises(RedisDown):
        connection.call("PING")

    server.start()

    assert connection.call("PING") == b"PONG"
    server.stop()


@contextmanager
def meanwhile(act: Callable[[], object]) -> Iterator[None]:
    """Do something in another thread while the block runs."""
    thread = threading.Thread(target=act)
    thread.start()
    yield
    thread.join()


def until_blocked(admin: RedisConnection) -> None:
    eventually(lambda: b"blocked_clients:1" in admin.call("INFO", "clients"))
