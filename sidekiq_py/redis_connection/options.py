"""Where Redis is and how to get in, as one value that parts are given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from sidekiq_py.did_you_mean import did_you_mean
from sidekiq_py.errors import InvalidConfig
from sidekiq_py.redis_connection.url import TLS_OPTIONS, Address, masked, parse_host, parse_url
from sidekiq_py.user_code import name_of

if TYPE_CHECKING:
    from sidekiq_py.redis_connection.connection import RedisConnection

DEFAULT_URL: Final = "redis://localhost:6379/0"
TLS_KEYWORDS: Final = frozenset({"ssl_ca_data", "ssl_min_version"})  # what has no place in a URL


OTHERS_WORDS: Final = {  # of Ruby's config.redis and of redis-py
    "size": "set config.pool_size",
    "pool_timeout": "a pool waits 5 seconds for a connection",
    "timeout": "give connect_timeout and read_timeout",
    "network_timeout": "give connect_timeout and read_timeout",
    "write_timeout": "read_timeout counts for writes too",
    "socket_timeout": "give read_timeout",
    "socket_connect_timeout": "give connect_timeout",
    "ssl_params": "give tls, with redis-py's names, as in {'ssl_ca_certs': '/etc/ssl/redis.pem'}",
    "ssl": "write rediss:// in the URL",
    "host": "write host and port into url, as in 'redis://cache.internal:6380/0'",
    "port": "write host and port into url, as in 'redis://cache.internal:6380/0'",
    "name": "the host in url is the master's name, as in 'redis://mymaster'",
    "role": "jobs are always read from the master",
    "id": "give client_name",
    "namespace": "Sidekiq 7 has none either; use another database, as in 'redis://localhost:6379/1'",
    "driver": "there is only one",
}


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
        self._check_types()
        address = self._overridden(parse_url(self.url))
        if address.secure:
            _check_tls(address.tls)
        object.__setattr__(self, "address", address)

    @classmethod
    def from_url(cls, url: str, **overrides: Any) -> Self:
        """Options for one URL: redis://, rediss://, unix:// or redis+sentinel://; see `parse_url`."""
        return cls(url=url, **overrides)

    @classmethod
    def of(cls, given: RedisOptions | str | Mapping[str, Any], base: RedisOptions) -> RedisOptions:
        """From what `config.redis = …` is given: a URL, or a dict of the names above.

        A dict without a URL changes only what it names, and leaves the rest as in `base`. InvalidConfig for
        anything else.
        """
        if isinstance(given, RedisOptions):
            return given
        if isinstance(given, str):
            return cls(url=given)
        if not isinstance(given, Mapping):
            raise InvalidConfig(
                f"config.redis is a URL, as in {DEFAULT_URL!r}, or a dict, as in "
                f"{{'url': {DEFAULT_URL!r}, 'read_timeout': 3.0}}; got {_kind_of(given)}"
            )
        known = base.given()
        for name in given:
            if name not in known:
                hint = OTHERS_WORDS.get(name) or f"there are {', '.join(known)}"
                near = "" if name in OTHERS_WORDS else did_you_mean(str(name), known)
                raise InvalidConfig(f"config.redis has no option {name!r}; {hint}{near}")
        return cls(**given) if "url" in given else replace(base, **given)

    def given(self) -> dict[str, Any]:
        """The keywords that make these options again."""
        return {name: getattr(self, name) for name, each in self.__dataclass_fields__.items() if each.init}

    @property
    def masked_url(self) -> str:
        """The URL with *** for every password: safe in logs, errors and pages."""
        return masked(self.url)

    def connect(
        self, *, read_timeout: float | None = None, kind: Callable[..., RedisConnection] | None = None
    ) -> RedisConnection:
        """A connection that opens its socket at the first call.

        One that blocks (BLMOVE) needs a `read_timeout` longer than its block. `kind` is made as a
        RedisConnection is.
        """
        from sidekiq_py.redis_connection.connection import RedisConnection  # redis-py is slow to import

        return (kind or RedisConnection)(
            self.address,
            connect_timeout=self.connect_timeout,
            read_timeout=self.read_timeout if read_timeout is None else read_timeout,
            client_name=self.client_name,
        )

    def _check_types(self) -> None:
        for name in ("connect_timeout", "read_timeout"):
            seconds = getattr(self, name)
            if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
                raise InvalidConfig(f"redis {name} is {seconds!r}: expected seconds above 0, as 5.0")
        if self.db is not None and (type(self.db) is not int or self.db < 0):
            raise InvalidConfig(f"redis db is {self.db!r}: expected the number of a database, as 0")
        if isinstance(self.sentinels, str) or not all(isinstance(each, str) for each in self.sentinels):
            raise InvalidConfig(
                f"redis sentinels are {self.sentinels!r}: expected a list, as ['one:26379', 'two:26379']"
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


def _kind_of(given: object) -> str:
    """Its type alone: a client's repr may show a password."""
    return "None" if given is None else f"a {name_of(type(given))}"


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
