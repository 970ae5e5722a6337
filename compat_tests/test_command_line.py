"""One command line, one environment, one config file: real Sidekiq and sidekiq-py read them alike."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from compat_tests.ruby import Ruby
from sidekiq_py.capsule import Capsule
from sidekiq_py.cli import server
from sidekiq_py.config_sources import resolve
from sidekiq_py.errors import InvalidConfig

# Everything that shops write in one file, in Ruby's spellings.
SHOP = """\
---
:verbose: false
:concurrency: <%= ENV.fetch("THREADS", 12) %>
:timeout: <%= Integer(ENV["STOP"] || 30) %>
:queues:
  - [critical, 4]
  - "default,2"
  - :low
<% if ENV["TAGGED"] == "yes" -%>
:tag: <%= "shop-#{ENV["TAGGED"]}" %>
<% else -%>
:tag: plain<%# the usual %>
<% end -%>
:labels: [blue, "green"]
:defaults: &defaults
  :timeout: 60
production:
  <<: *defaults
  :concurrency: 25
staging:
  queues: {low: 1, "mail": 1}
test:
"""
CAPSULES = """\
concurrency: 4
queues: [a, b, a]
capsules:
  single:
    concurrency: 1
    queues: [solo]
  wide:
    concurrency: 2
    queues: ["x,2", [y, 1], z]
"""
EMPTY = "# nothing\n"
FILES = {"shop.yml": SHOP, "capsules.yml": CAPSULES, "empty.yml": EMPTY}

Case = tuple[list[str], dict[str, str]]
CASES: list[Case] = [
    ([], {}),
    (["-c", "7"], {"RAILS_MAX_THREADS": "9"}),
    ([], {"RAILS_MAX_THREADS": "9"}),
    (["-c7", "-t", "3", "-g", "mine", "-v"], {}),
    (["--concurrency=7", "--timeout=3", "--tag=mine", "--verbose"], {}),
    (["-q", "a", "-q", "b"], {}),
    (["-q", "a,3", "-q", "b"], {}),
    (["--queue", "a,3", "--queue=b,2"], {}),
    (["-C", "empty.yml"], {}),
    (["-C", "empty.yml"], {"RAILS_MAX_THREADS": "9"}),
    (["-C", "shop.yml"], {}),
    (["-C", "shop.yml"], {"THREADS": "3", "STOP": "0x10", "RAILS_MAX_THREADS": "9", "TAGGED": "yes"}),
    (["-C", "shop.yml", "-e", "production"], {}),
    (["-C", "shop.yml"], {"RAILS_ENV": "production"}),
    (["-C", "shop.yml"], {"APP_ENV": "staging", "RAILS_ENV": "production"}),
    (["-C", "shop.yml", "-e", "test", "-c", "2", "-q", "only"], {}),
    (["-c", "0"], {}),
    (["-t", "0"], {}),
    (["-c", "five"], {}),
    (["-C", "missing.yml"], {}),
]
NEWER: list[Case] = [  # from 7.0 on: capsules, all weights 1, a queue named twice
    (["-C", "capsules.yml"], {}),
    (["-C", "capsules.yml", "-q", "c", "-c", "9"], {}),
    (["-q", "a,1", "-q", "b,1"], {}),
    (["-q", "a", "-q", "b", "-q", "a"], {}),
    (["-q", "a,2", "-q", "b", "-q", "a,1"], {}),
]


OLD_DEFAULT, DEFAULT = 10, 5  # concurrency in 6.4 and from 7.0 on


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ruby: Ruby) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        Path(name).write_text(text)
        ruby.write(name, for_six(text) if ruby.major == 6 else text)


def for_six(text: str) -> str:
    """6.4 trims no lines, and reads weights from pairs only; see the test at the end."""
    return text.replace("-%>", "%>").replace('"default,2"', "[default, 2]")


def answers_of(ruby: Ruby, cases: Sequence[Case]) -> list[Any]:
    said = [{"arguments": ["-r", "jobs.rb", *arguments], "environ": environ} for arguments, environ in cases]
    answers = ruby.run("config.rb", ruby.write("cases.json", json.dumps(said)))
    return [{"error": True} if "error" in answer else answer for answer in answers]


def ours(case: Case) -> dict[str, Any]:
    arguments, environ = case
    given = server.make_context("sidekiq-py", list(arguments)).params
    try:
        config = resolve({name: value for name, value in given.items() if value}, environ)
    except InvalidConfig:
        return {"error": True}
    return {
        "timeout": config.timeout,
        "tag": config.tag if "tag" in config.origins else None,
        "verbose": config.verbose if "verbose" in config.origins else None,
        "labels": config.labels,
        "capsules": {name: comparable(capsule) for name, capsule in config.capsules.items()},
    }


def comparable(capsule: Capsule) -> dict[str, Any]:
    shares = capsule.queues if capsule.mode == "strict" else dict(Counter(capsule.lots))
    return {"concurrency": capsule.concurrency, "mode": capsule.mode, "shares": shares}


def as_six_says_it(answer: dict[str, Any]) -> dict[str, Any]:
    for capsule in answer.get("capsules", {}).values():
        if capsule["mode"] == "random":
            capsule["mode"] = "weighted"
        if capsule["concurrency"] == DEFAULT:
            capsule["concurrency"] = OLD_DEFAULT
    return answer


@pytest.mark.parametrize("ruby", ["7.3", "8.1"], indirect=True)
def test_flags_variables_and_files_mean_what_they_mean_to_sidekiq(ruby: Ruby) -> None:
    cases = CASES + NEWER

    theirs = answers_of(ruby, cases)

    assert [ours(case) for case in cases] == theirs


@pytest.mark.parametrize("ruby", ["6.4"], indirect=True)
def test_what_sidekiq_6_understands_means_the_same_but_for_its_own_defaults(ruby: Ruby) -> None:
    theirs = answers_of(ruby, CASES)

    assert [as_six_says_it(ours(case)) for case in CASES] == theirs


def test_a_weight_written_behind_a_comma_counts_from_sidekiq_7_on_and_for_us(ruby: Ruby) -> None:
    """6.4 takes all of the text for the queue's name; we follow 7.0 and later, up to 8.1."""
    file = '{queues: ["critical,3", low]}'
    ruby.write("comma.yml", file)
    Path("comma.yml").write_text(file)
    case: Case = (["-C", "comma.yml"], {})

    [theirs] = answers_of(ruby, [case])

    weighted = {"critical": 3, "low": 1}
    in_order = ["critical,3", "low"]  # no weight seen, so strictly in that order
    assert ours(case)["capsules"]["default"]["shares"] == weighted
    assert theirs["capsules"]["default"]["shares"] == (in_order if ruby.major == 6 else weighted)
