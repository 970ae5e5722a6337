"""Redis URLs: one grammar, one address type, errors that teach the grammar."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from sidekiq_py.errors import InvalidConfig

HIDDEN: Final = "***"
SHORT_SECRET: Final = 6  # characters
SCHEMES: Final = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
TLS_OPTIONS: Final = frozenset(
    {"ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_password", "ssl_cert_reqs"}
    | {"ssl_check_hostname", "ssl_ciphers"}
)
QUERY_OPTIONS: Final = TLS_OPTIONS | {"db", "username", "password", "sentinel_username", "sentinel_password"}
CERT_REQS: Final = ("none", "optional", "required")
EXPECTED: Final = (
    "expected redis://[user:password@]host[:port][/db], rediss://… for TLS, unix:///path/redis.sock[?db=1], "
    "or redis+sentinel://[user:password@]host[:port],host[:port]/master_name[/db]; "
    "for example redis://localhost:6379/0"
)
PASSWORD_IN_USERINFO: Final = re.compile(r"^((?:[\w+.-]+://)?[^/@?#:]*:)(.*)(@)")
PASSWORD_IN_QUERY: Final = re.compile(r"(password=)[^&#]*")


@dataclass(frozen=True)
class Address:
    """What a URL says, decoded. A `path` is a unix socket's; `sentinels` are asked for `master_name`."""

    host: str = "localhost"
    port: int = 6379
    path: str | None = None
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinels: tuple[tuple[str, int], ...] = ()
    master_name: str | None = None
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    secure: bool = False
    tls: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every password in here, the longest first, so that none survives as part of another."""
        found = {self.password, self.sentinel_password, self.tls.get("ssl_password")}
        return tuple(sorted((secret for secret in found if secret), key=len, reverse=True))

    @property
    def user(self) -> str:
        """As a sentence names who connects."""
        return f"user {self.username!r}" if self.username else "the default user"

    def hide_secrets(self, text: str) -> str:
        """The text without any of our passwords: some errors of servers repeat what they were sent.

        A short one only where it stands alone: it may be a part of any word.
        """
        for secret in self.secrets:
            hidden = re.escape(secret)
            if len(secret) < SHORT_SECRET:
                hidden = rf"(?<!\w){hidden}(?!\w)"
            text = re.sub(hidden, HIDDEN, text)
        return text

    def __str__(self) -> str:
        if self.path is not None:
            return self.path
        if self.sentinels:
            hosts = ", ".join(f"{host}:{port}" for host, port in self.sentinels)
            return f"master {self.master_name!r} of sentinels {hosts}"
        return f"{self.host}:{self.port}"


def masked(url: str) -> str:
    """The URL with *** for each password, whether or not the rest of it makes sense."""
    # Greedy up to the last @: a password that holds a bare @ or / must not leak its second half.
    url = PASSWORD_IN_USERINFO.sub(rf"\1{HIDDEN}\3", url)
    return PASSWORD_IN_QUERY.sub(rf"\1{HIDDEN}", url)


def parse_url(url: str) -> Address:
    """The address a URL names. Percent-escapes in user, password and path are decoded.

    InvalidConfig shows the URL (passwords hidden), what is wrong with it, and the forms that are understood.
    """
    parts = _split(url)
    query = _query(parts, url)
    facts: dict[str, Any] = {
        "username": query.pop("username", None) or _unquoted(parts.username),
        "password": query.pop("password", None) or _unquoted(parts.password),
        "secure": parts.scheme.startswith("rediss"),
        **{name: query.pop(name) for name in ("sentinel_username", "sentinel_password") if name in query},
    }
    database = query.pop("db", None)
    place, database_in_path = _place(parts, url)
    facts["db"] = _database(database if database is not None else database_in_path, url)
    return Address(**facts, **place, tls=_tls(query, url))


def parse_host(text: str, default_port: int, url: str) -> tuple[str, int]:
    """`host`, `host:port` or `[v6]:port` as a pair."""
    found = re.fullmatch(r"(\[[^\]]+\]|[^:\s/,]+)(?::(\d{1,5}))?", text.strip())
    if found is None or not 0 < int(found.group(2) or default_port) < 65536:
        _reject(url, f"{text!r} is not a host[:port]")
    return unquote(found.group(1)).strip("[]"), int(found.group(2) or default_port)


def _split(url: str) -> SplitResult:
    if not isinstance(url, str):
        _reject(str(url), f"it is a {type(url).__name__}, not a string")
    try:
        parts = urlsplit(url.strip())
        parts.username, parts.password  # noqa: B018  # both may raise ValueError
    except ValueError as error:
        _reject(url, str(error))
    if _has_stray_userinfo(parts):
        _reject(url, "write @ : / ? # in a user or password as %40 %3A %2F %3F %23")
    if parts.scheme not in SCHEMES:
        _reject(url, f"the scheme {parts.scheme!r} is unknown" if parts.scheme else "it has no scheme")
    return parts


def _has_stray_userinfo(parts: SplitResult) -> bool:
    """A password with a bare / ? or # ends the host part early; naming a piece of it would show the rest."""
    if parts.scheme == "unix" and not parts.netloc:
        return False
    return "@" in parts.path or "@" in parts.fragment or "@" in parts.query.partition("=")[0]


