"""rediss://: good, unknown, expired and client certificates, unpatched and under gevent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sidekiq_py.errors import RedisDown
from sidekiq_py.redis_connection import RedisOptions
from sidekiq_py.redis_connection.connection import LOOK_AGAIN_AFTER
from tests.helpers import rest, run_python
from tests.tls import TlsServer, make_certificate, needs_openssl, start_tls_server

pytestmark = needs_openssl


@pytest.fixture(scope="module")
def tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServer]:
    """A server that speaks TLS only on its port, and asks clients for a certificate."""
    folder = tmp_path_factory.mktemp("tls")
    for name in ("server", "client", "stranger"):
        make_certificate(folder, name)
    started = start_tls_server(folder, certificate="server", clients="client")
    yield started
    started.server.stop()


def url_of(server: TlsServer, trusting: str = "server", showing: str = "client") -> str:
    certificates = server.certificates
    shown = f"ssl_certfile={certificates}/{showing}.crt&ssl_keyfile={certificates}/{showing}.key"
    return f"rediss://{server.place}?ssl_ca_certs={certificates}/{trusting}.crt&{shown}"


@pytest.mark.row("C16")
def test_a_trusted_server_is_used(tls_server):
    connection = RedisOptions.from_url(url_of(tls_server)).connect()

    assert connection.call("SET", "key", "x" * 1_000_000) == b"OK"
    assert connection.call("GET", "key") == b"x" * 1_000_000

    connection.disconnect()


def test_a_connection_at_rest_is_kept(tls_server):
    connection = RedisOptions.from_url(url_of(tls_server)).connect()
    number = connection.call("CLIENT", "ID")

    rest(LOOK_AGAIN_AFTER * 2)

    assert connection.call("CLIENT", "ID") == number
    connection.disconnect()


@pytest.mark.row("C16")
def test_a_server_of_unknown_origin_is_refused_before_anything_is_sent(tls_server):
    connection = RedisOptions.from_url(url_of(tls_server, trusting="stranger")).connect()

    with pytest.raises(RedisDown, match="CERTIFICATE_VERIFY_FAILED") as caught:
        connection.call("PING")

    assert not caught.value.sent


def test_the_system_s_authorities_decide_when_none_are_named(tls_server):
    connection = RedisOptions.from_url(f"rediss://{tls_server.place}").connect()

    with pytest.raises(RedisDown, match="CERTIFICATE_VERIFY_FAILED"):
        connection.call("PING")


@pytest.mark.row("C16")
def test_a_certificate_for_another_name_is_refused(tls_server):
    url = url_of(tls_server).replace("localhost", "127.0.0.1")

    with pytest.raises(RedisDown, match="CERTIFICATE_VERIFY_FAILED"):
        RedisOptions.from_url(url).connect().call("PING")

    unchecked = RedisOptions.from_url(f"{url}&ssl_check_hostname=false").connect()
    assert unchecked.call("PING") == b"PONG"
    unchecked.disconnect()


def test_a_client_certificate_the_server_does_not_know_is_refused(tls_server):
    connection = RedisOptions.from_url(url_of(tls_server, showing="stranger")).connect()

    with pytest.raises(RedisDown):
        connection.call("PING")


def test_verification_can_be_turned_off_as_some_hosters_need(tls_server):
    options = RedisOptions.from_url(url_of(tls_server, trusting="stranger"), tls={"ssl_cert_reqs": "none"})
    connection = options.connect()

    assert connection.call("PING") == b"PONG"

    connection.disconnect()


def test_a_plain_url_on_a_tls_port_is_down(tls_server):
    with pytest.raises(RedisDown):
        RedisOptions.from_url(f"redis://{tls_server.place}", read_timeout=1).connect().call("PING")


UNDER_GEVENT = """
from gevent import monkey
monkey.patch_all()
import gevent, sys
from sidekiq_py.redis_connection import RedisOptions, RedisPool

pool = RedisPool(RedisOptions.from_url(sys.argv[1]), size=3)
texts = [str(number) * 10_000 for number in range(30)]
jobs = [gevent.spawn(pool.call, "ECHO", text) for text in texts]
thread = gevent.get_hub().threadpool.spawn(pool.call, "ECHO", "native")
assert [job.get() for job in jobs] == [text.encode() for text in texts]
assert thread.get() == b"native"
with gevent.Timeout(0.05, False):
    pool.call("BLPOP", "empty", 1)
assert pool.call("ECHO", "after") == b"after"
print("fine")
"""


@pytest.mark.row("C16")
def test_tls_works_under_gevent_and_in_its_native_threads(tls_server):
    assert run_python(UNDER_GEVENT, url_of(tls_server)) == "fine\n"
