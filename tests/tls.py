"""Certificates of our own, good and expired, and a Redis that speaks TLS with them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.servers import Server, free_port, start_server

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="needs openssl: apt install openssl"
)


class TlsServer(NamedTuple):
    """`place` is host, port and database for a rediss:// URL."""

    place: str
    certificates: Path
    server: Server


def start_tls_server(folder: Path, *, certificate: str, clients: str | None = None) -> TlsServer:
    """A server that speaks TLS on its port. With `clients`, it asks for that certificate."""
    port = free_port()
    files = {"cert-file": f"{certificate}.crt", "key-file": f"{certificate}.key"}
    flags = [text for name, file in files.items() for text in (f"--tls-{name}", str(folder / file))]
    trusted = ("--tls-ca-cert-file", str(folder / f"{clients or certificate}.crt"))
    flags += [*trusted, "--tls-auth-clients", "yes" if clients else "no", "--tls-port", str(port)]
    server = start_server("redis7", folder / "home", extra_args=flags)
    return TlsServer(f"localhost:{port}/1", folder, server)


def make_certificate(folder: Path, name: str, *, days: int = 2) -> None:
    """`name.crt` and `name.key` for localhost, signed by itself; with `days=-1` it has expired."""
    (folder / "extensions").write_text("subjectAltName=DNS:localhost\nbasicConstraints=critical,CA:TRUE\n")
    request = ["req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}"]
    sign = ["x509", "-req", "-in", f"{name}.csr", "-signkey", f"{name}.key", "-extfile", "extensions"]
    for command in (
        [*request, "-keyout", f"{name}.key", "-out", f"{name}.csr"],
        [*sign, "-days", str(days), "-out", f"{name}.crt"],
    ):
        subprocess.run(["openssl", *command], cwd=folder, check=True, capture_output=True)
