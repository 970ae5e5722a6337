"""TLS on servers at work: a certificate that is no good is no way in, and costs no job."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.ruin import Ruin
from tests.process import stage as stages
from tests.tls import TlsServer, make_certificate, needs_openssl, start_tls_server

pytestmark = needs_openssl


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServer]:
    folder = tmp_path_factory.mktemp("tls")
    make_certificate(folder, "good")
    make_certificate(folder, "stranger")
    make_certificate(folder, "expired", days=-1)
    trusted = "".join((folder / f"{name}.crt").read_text() for name in ("good", "expired"))
    (folder / "trusted.crt").write_text(trusted)
    started = start_tls_server(folder, certificate="good")
    yield started
    started.server.stop()


@pytest.fixture
def ruin(tls: TlsServer, tmp_path: Path) -> Iterator[Ruin]:
    built = Ruin(stages.on(tls.server, tmp_path))
    built.stage.redis_url = f"rediss://{tls.place}?ssl_ca_certs={tls.certificates}/trusted.crt"
    built.stage.raw.select(1)
    show(built, tls, "good")
    yield built
    built.end()


def show(ruin: Ruin, tls: TlsServer, name: str) -> None:
    """Give the server this certificate and end all connections of before."""
    files = {f"tls-{kind}-file": tls.certificates / f"{name}.{end}" for kind, end in CERTIFICATE.items()}
    raw: Any = ruin.stage.raw
    raw.execute_command("CONFIG", "SET", *[word for pair in files.items() for word in map(str, pair)])
    raw.client_kill_filter(_type="normal", skipme=True)


CERTIFICATE = {"cert": "crt", "key": "key"}
WHY = {"stranger": "self-signed certificate", "expired": "certificate has expired"}


@pytest.mark.row("C16")
@pytest.mark.parametrize("certificate", WHY)
def test_a_bad_certificate_ends_the_start_in_one_sentence(ruin: Ruin, tls: TlsServer, certificate: str):
    show(ruin, tls, certificate)

    server = ruin.launch()

    assert server.wait() == 4
    [line] = server.log.splitlines()
    assert WHY[certificate] in line


@pytest.mark.row("C16", "D16")
@pytest.mark.parametrize("certificate", WHY)
def test_a_certificate_that_turns_bad_at_work_is_waited_out(ruin: Ruin, tls: TlsServer, certificate: str):
    server = ruin.start("-c", "3")
    jobs = ruin.push("Until", "go", count=2) + ruin.push("Brief")
    ruin.wait_until_running(2)

    show(ruin, tls, certificate)
    jobs += ruin.push("Brief", count=10)
    server.wait_for_log(WHY[certificate])
    ruin.stage.let("go")
    ruin.wait_until_ended(jobs[:2])
    show(ruin, tls, "good")

    ruin.assert_once(jobs)
    server.wait_for_log("Redis is back")
    assert "Traceback" not in server.log
    assert server.stop() == 0


IMPORTS_FIRST = """
import socket, ssl, urllib.request

@job("Asks")
def asks(port, trusted):
    start()
    context = ssl.create_default_context(cafile=trusted)
    with (
        socket.create_connection(("localhost", port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        secure.sendall(b"PING\\r\\n")
        assert secure.recv(7) == b"+PONG\\r\\n"
    end()
"""


@pytest.mark.row("J1")
def test_handlers_may_import_ssl_first_and_speak_tls_themselves(ruin: Ruin, tls: TlsServer):
    server = ruin.start(handlers=IMPORTS_FIRST, environ={"PYTHONWARNINGS": "error"})

    port = int(tls.place.partition(":")[2].partition("/")[0])
    ruin.assert_once(ruin.push("Asks", port, str(tls.certificates / "trusted.crt"), count=3))

    assert "Warning" not in server.log
