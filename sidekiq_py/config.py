"""Everything a server or a client may be told, as one typed object.

Ruby twin: Sidekiq::Config. `config_sources` fills it from the command line, the environment and files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar, get_args

from sidekiq_py.capsule import DEFAULT_CONCURRENCY, DEFAULT_QUEUE, Capsule
from sidekiq_py.did_you_mean import did_you_mean
from sidekiq_py.errors import InvalidConfig, RedisDown
from sidekiq_py.keys import HEARTBEAT_TTL
from sidekiq_py.middleware import (
    CLIENT_LINK_TAKES,
    SERVER_LINK_TAKES,
    Chain,
    ClientMiddleware,
    ServerMiddleware,
)
from sidekiq_py.payload import Payload
from sidekiq_py.redis_setting import RedisSetting
from sidekiq_py.user_code import called, check_function, shown

if TYPE_CHECKING:
    from sidekiq_py.logger import LogFormat

DeathHandler: TypeAlias = Callable[[Payload, BaseException], object]
ErrorHandler: TypeAlias = Callable[[BaseException, Mapping[str, Any]], object]
Callback: TypeAlias = Callable[[], object]
BacktraceCleaner: TypeAlias = Callable[[list[str]], list[str]]
UnknownClass: TypeAlias = Literal["retry", "handback", "dead"]
UNKNOWN_CLASS: Final[tuple[UnknownClass, ...]] = get_args(UnknownClass)

EVENTS = ("startup", "heartbeat", "beat", "quiet", "shutdown", "exit")
DEFAULT_TIMEOUT = 25.0
DEAD_TIMEOUT = 180 * 24 * 60 * 60

_SECONDS: Final = (
    "timeout",
    "heartbeat_ttl",
    "dead_timeout_in_seconds",
    "average_scheduled_poll_interval",
    "poll_interval_average",
)
# Options that are functions, and what they are called with.
_FUNCTIONS: Final = {
    "death_handlers": "job, error",
    "error_handlers": "error, context",
    "backtrace_cleaner": "lines",
}

CallbackT = TypeVar("CallbackT", bound=Callback)


def _own_hostname() -> str:
    return os.uname().nodename


def _server_chain() -> Chain[ServerMiddleware]:
    return Chain(takes=SERVER_LINK_TAKES)


def _client_chain() -> Chain[ClientMiddleware]:
    return Chain(takes=CLIENT_LINK_TAKES)


def _every_line(backtrace: list[str]) -> list[str]:
    return backtrace


@dataclass(kw_only=True)
class Config:
    """What the server and the client are told. Filled while booting, read-only once launched.

    Handlers, middleware and callbacks are added in functions under `@configure_server` and
    `@configure_client`. `origins` says where each value came from; a name that isn't there has its default.
    """

    environment: str = "development"
    tag: str = ""
    labels: list[str] = field(default_factory=list)
    concurrency: int = DEFAULT_CONCURRENCY  # of the default capsule, and of capsules that give none
    timeout: float = DEFAULT_TIMEOUT  # seconds that running jobs get to finish at shutdown
    verbose: bool = False
    require: str = "."  # a .py file, a dotted module or a directory
    capsules: dict[str, Capsule] = field(default_factory=dict)
    redis: RedisSetting = RedisSetting()  # noqa: RUF009  # a descriptor; set by options, a URL or a dict
    pool_size: int | None = None  # connections for everything but fetching; None: as many as are needed
    hostname: str = field(default_factory=_own_hostname)  # first part of the identity

    processes: int = 1  # workers under a supervisor; 0: this very process works, without one
    max_memory: int | None = None  # bytes in RAM at which a worker is replaced
    max_jobs: int | None = None  # jobs after which a worker is replaced
    heartbeat_ttl: int = HEARTBEAT_TTL  # seconds; all processes on one Redis must agree
    stall_after: float = 5.0  # seconds that the event loop may stand still without a warning

    max_retries: int = 25
    dead_max_jobs: int = 10_000
    dead_timeout_in_seconds: float = DEAD_TIMEOUT
    average_scheduled_poll_interval: float = 5.0  # seconds between polls, over all processes
    poll_interval_average: float | None = None  # seconds between this process's polls, whatever the others do
    unknown: UnknownClass = "retry"  # what becomes of a job whose class has no handler
    dialect: int | None = None  # 6, 7 or 8; None: follow the oldest Sidekiq seen

    log_level: str = "info"
    log_format: LogFormat = "pretty"
    log_args: bool = False
    logged_job_attributes: list[str] = field(default_factory=lambda: ["bid", "tags"])
    skip_default_job_logging: bool = False
    backtrace_cleaner: BacktraceCleaner = _every_line

    server_middleware: Chain[ServerMiddleware] = field(default_factory=_server_chain)
    client_middleware: Chain[ClientMiddleware] = field(default_factory=_client_chain)
    death_handlers: list[DeathHandler] = field(default_factory=list)
    error_handlers: list[ErrorHandler] = field(default_factory=list)
    lifecycle_events: dict[str, list[Callback]] = field(default_factory=lambda: {name: [] for name in EVENTS})

    origins: dict[str, str] = field(default_factory=dict)  # option -> "-c", "config/sidekiq.yml:3", …
    files: list[str] = field(default_factory=list)  # the config files that were read, strongest first
    notices: list[str] = field(default_factory=list)  # to be logged once at boot, one sentence each
    _configured: list[Any] = field(default_factory=list, init=False, repr=False, compare=False)
    _frozen: bool = field(default=False, init=False, repr=False, compare=False)

    @property
    def default_capsule(self) -> Capsule:
        """The capsule of `-q` and `-c`; made when first asked for."""
        return self.capsule(DEFAULT_QUEUE)

    @property
    def queues(self) -> list[str]:
        """Names of the default capsule's queues; set in any form that `Capsule` takes."""
        return self.default_capsule.queues

    @queues.setter
    def queues(self, specs: object) -> None:
        self.default_capsule.queues = specs

    @property
    def all_queues(self) -> list[str]:
        """Names of all queues of all capsules, each once."""
        return list(dict.fromkeys(name for capsule in self.capsules.values() for name in capsule.queues))

    @property
    def total_concurrency(self) -> int:
        """How many jobs run at once, over all capsules."""
        return sum(capsule.concurrency for capsule in self.capsules.values())

    def capsule(self, name: str, *, queues: object = None, concurrency: int | None = None) -> Capsule:
        """The capsule of this name, made when there is none yet; what is given is set on it."""
        capsule = self.capsules.get(name)
        if capsule is None:
            self._check_open(f"capsule {name!r} can't be added after launch")
            capsule = Capsule(name=name, concurrency=self.concurrency)
            self.capsules[name] = capsule
        if queues is not None:
            capsule.queues = queues
        if concurrency is not None:
            capsule.concurrency = concurrency
        return capsule

    def on(self, event: str, callback: CallbackT | None = None) -> Callable[[CallbackT], CallbackT]:
        """Call `callback` at an event of the server's life; without one it is a decorator.

        startup: before the first fetch; quiet: no new jobs from now on; shutdown: jobs are being stopped;
        exit: all has ended; heartbeat: the first beat, and the first after an outage; beat: every beat.
        Ruby twin: Sidekiq::Config#on.
        """
        self._check_open(f"no callback for {event!r} can be added after launch")
        if event not in self.lifecycle_events:
            raise InvalidConfig(
                f"there is no event {event!r}; there are {', '.join(EVENTS)}{did_you_mean(event, EVENTS)}"
            )

        def add(function: CallbackT) -> CallbackT:
            check_function(f"callback for {event!r}", function, takes="")
            self.lifecycle_events[event].append(function)
            return function

        if callback is not None:
            add(callback)
        return add

    def redis_trouble(self, error: Exception) -> str:
        """Why Redis can't be used at start, which one that is, who says so, what to do. Shows no password."""
        origin = self.origins.get("redis_url", "the default")
        advice = ": start it, or say where it is by --redis-url or REDIS_URL"
        return (
            f"{str(error).removesuffix('.')}. The Redis URL is {self.redis.masked_url}, from {origin}"
            f"{advice if isinstance(error, RedisDown) else ''}"
        )

    def apply_server_hooks(self) -> None:
        """Run every function under `@configure_server` that hasn't seen this config yet, in order.

        InvalidConfig names the one that fails; what it raised is the cause.
        """
        self.apply(_server_hooks, "configure_server")

    def apply_client_hooks(self) -> None:
        """The same for `@configure_client`."""
        self.apply(_client_hooks, "configure_client")

    def freeze(self) -> None:
        """Forbid any further change; there is a capsule from now on. Twice is once."""
        if self._frozen:
            return
        self._check_functions()
        if not self.capsules:
            self.capsule(DEFAULT_QUEUE)
        for capsule in self.capsules.values():
            capsule.freeze()
        self._frozen = True

    def apply(self, hooks: list[Configure], decorator: str) -> None:
        """Run these functions, which were given to that decorator; see `apply_server_hooks`."""
        for configure in hooks:
            if configure in self._configured:
                continue
            self._configured.append(configure)
            try:
                called(configure, self)
                self._check_functions()
            except (Exception, SystemExit) as error:
                reason = f"failed with {type(error).__name__}: {error}"
                raise InvalidConfig(f"@{decorator} {_place(configure)} {reason}") from error

    def _check_functions(self) -> None:
        for name, takes in _FUNCTIONS.items():
            given = getattr(self, name)
            for function in given if isinstance(given, list) else [given]:
                check_function(f"config.{name}", function, takes=takes)

    def _check_open(self, sentence: str) -> None:
        if self._frozen:
            raise AttributeError(sentence)

    def __setattr__(self, name: str, value: Any) -> None:
        if getattr(self, "_frozen", False):
            raise AttributeError(f"config.{name} can't change after launch")
        known = type(self).__dataclass_fields__
        if name not in known and name != "queues":
            raise AttributeError(f"config has no option {name!r}{did_you_mean(name, [*known, 'queues'])}")
        if name in _SECONDS and value is not None:
            _check_seconds(name, value)
        super().__setattr__(name, value)
        if name == "concurrency" and DEFAULT_QUEUE in getattr(self, "capsules", ()):
            self.default_capsule.concurrency = value


def _place(function: Configure) -> str:
    """`configure (/app/handlers.py:12)`, as far as it is known."""
    code = getattr(function, "__code__", None)
    where = f" ({code.co_filename}:{code.co_firstlineno})" if code else ""
    return f"{getattr(function, '__name__', repr(function))}{where}"


def _check_seconds(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise InvalidConfig(f"config.{name} is a number of seconds above 0, got {shown(value)}")


Configure: TypeAlias = Callable[[Config], object]
ConfigureT = TypeVar("ConfigureT", bound=Configure)

_server_hooks: Final[list[Configure]] = []
_client_hooks: Final[list[Configure]] = []


def configure_server(function: ConfigureT) -> ConfigureT:
    """Decorator: the function gets the server's config before launch, and never in a mere client.

    Ruby twin: Sidekiq.configure_server.
    """
    check_function("configure_server", function, takes="config")
    _server_hooks.append(function)
    return function


def configure_client(function: ConfigureT) -> ConfigureT:
    """Decorator: the function gets the client's config before the first push, and never in a server.

    Ruby twin: Sidekiq.configure_client.
    """
    check_function("configure_client", function, takes="config")
    _client_hooks.append(function)
    return function
