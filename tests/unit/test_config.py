"""The typed config: defaults, events, capsules, hooks, freezing."""

from __future__ import annotations

from typing import Any

import pytest

from sidekiq_py.config import EVENTS, Config, configure_client, configure_server
from sidekiq_py.errors import InvalidConfig, InvalidHandler
from tests.helpers import run_python


def test_a_config_told_nothing_has_sidekiqs_defaults():
    config = Config()

    assert (config.concurrency, config.timeout, config.queues) == (5, 25.0, ["default"])
    assert (config.max_retries, config.dead_max_jobs, config.dead_timeout_in_seconds) == (
        25,
        10_000,
        15_552_000,
    )
    assert (config.average_scheduled_poll_interval, config.poll_interval_average) == (5.0, None)
    assert (config.logged_job_attributes, config.environment) == (["bid", "tags"], "development")


def test_two_configs_share_no_list():
    one, other = Config(), Config()

    one.death_handlers.append(lambda job, error: None)
    one.on("startup", lambda: None)
    one.labels.append("blue")

    assert (other.death_handlers, other.lifecycle_events["startup"], other.labels) == ([], [], [])


def test_a_misspelt_option_is_refused_with_the_one_that_was_meant():
    with pytest.raises(AttributeError, match="no option 'concurency'; did you mean 'concurrency'"):
        Config().concurency = 3


def test_concurrency_and_queues_set_in_code_reach_the_default_capsule():
    config = Config()
    config.capsule("default")

    config.concurrency = 9
    config.queues = ["critical,2", "low"]

    assert config.default_capsule.concurrency == 9
    assert config.default_capsule.weights == {"critical": 2, "low": 0}


def test_a_capsule_is_made_when_first_named_and_found_after_that():
    config = Config(concurrency=7)

    config.capsule("single", queues=["serial"], concurrency=1)
    config.capsule("wide")

    assert config.capsule("single").queues == ["serial"]
    assert config.capsule("wide").concurrency == 7
    assert config.total_concurrency == 8
    assert config.all_queues == ["serial", "default"]


def test_callbacks_are_kept_by_event_in_order():
    config = Config()

    def first() -> None: ...

    @config.on("startup")
    def second() -> None: ...

    config.on("startup", first)

    assert config.lifecycle_events["startup"] == [second, first]


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_of_sidekiq_can_be_listened_to(event):
    Config().on(event, lambda: None)


async def later(*_: object) -> None: ...


@pytest.mark.parametrize("function", [later, lambda one, two, three, four: None, None, "beep"])
def test_a_function_that_could_not_be_called_is_refused(function: Any):
    def configure(config: Config) -> None:
        config.error_handlers.append(function)

    for option in ("death_handlers", "error_handlers"):
        with pytest.raises(InvalidHandler, match=f"config.{option}: "):
            Config(**{option: [function]}).freeze()
    with pytest.raises(InvalidHandler, match="config.backtrace_cleaner: "):
        Config(backtrace_cleaner=function).freeze()
    with pytest.raises(InvalidHandler, match="callback for 'quiet': "):
        Config().on("quiet")(function)
    for decorator in (configure_server, configure_client):
        with pytest.raises(InvalidHandler, match=decorator.__name__):
            decorator(function)


def test_a_block_that_only_promises_to_configure_or_adds_what_can_t_be_called_is_named():
    out = run_python("""
        from sidekiq_py import Config, configure_server
        from sidekiq_py.errors import InvalidConfig

        async def later(*_): ...
        configure_server(lambda config: later())

        @configure_server
        def settings(config):
            config.death_handlers.append(later)

        config = Config()
        for _ in range(2):
            try:
                config.apply_server_hooks()
            except InvalidConfig as error:
                print(error)
    """)

    first, second = out.splitlines()
    assert "returned a coroutine, which nobody runs" in first
    assert second.startswith("@configure_server settings")
    assert "InvalidHandler: config.death_handlers: __main__.later is an `async def`" in second


@pytest.mark.parametrize("option", ["timeout", "heartbeat_ttl", "poll_interval_average"])
@pytest.mark.parametrize("value", [-1, 0, float("nan"), float("inf"), "25", True])
def test_times_set_in_code_are_as_strict_as_those_of_a_flag(option: str, value: Any):
    with pytest.raises(InvalidConfig, match=f"config.{option} is a number of seconds above 0, got"):
        setattr(Config(), option, value)


def test_an_unknown_event_is_refused_with_the_one_that_was_meant():
    with pytest.raises(
        InvalidConfig, match="no event 'start'; there are startup, .*, exit; did you mean 'startup'.$"
    ):
        Config().on("start", lambda: None)


@pytest.mark.parametrize(
    "change",
    [
        lambda config: setattr(config, "concurrency", 3),
        lambda config: config.capsule("late"),
        lambda config: config.capsule("default", concurrency=3),
        lambda config: config.on("startup", lambda: None),
    ],
)
def test_nothing_changes_after_launch(change):
    config = Config()
    config.freeze()

    with pytest.raises(AttributeError, match="after launch"):
        change(config)


def test_freezing_gives_a_config_without_capsules_the_default_one():
    config = Config(concurrency=3)

    config.freeze()
    config.freeze()

    assert config.capsules["default"].concurrency == 3


def test_server_hooks_edit_the_servers_config_once_and_leave_a_clients_alone():
    out = run_python("""
        from sidekiq_py import configure_client, configure_server
        from sidekiq_py.config import Config

        @configure_server
        def _(config):
            config.labels.append("server")

        @configure_client
        def _(config):
            config.labels.append("client")

        server, client = Config(), Config()
        server.apply_server_hooks()
        server.apply_server_hooks()
        client.apply_client_hooks()
        print(server.labels, client.labels)
    """)

    assert out == "['server'] ['client']\n"


def test_importing_the_config_brings_in_neither_redis_nor_sockets_nor_gevent():
    out = run_python("""
        import sys
        import sidekiq_py.config
        print([name for name in ("redis", "ssl", "socket", "gevent", "yaml", "click") if name in sys.modules])
    """)

    assert out == "[]\n"


def test_a_config_shows_no_password():
    from sidekiq_py.redis_connection import RedisOptions

    config = Config(redis=RedisOptions.from_url("redis://:hunter2@localhost:6379/0"))

    assert "hunter2" not in repr(config)
