"""Puts a `Config` together: command line > environment > section of the file > file > default.

Ruby twin: Sidekiq::CLI#setup_options. Nothing below the commands but this looks at environment variables.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

from sidekiq_py.capsule import DEFAULT_QUEUE
from sidekiq_py.config import Config
from sidekiq_py.config_files import find_files, load_file
from sidekiq_py.config_options import BY_NAME, OPTIONS, Given, Option
from sidekiq_py.did_you_mean import closest
from sidekiq_py.errors import InvalidConfig
from sidekiq_py.option_values import CapsuleOptions, Misfit, shown

ENVIRONMENT_VARIABLES: Final = ("APP_ENV", "RAILS_ENV", "RACK_ENV")
DEFAULT_ENVIRONMENT: Final = "development"
EMBEDDED_CONCURRENCY: Final = 2

# What a server inside another program isn't told: the program decides.
NOT_EMBEDDED: Final = frozenset(
    {"config", "require", "processes", "max_memory", "max_jobs", "verbose", "log_level", "log_format"}
)

# What is left has types of its own, or is looked at when it is set.
IN_CODE: Final = BY_NAME.keys() - {"config", "redis_url", "queues", "capsules"}

Layer: TypeAlias = Mapping[str, Given]


def resolve(arguments: Mapping[str, object], environ: Mapping[str, str]) -> Config:
    """The config that command line, environment and files make together.

    `arguments` holds what the command line gave, by the options' names in files; `origins` of the result says
    where each value is from. Raises InvalidConfig: where the value is from, what it is, what is expected.
    """
    config = Config()
    outer = [_argument_layer(arguments), _environment_layer(environ, config.notices)]
    environment = _environment(outer, environ)
    paths = find_files(_first("config", outer), _first("require", outer))
    files = [load_file(path, str(environment.value), environ) for path in paths]
    inner = [layer for file in files for layer in (file.section, file.top)]
    _fill(config, environment, [*outer, *inner, _fallback_layer(environ)])
    _name_dyno(config, environ)
    config.files = [file.path for file in files if not file.is_empty]
    config.notices += [notice for file in files for notice in file.notices]
    return config


def client_config(environ: Mapping[str, str] | None = None) -> Config:
    """The config of a process that only pushes: Redis from the environment, no file. Raises InvalidConfig."""
    config = Config()
    layer = _environment_layer(os.environ if environ is None else environ, config.notices)
    for name in ("redis_url", "dialect"):
        if name in layer:
            _set(config, BY_NAME[name], layer[name])
    return config


def embedded_config(environ: Mapping[str, str] | None = None) -> Config:
    """The config of a server inside another program: the environment, no file. Raises InvalidConfig.

    Two jobs at once, unless told otherwise. Ruby twin: Sidekiq.configure_embed.
    """
    environ = os.environ if environ is None else environ
    config = Config(concurrency=EMBEDDED_CONCURRENCY)
    layer = _environment_layer(environ, config.notices)
    given = {name: value for name, value in layer.items() if name not in NOT_EMBEDDED}
    _fill(config, _environment([layer], environ), [given])
    _name_dyno(config, environ)
    return config


def values_of(config: Config) -> dict[str, object]:
    """The options that code may set one by one, by name."""
    return {option.name: getattr(config, option.name) for option in OPTIONS if option.name in IN_CODE}


def read_code(config: Config, before: Mapping[str, object]) -> None:
    """Read what code has set since `values_of` as if a file said it: `"512M"` is as good there.

    Raises InvalidConfig for what a file may not say either.
    """
    for name, value in values_of(config).items():
        if value != before[name] and value is not None:
            _set(config, BY_NAME[name], Given(value, "@configure_server"))


def default_tag(require: str) -> str:
    """Name of the directory given with -r, else of the working directory; of the app above `releases/123`.

    Ruby twin: Sidekiq::CLI#default_tag.
    """
    directory = Path(require) if Path(require).is_dir() else Path()
    directory = directory.absolute()
    if directory.name[:1].isdigit() and directory.parent.name == "releases":  # Capistrano
        return directory.parent.parent.name
    return directory.name


def _name_dyno(config: Config, environ: Mapping[str, str]) -> None:
    if dyno := environ.get("DYNO"):
        config.hostname, config.origins["hostname"] = dyno, "env DYNO"


def _argument_layer(arguments: Mapping[str, object]) -> Layer:
    given = {name: value for name, value in arguments.items() if value is not None}
    return {name: Given(value, BY_NAME[name].flags[0]) for name, value in given.items()}


def _environment_layer(environ: Mapping[str, str], notices: list[str]) -> Layer:
    # An empty variable counts as none: compose files pass on variables that aren't set.
    layer = {
        option.name: Given(environ[option.env], f"env {option.env}")
        for option in OPTIONS
        if environ.get(option.env)
    }
    if "redis_url" not in layer and (given := _redis_given(environ, notices)):
        layer["redis_url"] = given
    notices.extend(_misspelt(environ))
    return layer


def _redis_given(environ: Mapping[str, str], notices: list[str]) -> Given | None:
    """Redis as Ruby finds it: in the variable that REDIS_PROVIDER names, else in REDIS_URL."""
    provider = environ.get("REDIS_PROVIDER", "")
    if ":" in provider:
        raise InvalidConfig(
            "env REDIS_PROVIDER must be the name of the variable that holds the URL, got a URL; "
            "put the URL in REDIS_URL, or in MY_REDIS_URL with REDIS_PROVIDER=MY_REDIS_URL"
        )
    if provider and not environ.get(provider):
        notices.append(f"env REDIS_PROVIDER names {provider}, which is not set; REDIS_URL counts")
    for name in (provider, "REDIS_URL"):
        if environ.get(name):
            return Given(environ[name], f"env {name}")
    return None


def _misspelt(environ: Mapping[str, str]) -> Iterator[str]:
    """Variables that look like ours and aren't: a notice, as others may use the prefix too."""
    known = [option.name for option in OPTIONS]
    for name in environ:
        word = name.removeprefix("SIDEKIQ_").lower()
        if word != name.lower() and word not in known and (match := closest(word, known, likeness=0.8)):
            yield f"env {name} is not read; did you mean {BY_NAME[match].env}?"


