"""`sidekiq-py config`: what holds and who said so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sidekiq_py.cli import run
from sidekiq_py.config_options import OPTIONS

Config = Callable[..., str]

SIDEKIQ_YML = """\
:concurrency: 7
:queues:
  - [critical, 3]
  - default
:scheduler: {}
production:
  :timeout: 9
:capsules:
  slow:
    concurrency: 1
    queues: [reports]
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Config:
    """Run the command in an empty directory: `config("-c", "3", REDIS_URL="…")` gives what it prints."""
    monkeypatch.chdir(tmp_path)
    for name in ("REDIS_URL", "REDIS_PROVIDER", "APP_ENV", "RAILS_ENV", "RACK_ENV", "DYNO"):
        monkeypatch.delenv(name, raising=False)

    def printed(*arguments: str, **environ: str) -> str:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        assert run(["config", *arguments]) == 0
        return capsys.readouterr().out

    return printed


def rows(table: str) -> dict[str, list[str]]:
    """Key to [value, origin], of a table whose columns are two blanks apart."""
    lines = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in table.splitlines()]
    return {cells[0]: cells[1:] for cells in lines if len(cells) > 1}


def test_every_option_has_a_line(config: Config) -> None:
    assert list(rows(config("--label", "blue"))) == [
        option.name for option in OPTIONS if option.name != "config"
    ]


def test_each_value_comes_with_its_origin(config: Config, tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "sidekiq.yml").write_text(SIDEKIQ_YML)

    table = config("-e", "production", "-t", "30", "--label", "a", "--label", "b", SIDEKIQ_LOG_LEVEL="warn")

    found = rows(table)
    assert found["concurrency"] == ["7", "config/sidekiq.yml:1"]
    assert found["queues"] == ["critical,3 default", "config/sidekiq.yml:2"]
    assert found["timeout"] == ["30", "-t"]
    assert found["labels"] == ["a b", "--label"]
    assert found["log_level"] == ["warn", "env SIDEKIQ_LOG_LEVEL"]
    assert found["max_retries"] == ["25", "default"]
    assert "files read: config/sidekiq.yml" in table
    assert "notice: config/sidekiq.yml" in table
    assert "scheduler" in table


def test_what_is_not_set_is_told_in_words(config: Config) -> None:
    found = rows(config())

    assert found["dialect"] == ["follow the others", "default"]
    assert found["pool_size"] == ["as needed", "default"]


def test_json_has_values_as_they_are(config: Config, tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "sidekiq.yml").write_text(SIDEKIQ_YML)

    found = json.loads(config("--json"))

    assert found["options"]["concurrency"] == {"value": 7, "origin": "config/sidekiq.yml:1"}
    assert found["options"]["queues"]["value"] == {"critical": 3, "default": 0}
    assert found["options"]["capsules"]["value"] == {
        "slow": {"queues": {"reports": 0}, "concurrency": 1, "mode": "strict"}
    }
    assert found["options"]["dialect"] == {"value": None, "origin": "default"}
    assert found["files"] == ["config/sidekiq.yml"]
    assert len(found["notices"]) == 1


@pytest.mark.row("K2")
@pytest.mark.parametrize("form", [(), ("--json",)])
@pytest.mark.parametrize(
    "url",
    [
        "redis://:canary@localhost:1/0",
        "rediss://user:canary@localhost:1/0",
        "redis://localhost:1/0?password=canary",
        "unix:///tmp/redis.sock?password=canary",
    ],
)
def test_no_password_is_shown(config: Config, url: str, form: tuple[str, ...]) -> None:
    shown = config(*form, REDIS_URL=url)

    assert "***" in shown
    assert "canary" not in shown


def test_lines_without_time_are_told_to_come_from_heroku(config: Config) -> None:
    assert rows(config(DYNO="worker.1"))["log_format"] == ["no-timestamp", "env DYNO"]


def test_a_config_that_can_not_be_followed_ends_with_2(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["config", "-c", "many"]) == 2

    assert "concurrency must be a whole number" in capsys.readouterr().err


def test_the_help_page_keeps_words_whole(config: Config) -> None:
    page = config("-h")

    for option in OPTIONS:
        if option.flags:
            assert f"[env: {option.env}" in page
