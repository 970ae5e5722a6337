"""Users, passwords and permissions; and no password in any error."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidekiq_py.errors import RedisAuthError, RedisError
from sidekiq_py.redis_connection import RedisConnection, RedisOptions, check_server
from tests.redis.canned_server import canned_server
from tests.servers import MATRIX, Kind, Server, start_server


@pytest.fixture(params=MATRIX)
def guarded_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A server whose default user needs a password."""
    kind: Kind = request.param
    server = start_server(kind, tmp_path, extra_args=("--requirepass", "s3cret"))
    yield server
    server.stop()


@pytest.fixture
def admin(guarded_server: Server) -> Iterator[RedisConnection]:
    connection = RedisOptions.from_url(guarded_server.url, password="s3cret").connect()
    yield connection
    connection.disconnect()


def test_a_password_alone_opens_the_door(guarded_server):
    connection = RedisOptions.from_url(f"unix://:s3cret@{guarded_server.socket_path}").connect()

    assert connection.call("PING") == b"PONG"


def test_a_user_with_a_password_opens_the_door(guarded_server, admin):
    admin.call("ACL", "SETUSER", "al", "on", ">p@ss/word", "~*", "+@all")
    connection = RedisOptions.from_url(f"unix://al:p%40ss%2Fword@{guarded_server.socket_path}?db=2").connect()

    assert connection.call("ACL", "WHOAMI") == b"al"


@pytest.mark.row("K2")
@pytest.mark.parametrize("password", [None, "wrong-guess"])
def test_no_or_a_wrong_password_is_an_auth_error_that_shows_no_password(guarded_server, password):
    connection = RedisOptions.from_url(guarded_server.url, password=password).connect()

    with pytest.raises(RedisAuthError, match="NOAUTH|WRONGPASS") as caught:
        connection.call("PING")

    assert "wrong-guess" not in "".join(traceback.format_exception(caught.value))


def test_a_password_for_a_server_that_has_none_is_an_auth_error(redis_url):
    connection = RedisOptions.from_url(redis_url, password="s3cret").connect()

    with pytest.raises(RedisAuthError, match="without any password configured"):
        connection.call("PING")


def test_a_command_the_user_may_not_run_is_an_auth_error_and_the_rest_works_on(guarded_server, admin):
    admin.call("ACL", "SETUSER", "al", "on", ">pass", "~queue:*", "+lpush", "+llen")
    connection = RedisOptions.from_url(
        guarded_server.url, username="al", password="pass", client_name="named"
    ).connect()

    with pytest.raises(RedisAuthError, match="NOPERM"):
        connection.call("DEL", "queue:default")
    with pytest.raises(RedisAuthError, match="NOPERM"):
        connection.call("LPUSH", "other", "x")

    # CLIENT SETNAME and SETINFO were denied as well, and nobody minds.
    assert connection.call("LPUSH", "queue:default", "x") == 1


def test_rights_taken_away_show_at_the_next_call_and_come_back(guarded_server, admin):
    admin.call("ACL", "SETUSER", "al", "on", ">pass", "~*", "+@all")
    connection = RedisOptions.from_url(guarded_server.url, username="al", password="pass").connect()
    connection.call("LPUSH", "queue:default", "x")
    admin.call("ACL", "SETUSER", "al", "-lpush")

    with pytest.raises(RedisAuthError):
        connection.call("LPUSH", "queue:default", "x")

    admin.call("ACL", "SETUSER", "al", "+lpush")
    assert connection.call("LPUSH", "queue:default", "x") == 2


def test_a_server_that_denies_info_is_still_checked_as_far_as_possible(guarded_server, admin):
    admin.call("ACL", "SETUSER", "al", "on", ">pass", "~*", "+time")
    connection = RedisOptions.from_url(guarded_server.url, username="al", password="pass").connect()

    info = check_server(connection)

    assert (info.name, info.version, info.role, info.maxmemory_policy) == (None, None, None, None)
    assert info.warnings == []


@pytest.mark.row("K2")
def test_a_server_that_repeats_the_password_does_not_get_it_into_our_error(tmp_path):
    def answer(command: list[bytes]) -> bytes:
        words = b", ".join(b"'%s'" % word for word in command[1:])
        return b"-ERR unknown command '%s', with args beginning with: %s\r\n" % (command[0], words)

    with canned_server(tmp_path / "s", answer) as url:
        connection = RedisOptions.from_url(url, password="s3cret").connect()

        with pytest.raises(RedisError, match=r"beginning with: '\*\*\*'") as caught:
            connection.call("PING")

    assert "s3cret" not in "".join(traceback.format_exception(caught.value))