def _environment(layers: Sequence[Layer], environ: Mapping[str, str]) -> Given:
    found = _first("environment", layers)
    for name in ENVIRONMENT_VARIABLES:
        if found is None and environ.get(name):
            found = Given(environ[name], f"env {name}")
    return found or Given(DEFAULT_ENVIRONMENT, "")


def _fallback_layer(environ: Mapping[str, str]) -> Layer:
    layer: dict[str, Given] = {}
    if threads := environ.get("RAILS_MAX_THREADS"):
        layer["concurrency"] = Given(threads, "env RAILS_MAX_THREADS")
    if count := environ.get("SIDEKIQ_COUNT"):  # sidekiqswarm's
        layer["processes"] = Given(count, "env SIDEKIQ_COUNT")
    if environ.get("DYNO"):  # Heroku stamps the lines itself
        layer["log_format"] = Given("no-timestamp", "env DYNO")
    if environ.get("DEBUG_INVOCATION") == "1":  # systemd's way to ask for more
        layer["verbose"] = Given(True, "env DEBUG_INVOCATION")
    return layer


def _first(name: str, layers: Sequence[Layer]) -> Given | None:
    return next((layer[name] for layer in layers if name in layer), None)


def _fill(config: Config, environment: Given, layers: Sequence[Layer]) -> None:
    config.capsule(DEFAULT_QUEUE)  # Sidekiq too always has it, and first
    for option in OPTIONS:
        given = environment if option.name == "environment" else _first(option.name, layers)
        if given is not None and given.origin:
            _set(config, option, given)
    if config.verbose and "log_level" not in config.origins:
        config.log_level, config.origins["log_level"] = "debug", config.origins["verbose"]
    if "tag" not in config.origins:
        config.tag = default_tag(config.require)


def _set(config: Config, option: Option, given: Given) -> None:
    value = _read(option, given)
    if option.name == "capsules":
        _add_capsules(config, cast(CapsuleOptions, value))
    elif option.name == "redis_url":
        config.redis = cast(Any, value)
    elif option.name != "config":
        setattr(config, option.name, value)
    config.origins[option.name] = given.origin


def _read(option: Option, given: Given) -> object:
    try:
        return option.read(given.value)
    except InvalidConfig as error:
        raise InvalidConfig(f"{given.origin}: {error}") from None
    except Misfit as misfit:
        raise InvalidConfig(
            f"{given.origin}: {option.name} must be {misfit}, got {shown(given.value)}{misfit.hint}"
        ) from None


def _add_capsules(config: Config, capsules: CapsuleOptions) -> None:
    for name, given in capsules.items():
        # What -q and -c say of the default capsule is nearer than what the file says of all capsules.
        told = config.origins if name == DEFAULT_QUEUE else ()
        values = {key: value for key, value in given.items() if key not in told}
        config.capsule(name, **cast(Any, values))
