"""redis-py connections set up our way: no retries, explicit timeouts, RESP2; Sentinel asked each time."""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from typing import Any, Final, Protocol
from weakref import WeakSet

import redis.exceptions as redis_py
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.retry import Retry

from sidekiq_py.errors import RedisDown
from sidekiq_py.redis_connection.url import Address
from sidekiq_py.version import VERSION

# Their constructors take keywords only at run time, and are untyped.
TCP: Final[Any] = Connection
TLS: Final[Any] = SSLConnection
UNIX: Final[Any] = UnixDomainSocketConnection

# redis-py repeats commands after errors by default: an LPUSH would be stored twice.
SETTINGS: Final[dict[str, Any]] = {
    "retry": Retry(NoBackoff(), 0),
    "retry_on_error": [],
    "health_check_interval": 0,
    "protocol": 2,
}
# Newer redis-py introduces itself in two round trips of its own; `greet` does it in one that may fail.
if "driver_info" in inspect.signature(AbstractConnection.__init__).parameters:
    SETTINGS["driver_info"] = None


_links: Final[WeakSet[Any]] = WeakSet()  # all that this process and its parents have made


class Link(Protocol):
    """The part of a redis-py connection that we use, with types."""

    def connect(self) -> None: ...
    def disconnect(self) -> None: ...
    def pack_commands(self, commands: Sequence[Sequence[str | int | None]]) -> list[bytes]: ...
    def send_packed_command(self, command: Sequence[bytes], check_health: bool) -> None: ...
    def read_response(self) -> Any: ...
    def can_read(self, timeout: float) -> bool: ...


def open_link(
    address: Address, *, connect_timeout: float, read_timeout: float, client_name: str | None
) -> Link:
    """A connected and greeted redis-py connection to the server the address names, or redis-py's error."""
    timeouts = {"socket_connect_timeout": connect_timeout, "socket_timeout": read_timeout}
    if address.sentinels:
        host, port = _ask_sentinels(address, timeouts)
    else:
        host, port = address.host, address.port
    login = {"db": address.db, "username": address.username, "password": address.password}
    link = _connected(address, host, port, {**timeouts, **login})
    try:
        _greet(link, client_name)
        if address.sentinels:
            _insist_on_master(link, f"{host}:{port}")
    except BaseException:
        link.disconnect()
        raise
    return link


def let_go_of_inherited() -> None:
    """In a forked child: close its parent's connections here, and leave them as they are in the parent.

    While anybody holds its socket, Redis goes on serving the BLMOVE of a parent that has died.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    for link in list(_links):
        if link._sock is not None and (number := link._sock.fileno()) >= 0:
            # Not by its own `close`, which speaks to a TLS peer, and to the event loop of the parent.
            os.dup2(nothing, number, inheritable=False)
    os.close(nothing)


def _connected(address: Address, host: str, port: int, options: dict[str, Any]) -> Link:
    options = {**SETTINGS, **options}
    link: Link
    if address.path is not None:
        link = UNIX(path=address.path, **options)
    elif address.secure:
        link = TLS(host=host, port=port, socket_keepalive=True, **address.tls, **options)
    else:
        link = TCP(host=host, port=port, socket_keepalive=True, **options)
    _links.add(link)
    try:
        link.connect()
    except BaseException:  # a greenlet may be killed between the steps of the handshake
        link.disconnect()
        raise
    return link


def _greet(link: Link, client_name: str | None) -> None:
    """Show up in CLIENT LIST. Old servers and tight ACLs refuse, which hurts nobody."""
    commands: list[tuple[str, ...]] = [
        ("CLIENT", "SETINFO", "LIB-NAME", "sidekiq-py"),
        ("CLIENT", "SETINFO", "LIB-VER", VERSION),
    ]
    if client_name:
        commands.append(("CLIENT", "SETNAME", "-".join(client_name.split())))  # Redis takes no spaces
    link.send_packed_command(link.pack_commands(commands), check_health=False)
    for _ in commands:
        _reply_or_error(link)


def _insist_on_master(link: Link, place: str) -> None:
    """During a failover Sentinel may still name the old master, which comes back as a replica."""
    role = _ask(link, "ROLE")
    if isinstance(role, list) and role[0] != b"master":
        raise RedisDown(f"Sentinel named {place}, which is a {role[0].decode()} and not (yet) the master")


def _ask(link: Link, *command: str) -> Any:
    link.send_packed_command(link.pack_commands([command]), check_health=False)
    return _reply_or_error(link)


def _reply_or_error(link: Link) -> Any:
    try:
        return link.read_response()
    except redis_py.ResponseError as error:
        return error


def _ask_sentinels(address: Address, timeouts: dict[str, Any]) -> tuple[str, int]:
    login = {"username": address.sentinel_username, "password": address.sentinel_password}
    problems = []
    for host, port in address.sentinels:
        try:
            reply = _ask_sentinel(address, host, port, {**timeouts, **login})
        except (redis_py.RedisError, OSError, UnicodeError) as error:
            problems.append(f"{host}:{port} fails: {error}")
            continue
        if reply:
            return reply[0].decode(), int(reply[1])
        problems.append(f"{host}:{port} knows no such master")
    reasons = address.hide_secrets("; ".join(problems))
    raise RedisDown(f"no sentinel names the master {address.master_name!r}: {reasons}")


def _ask_sentinel(address: Address, host: str, port: int, options: dict[str, Any]) -> Any:
    link = _connected(address, host, port, options)
    try:
        reply = _ask(link, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", str(address.master_name))
        if isinstance(reply, Exception):
            raise reply
        return reply
    finally:
        link.disconnect()
