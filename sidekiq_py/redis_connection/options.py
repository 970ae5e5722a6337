"""Where Redis is and how to get in, as one value that parts are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from sidekiq_py.errors import InvalidConfig
from sidekiq_py.redis_connection.url import TLS_OPTIONS, Address, masked, parse_host, parse_url

if TYPE_CHECKING:
    from sidekiq_py.redis_connection.connection import RedisConnection

DEFAULT_URL: Final = "redis://localhost:6379/0"
TLS_KEYWORDS: Final = frozenset({"ssl_ca_data", "ssl_min_version"})  # what has no place in a URL


@dataclass(frozen=True, kw_only=True, repr=False)
class RedisOptions:
    """How to reach one Redis. Timeouts in seconds.

    A keyword wins over the same fact in the URL. With `sentinels` (each `host[:port]`) the URL's host is the
    master's name, as in Ruby's redis-client. `tls` takes redis-py's `ssl_…` names, and counts for rediss://
    only. InvalidConfig says what was given and what is expected.
    """

    url: str = DEFAULT_URL
    connect_timeout: float = 5.0
    read_timeout: float = 5.0
    client_name: str | None = None
    username: str | None = None
    password: str | None = None
    db: int | None = None
    sentinels: Sequence[str] = ()
    sentinel_username: str | None = None
    sentinel_password: str | None = None
    tls: Mapping[str, Any] = field(default_factory=dict)
    address: Address = field(init=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("connect_timeout", "read_timeout"):
            if not getattr(self, name) > 0:
                raise InvalidConfig(
                    f"redis {name} is {getattr(self, name)!r}: expected seconds above 0, as 5.0"
                )
        address = self._overridden(parse_url(self.url))
        if address.secure:
            _check_tls(address.tls)
        object.__setattr__(self, "address", address)

    @classmethod
    def from_url(cls, url: str, **overrides: Any) -> Self:
        """Options for one URL: redis://, rediss://, unix:// or redis+sentinel://; see `parse_url`."""
        return cls(url=url, **overrides)

    @property
    def masked_url(self) -> str:
        """The URL with *** for every password: safe in logs, errors and pages."""
        return masked(self.url)

    def connect(self, *, read_timeout: float | None = None) -> RedisConnection:
        """A connection that opens its socket at the first call.

        One that blocks (BLMOVE) needs a `read_timeout` longer than its block.
        """
        from sidekiq_py.redis_connection.connection import RedisConnection  # redis-py is slow to import

        return RedisConnection(
            self.address,
            connect_timeout=self.connect_timeout,
            read_timeout=self.read_timeout if read_timeout is None else read_timeout,
            client_name=self.client_name,
        )

    def _overridden(self, address: Address) -> Address:
        names = ("username", "password", "db", "sentinel_username", "sentinel_password")
        facts = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if self.sentinels:
            facts["sentinels"] = tuple(parse_host(host, 26379, self.url) for host in self.sentinels)
            facts["master_name"] = address.master_name or address.host
        if self.tls:
            facts["tls"] = {**address.tls, **self.tls}
        return replace(address, **facts)

    def __repr__(self) -> str:
        return f"RedisOptions({self.masked_url!r})"


def _check_tls(options: Mapping[str, Any]) -> None:
    unknown = sorted(options.keys() - TLS_OPTIONS - TLS_KEYWORDS)
    if unknown:
        known = ", ".join(sorted(TLS_OPTIONS | TLS_KEYWORDS))
        raise InvalidConfig(f"the redis TLS option {unknown[0]!r} is unknown; there are {known}")
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        file = options.get(name)
        # Told now: at connect time it would read "can't reach Redis: no such file".
        if file and not Path(file).is_file():
            raise InvalidConfig(f"the redis TLS option {name} names {str(file)!r}, which is not a file")
