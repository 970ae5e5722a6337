"""Where a value comes from: command line > environment > section of the file > file > default.

The cases of Sidekiq's own command line tests are here and in `test_cli_options`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sidekiq_py.config import Config
from sidekiq_py.config_options import OPTIONS
from sidekiq_py.config_sources import client_config, default_tag, resolve
from sidekiq_py.errors import InvalidConfig

Write = Callable[[str, str], Path]


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def write(directory: Path) -> Write:
    def write(name: str, text: str) -> Path:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


def refusal(arguments: dict[str, object], environ: dict[str, str]) -> str:
    with pytest.raises(InvalidConfig) as caught:
        resolve(arguments, environ)
    return str(caught.value)


def test_nothing_given_means_the_defaults_and_the_default_queue():
    config = resolve({}, {})

    assert (config.concurrency, config.timeout, config.require, config.environment) == (
        5,
        25.0,
        ".",
        "development",
    )
    assert config.capsules == {"default": Config().capsule("default")}
    assert config.origins == {}


def test_every_source_beats_the_ones_below_it(write: Write):
    write("config/sidekiq.yml", "timeout: 1\nproduction:\n  timeout: 2\n")

    file = resolve({}, {})
    section = resolve({}, {"APP_ENV": "production"})
    environment = resolve({}, {"APP_ENV": "production", "SIDEKIQ_TIMEOUT": "3"})
    command_line = resolve({"timeout": "4"}, {"APP_ENV": "production", "SIDEKIQ_TIMEOUT": "3"})

    assert [each.timeout for each in (file, section, environment, command_line)] == [1, 2, 3, 4]
    assert [each.origins["timeout"] for each in (file, section, environment, command_line)] == [
        "config/sidekiq.yml:1",
        "config/sidekiq.yml:3",
        "env SIDEKIQ_TIMEOUT",
        "-t",
    ]


def test_rails_max_threads_counts_only_when_nothing_else_says_the_concurrency(write: Write):
    environ = {"RAILS_MAX_THREADS": "9"}

    alone = resolve({}, environ)
    write("config/sidekiq.yml", "concurrency: 8\n")
    with_file = resolve({}, environ)
    with_flag = resolve({"concurrency": "7"}, environ)

    assert (alone.concurrency, with_file.concurrency, with_flag.concurrency) == (9, 8, 7)
    assert alone.default_capsule.concurrency == 9
    assert alone.origins["concurrency"] == "env RAILS_MAX_THREADS"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, "development"),
        ({"RACK_ENV": "rack"}, "rack"),
        ({"RAILS_ENV": "rails", "RACK_ENV": "rack"}, "rails"),
        ({"APP_ENV": "app", "RAILS_ENV": "rails", "RACK_ENV": "rack"}, "app"),
        ({"SIDEKIQ_ENVIRONMENT": "own", "APP_ENV": "app"}, "own"),
    ],
)
def test_the_environment_is_looked_up_as_sidekiq_does(environ, expected):
    assert resolve({}, environ).environment == expected
    assert resolve({"environment": "flag"}, environ).environment == "flag"


@pytest.mark.parametrize(
    ("environ", "url", "origin"),
    [
        ({}, "redis://localhost:6379/0", None),
        ({"REDIS_URL": "redis://a/1"}, "redis://a/1", "env REDIS_URL"),
        (
            {"REDIS_PROVIDER": "MINE", "MINE": "redis://b/2", "REDIS_URL": "redis://a/1"},
            "redis://b/2",
            "env MINE",
        ),
        ({"REDIS_PROVIDER": "MINE", "REDIS_URL": "redis://a/1"}, "redis://a/1", "env REDIS_URL"),
        (
            {"SIDEKIQ_REDIS_URL": "redis://c/3", "REDIS_URL": "redis://a/1"},
            "redis://c/3",
            "env SIDEKIQ_REDIS_URL",
        ),
    ],
)
def test_redis_is_found_where_ruby_finds_it(environ, url, origin):
    server, client = resolve({}, environ), client_config(environ)

    assert (server.redis.url, server.origins.get("redis_url")) == (url, origin)
    assert (client.redis.url, client.origins.get("redis_url")) == (url, origin)


def test_a_redis_provider_that_is_not_set_is_told():
    config = resolve({}, {"REDIS_PROVIDER": "MINE"})

    assert config.notices == ["env REDIS_PROVIDER names MINE, which is not set; REDIS_URL counts"]


def test_a_url_as_redis_provider_is_an_error_that_explains_and_shows_no_password():
    message = refusal({}, {"REDIS_PROVIDER": "redis://:hunter2@localhost:6379/0"})

    assert "must be the name of the variable" in message
    assert "REDIS_PROVIDER=MY_REDIS_URL" in message
    assert "hunter2" not in message


def test_a_redis_url_that_can_not_be_used_names_its_origin_and_hides_its_password():
    message = refusal({}, {"REDIS_URL": "http://:hunter2@localhost"})

    assert message.startswith("env REDIS_URL: ")
    assert "hunter2" not in message


def test_on_heroku_the_dyno_is_the_host_and_lines_have_no_time():
    config = resolve({}, {"DYNO": "worker.1"})

    assert (config.hostname, config.log_format) == ("worker.1", "no-timestamp")
    assert resolve({"log_format": "json"}, {"DYNO": "worker.1"}).log_format == "json"


def test_verbose_means_debug_unless_a_level_is_given():
    assert resolve({"verbose": True}, {}).log_level == "debug"
    assert resolve({"verbose": True, "log_level": "WARN"}, {}).log_level == "warn"
    assert resolve({}, {"DEBUG_INVOCATION": "1"}).log_level == "debug"
    assert resolve({}, {}).log_level == "info"


@pytest.mark.parametrize(
    ("given", "mode", "weights"),
    [
        (("a", "b"), "strict", {"a": 0, "b": 0}),
        (("a,1", "b,1"), "random", {"a": 1, "b": 1}),
        (("a,3", "b"), "weighted", {"a": 3, "b": 0}),
    ],
)
def test_queues_of_the_command_line_make_the_default_capsule(given, mode, weights):
    capsule = resolve({"queues": given}, {}).default_capsule

    assert (capsule.mode, capsule.weights) == (mode, weights)


def test_queues_of_the_command_line_replace_those_of_the_file(write: Write):
    write("config/sidekiq.yml", "queues: [a, b]\n")

    assert resolve({"queues": ("c",)}, {}).queues == ["c"]


def test_lists_in_the_environment_are_cut_at_blanks():
    config = resolve({}, {"SIDEKIQ_QUEUES": "critical,3 default", "SIDEKIQ_LABELS": "blue, green"})

    assert config.default_capsule.weights == {"critical": 3, "default": 0}
    assert config.labels == ["blue", "green"]


def test_an_empty_variable_counts_as_none():
    environ = {"SIDEKIQ_CONCURRENCY": "", "RAILS_MAX_THREADS": "", "REDIS_URL": "", "APP_ENV": ""}

    assert resolve({}, environ).origins == {}


def test_a_variable_that_is_nearly_ours_is_told_and_others_are_left_alone():
    environ = {"SIDEKIQ_QUEUE": "a", "SIDEKIQ_PORT": "tcp://10.0.0.1", "SIDEKIQ_COUNT": "2", "QUEUES": "b"}

    assert resolve({}, environ).notices == ["env SIDEKIQ_QUEUE is not read; did you mean SIDEKIQ_QUEUES?"]


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("concurrency", "0", "a whole number of 1 or more"),
        ("concurrency", "-3", "a whole number of 1 or more"),
        ("concurrency", "five", "a whole number of 1 or more"),
        ("concurrency", "2.5", "a whole number of 1 or more"),
        ("timeout", "0", "a number of seconds above 0"),
        ("timeout", "-1", "a number of seconds above 0"),
        ("timeout", "nan", "a number of seconds above 0"),
        ("timeout", "inf", "a number of seconds above 0"),
        ("dialect", "5", "6, 7 or 8"),
        ("unknown", "retyr", "one of retry, handback, dead, got 'retyr'; did you mean 'retry'?"),
        ("log_format", "jsn", "did you mean 'json'?"),
        ("log_level", "inf", "did you mean 'info'?"),
    ],
)
def test_a_bad_value_says_where_it_is_from_what_is_expected_and_what_was_given(name, given, expected):
    [flag] = [option.flags[0] for option in OPTIONS if option.name == name]

    message = refusal({name: given}, {})

    assert message.startswith(f"{flag}: {name} must be ")
    assert expected in message
    assert repr(given) in message
    assert refusal({}, {f"SIDEKIQ_{name.upper()}": given}).startswith(f"env SIDEKIQ_{name.upper()}: ")


def test_every_option_can_be_set_by_a_variable():
    environ = {
        "SIDEKIQ_REQUIRE": "app.jobs",
        "SIDEKIQ_CONCURRENCY": "3",
        "SIDEKIQ_QUEUES": "a",
        "SIDEKIQ_TIMEOUT": "0.5",
        "SIDEKIQ_ENVIRONMENT": "production",
        "SIDEKIQ_REDIS_URL": "redis://a/1",
        "SIDEKIQ_TAG": "shop",
        "SIDEKIQ_LABELS": "x",
        "SIDEKIQ_VERBOSE": "true",
        "SIDEKIQ_LOG_LEVEL": "error",
        "SIDEKIQ_LOG_FORMAT": "json",
        "SIDEKIQ_UNKNOWN": "dead",
        "SIDEKIQ_DIALECT": "7",
        "SIDEKIQ_POOL_SIZE": "4",
        "SIDEKIQ_MAX_RETRIES": "0",
        "SIDEKIQ_DEAD_MAX_JOBS": "10",
        "SIDEKIQ_DEAD_TIMEOUT_IN_SECONDS": "60",
        "SIDEKIQ_AVERAGE_SCHEDULED_POLL_INTERVAL": "2",
        "SIDEKIQ_POLL_INTERVAL_AVERAGE": "1.5",
        "SIDEKIQ_LOGGED_JOB_ATTRIBUTES": "bid",
        "SIDEKIQ_SKIP_DEFAULT_JOB_LOGGING": "yes",
        "SIDEKIQ_LOG_ARGS": "1",
        "SIDEKIQ_PROCESSES": "2",
        "SIDEKIQ_MAX_MEMORY": "512M",
        "SIDEKIQ_MAX_JOBS": "1000",
        "SIDEKIQ_HEARTBEAT_TTL": "6",
        "SIDEKIQ_STALL_AFTER": "0.5",
    }

    config = resolve({}, environ)

    assert set(config.origins.values()) == {f"env {name}" for name in environ}
    assert (config.timeout, config.dialect, config.max_retries, config.log_args) == (0.5, 7, 0, True)
    assert {option.env for option in OPTIONS} - environ.keys() == {"SIDEKIQ_CONFIG", "SIDEKIQ_CAPSULES"}


# Files


@pytest.mark.parametrize("name", ["config/sidekiq.yml", "config/sidekiq.yml.erb"])
def test_the_file_is_found_where_sidekiq_looks(write: Write, name):
    write(name, "concurrency: <%= 2 + 1 %>\n")

    config = resolve({}, {})

    assert config.concurrency == 3
    assert config.files == [name]


def test_yml_comes_before_yml_erb(write: Write):
    write("config/sidekiq.yml", "concurrency: 1\n")
    write("config/sidekiq.yml.erb", "concurrency: 2\n")

    assert resolve({}, {}).concurrency == 1


def test_the_file_is_looked_for_in_the_directory_of_the_handlers(write: Write):
    write("shop/config/sidekiq.yml", "concurrency: 3\n")
    write("config/sidekiq.yml", "concurrency: 4\n")

    assert resolve({"require": "shop"}, {}).concurrency == 3
    assert resolve({"require": "shop/handlers.py"}, {}).concurrency == 4


def test_a_named_file_replaces_the_usual_one(write: Write):
    write("config/sidekiq.yml", "concurrency: 1\ntimeout: 9\n")
    write("other.yml", "concurrency: 2\n")

    config = resolve({"config": "other.yml"}, {})

    assert (config.concurrency, config.timeout) == (2, 25.0)
    assert resolve({}, {"SIDEKIQ_CONFIG": "other.yml"}).concurrency == 2


def test_a_named_file_that_is_not_there_is_an_error():
    assert refusal({"config": "no.yml"}, {}) == "-C: there is no file no.yml"


def test_a_file_without_queues_leaves_the_default_queue(write: Write):
    write("config/sidekiq.yml", "concurrency: 1\n")

    assert resolve({}, {}).queues == ["default"]


def test_the_section_is_merged_over_the_top_key_by_key(write: Write):
    write("config/sidekiq.yml", "concurrency: 1\nqueues: [a, b]\nstaging:\n  queues: [c]\n")

    config = resolve({"environment": "staging"}, {})

    assert (config.concurrency, config.queues) == (1, ["c"])


def test_capsules_of_the_file_stand_beside_the_default_one(write: Write):
    write(
        "config/sidekiq.yml",
        "concurrency: 4\nqueues: [[high, 3], default]\n"
        "capsules:\n  single:\n    concurrency: 1\n    queues: [solo]\n  wide:\n    queues: ['x,2', 'y']\n",
    )

    capsules = resolve({}, {}).capsules

    assert list(capsules) == ["default", "single", "wide"]
    assert (capsules["default"].concurrency, capsules["default"].mode) == (4, "weighted")
    assert (capsules["single"].concurrency, capsules["single"].queues) == (1, ["solo"])
    assert (capsules["wide"].concurrency, capsules["wide"].weights) == (4, {"x": 2, "y": 0})


def test_the_default_capsule_of_the_file_gives_way_to_flags(write: Write):
    write("config/sidekiq.yml", "capsules: {default: {queues: [a], concurrency: 3}}\n")

    plain, flagged = resolve({}, {}), resolve({"queues": ("b",)}, {})

    assert (plain.default_capsule.queues, plain.default_capsule.concurrency) == (["a"], 3)
    assert (flagged.default_capsule.queues, flagged.default_capsule.concurrency) == (["b"], 3)


@pytest.mark.parametrize(
    ("capsules", "expected"),
    [
        ("{single: {queue: [a]}}", "capsule 'single' has an unknown key 'queue'; did you mean 'queues'?"),
        ("{single: {concurrency: 0}}", "concurrency of capsule 'single' must be a whole number"),
        ("{single: [a]}", "capsule 'single' has none"),
        ("[single]", "must be a mapping"),
    ],
)
def test_a_capsule_that_can_not_be_followed_is_named_with_its_line(write: Write, capsules, expected):
    write("config/sidekiq.yml", f"timeout: 3\ncapsules: {capsules}\n")

    message = refusal({}, {})

    assert message.startswith("config/sidekiq.yml:2: ")
    assert expected in message


def test_toml_files_are_the_weakest_and_have_sections_too(write: Write):
    write("config/sidekiq.yml", "concurrency: 1\n")
    write(
        "sidekiq.toml",
        'concurrency = 2\ntimeout = 2\n[capsules.single]\nqueues = ["solo"]\nconcurrency = 1\n',
    )
    write(
        "pyproject.toml",
        "[tool.sidekiq]\nconcurrency = 3\ntimeout = 3\ntag = 'p'\n"
        "[tool.sidekiq.production]\nlabels = ['live']\n",
    )

    config = resolve({}, {"APP_ENV": "production"})

    assert (config.concurrency, config.timeout, config.tag, config.labels) == (1, 2.0, "p", ["live"])
    assert config.capsules["single"].queues == ["solo"]
    assert config.files == ["config/sidekiq.yml", "sidekiq.toml", "pyproject.toml"]
    assert config.origins["tag"] == "pyproject.toml tag"


def test_a_pyproject_without_our_table_is_not_ours(write: Write):
    write("pyproject.toml", "[project]\nname = 'x'\n")

    assert resolve({}, {}).files == []


def test_a_misspelt_key_in_toml_is_an_error_with_the_one_that_was_meant(write: Write):
    write("sidekiq.toml", "concurency = 2\n")

    assert "sidekiq.toml concurency: unknown key 'concurency'; did you mean 'concurrency'?" in refusal({}, {})


def test_a_toml_file_may_be_named_and_may_be_broken(write: Write):
    write("x.toml", "concurrency = 6\n")
    write("broken.toml", "concurrency = \n")

    assert resolve({"config": "x.toml"}, {}).concurrency == 6
    assert refusal({"config": "broken.toml"}, {}).startswith("broken.toml can't be read as TOML")


# The tag


def test_the_tag_is_the_name_of_the_directory(directory: Path):
    assert resolve({}, {}).tag == directory.name
    assert resolve({"tag": "own"}, {}).tag == "own"


def test_the_tag_of_a_directory_of_handlers_is_its_name(directory: Path):
    (directory / "shop").mkdir()

    assert default_tag("shop") == "shop"


def test_under_capistrano_the_tag_is_the_name_of_the_application(directory: Path):
    release = directory / "shop" / "releases" / "20261124"
    release.mkdir(parents=True)

    assert default_tag(str(release)) == "shop"
    assert default_tag(str(release.parent)) == "releases"
