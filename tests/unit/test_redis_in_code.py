"""Redis as an application names it in code: what is taken, and what is refused with the right words."""

from __future__ import annotations

import pytest
import redis as redis_py

from sidekiq_py import Client
from sidekiq_py.api import ProcessSet, Queue, RetrySet, Stats, WorkSet, history, queue_summaries
from sidekiq_py.config import Config
from sidekiq_py.config_sources import client_config, resolve
from sidekiq_py.errors import InvalidConfig
from sidekiq_py.redis_connection import RedisOptions
from tests.helpers import run_python

URL = "redis://cache.internal:6380/2"


@pytest.mark.parametrize(
    "given",
    [URL, {"url": URL}, RedisOptions.from_url(URL), {"url": "redis://cache.internal:6380", "db": 2}],
    ids=["url", "dict", "options", "dict with db"],
)
def test_redis_set_in_code_is_the_redis_that_is_used(given):
    config = Config()

    config.redis = given

    assert (config.redis.address.host, config.redis.address.port, config.redis.address.db) == (
        *("cache.internal", 6380),
        2,
    )


def test_a_dict_without_a_url_changes_only_what_it_names():
    config = resolve({}, {"REDIS_URL": URL})

    config.redis = {"read_timeout": 30.0, "password": "s3cret"}

    assert (config.redis.url, config.redis.read_timeout) == (URL, 30.0)
    assert (config.redis.address.password, config.redis.connect_timeout) == ("s3cret", 5.0)


def test_code_wins_over_flag_and_environment_and_the_origin_says_so():
    config = resolve({"redis_url": "redis://flag"}, {"REDIS_URL": "redis://environment"})
    assert config.origins["redis_url"] == "--redis-url"

    config.redis = URL

    assert (config.redis.url, config.origins["redis_url"]) == (URL, "config.redis")
    assert client_config({"REDIS_URL": URL}).origins["redis_url"] == "env REDIS_URL"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            redis_py.Redis(password="s3cret"),
            r"is a URL, as in .*, or a dict, .*; got a redis\.client\.Redis$",
        ),
        (None, "got None"),
        ("cache.internal", "it has no scheme"),
        ({"ulr": URL}, "no option 'ulr'; there are url, .*; did you mean 'url'"),
        ({"url": URL, "size": 10}, "'size'.*config.pool_size"),
        ({"url": URL, "ssl_params": {}}, "'ssl_params'.*give tls"),
        ({"host": "cache.internal", "port": 6380}, "'host'.*'redis://cache.internal:6380/0'"),
        ({"read_timeout": "5"}, "read_timeout is '5': expected seconds"),
        ({"db": "two"}, "db is 'two': expected the number"),
        ({"sentinels": [{"host": "one", "port": 26379}]}, r"expected a list, as \['one:26379'"),
    ],
)
def test_what_names_no_redis_is_refused_with_what_to_write_instead(given, sentence):
    with pytest.raises(InvalidConfig, match=sentence) as caught:
        Config().redis = given
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "use",
    [
        lambda redis: Client(redis=redis),
        lambda redis: Queue("default", redis),
        Queue.all,
        RetrySet,
        ProcessSet,
        WorkSet,
        Stats.fetch,
        Stats.reset,
        queue_summaries,
        lambda redis: history(redis, 1),
    ],
)
@pytest.mark.parametrize("given", [redis_py.Redis(), URL], ids=["redis-py", "url"])
def test_what_is_no_redis_of_ours_is_refused_with_what_to_write_instead(use, given):
    with pytest.raises(InvalidConfig, match=r"got a \S+\..*Write RedisPool\(RedisOptions.from_url"):
        use(given)


def test_a_dialect_that_there_is_not_is_refused_with_those_there_are():
    with pytest.raises(InvalidConfig, match="6, 7 or 8.*got 5"):
        Client(dialect=5)


def test_a_client_hook_that_fails_is_named_with_its_place_and_nothing_misleading():
    out = run_python("""
        import traceback
        from sidekiq_py import Client, configure_client
        @configure_client
        def clear(config):
            config.redis_url = "redis://localhost"
        try:
            Client().push({"class": "HardJob", "args": []})
        except ValueError as error:
            print(error)
            traceback.print_exc(file=__import__("sys").stdout)
    """)

    sentence = (
        "@configure_client clear (<string>:4) failed with AttributeError: "
        "config has no option 'redis_url'; did you mean 'redis'?"
    )
    assert out.splitlines()[0] == sentence
    assert "_config" not in out.splitlines()[-1]


def test_a_password_is_hidden_in_what_a_server_says_but_no_letter_of_a_word():
    address = RedisOptions.from_url("redis://:p@localhost").address
    assert address.hide_secrets("no permissions for p") == "no permissions for ***"

    address = RedisOptions.from_url("redis://:s3cret@localhost").address
    assert address.hide_secrets("unknown command 'xs3cretx'") == "unknown command 'x***x'"