def _query(parts: SplitResult, url: str) -> dict[str, str]:
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(query.keys() - QUERY_OPTIONS)
    if unknown:
        _reject(url, f"the option {unknown[0]!r} is unknown; there are {', '.join(sorted(QUERY_OPTIONS))}")
    return query


def _place(parts: SplitResult, url: str) -> tuple[dict[str, Any], str | None]:
    """Where to connect, and the database the path names."""
    hosts = parts.netloc.rpartition("@")[2]
    if parts.scheme == "unix":
        if not parts.path.strip("/") or hosts:
            _reject(url, "a unix socket needs an absolute path, after three slashes")
        return {"path": unquote(parts.path)}, None
    steps = [unquote(step) for step in parts.path.split("/") if step]
    if parts.scheme.endswith("+sentinel"):
        return _sentinel_place(hosts, steps, url)
    if len(steps) > 1:
        _reject(url, f"the path {parts.path!r} is not a database number")
    host, port = parse_host(hosts or "localhost", 6379, url)
    return {"host": host, "port": port}, steps[0] if steps else None


def _sentinel_place(hosts: str, steps: list[str], url: str) -> tuple[dict[str, Any], str | None]:
    if not hosts or not steps or len(steps) > 2:
        _reject(url, "Sentinel needs at least one host and the master's name")
    sentinels = tuple(parse_host(host, 26379, url) for host in hosts.split(","))
    return {"sentinels": sentinels, "master_name": steps[0]}, steps[1] if len(steps) == 2 else None


def _database(text: str | None, url: str) -> int:
    if not text:
        return 0
    if not text.isdecimal():
        _reject(url, f"the database {text!r} is not a number")
    return int(text)


def _tls(query: dict[str, str], url: str) -> dict[str, Any]:
    options: dict[str, Any] = dict(query)
    reqs = options.get("ssl_cert_reqs", "required")
    if reqs not in CERT_REQS:
        _reject(url, f"ssl_cert_reqs is {reqs!r}, not one of {', '.join(CERT_REQS)}")
    if "ssl_check_hostname" in options:
        options["ssl_check_hostname"] = options["ssl_check_hostname"].lower() not in {
            "0",
            "f",
            "false",
            "n",
            "no",
        }
    return options


def _unquoted(text: str | None) -> str | None:
    return unquote(text) if text else None


def _reject(url: str, reason: str) -> NoReturn:
    # `from None`: the cause may repeat the URL, and with it the password.
    raise InvalidConfig(f"can't use the Redis URL {masked(url)!r}: {reason}; {EXPECTED}") from None
