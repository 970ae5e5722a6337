"""The sidekiq.yml that shops have: symbols, aliases, sections, gem keys, and files that mean harm."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from sidekiq_py.errors import InvalidConfig
from sidekiq_py.file_options import FileOptions
from sidekiq_py.sidekiq_yml import load


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def options(text: str, environment: str = "development", **environ: str) -> FileOptions:
    Path("sidekiq.yml").write_text(text, encoding="utf-8")
    return load("sidekiq.yml", environment, environ)


def top(text: str, **environ: str) -> dict[str, Any]:
    return {name: given.value for name, given in options(text, **environ).top.items()}


def refusal(text: str) -> str:
    with pytest.raises(InvalidConfig) as caught:
        options(text)
    return str(caught.value)


SHOP = """\
---
:verbose: false
:concurrency: <%= ENV.fetch("SIDEKIQ_THREADS", 10) %>
:timeout: 30
:queues:
  - [critical, 4]
  - "default,2"
  - :low
:defaults: &defaults
  :timeout: 60
production:
  <<: *defaults
  :concurrency: <%= ENV["WEB_CONCURRENCY"] || 25 %>
:staging:
  :queues: [critical, 'default']
test:
:scheduler:
  :schedule:
    nightly: { cron: "0 3 * * *", class: Nightly }
:pidfile: tmp/pids/sidekiq.pid
"""


def test_a_shops_file_is_read_as_it_stands():
    found = top(SHOP)

    assert found == {
        "verbose": False,
        "concurrency": 10,
        "timeout": 30,
        "queues": [["critical", 4], "default,2", "low"],
    }


def test_the_section_of_the_environment_is_read_with_what_it_merges():
    section = options(SHOP, "production", WEB_CONCURRENCY="7").section

    assert {name: given.value for name, given in section.items()} == {"timeout": 60, "concurrency": 7}
    assert section["concurrency"].origin == "sidekiq.yml:13"
    assert section["timeout"].origin == "sidekiq.yml:10"
    assert options(SHOP, "test").section == {}


def test_keys_of_ruby_gems_are_named_once_and_change_nothing():
    assert options(SHOP).notices == [
        "sidekiq.yml: keys that only Ruby uses are ignored: "
        "scheduler (sidekiq-scheduler), pidfile (older Sidekiq)"
    ]


@pytest.mark.parametrize(
    "key", ["scheduler", "reliable_fetch", "limits", "dynamic", "cron", "strict", "namespace"]
)
def test_well_known_ruby_keys_are_no_error(key):
    [notice] = options(f":{key}: {{a: 1}}\nproduction:\n  {key}: 3\n").notices

    assert key in notice


def test_a_key_for_a_gem_we_do_not_know_can_be_declared_so():
    assert "ignore_keys: [acme]" in refusal("acme: {x: 1}\n")
    assert options("acme: {x: 1}\nignore_keys: [acme]\n").notices == [
        "sidekiq.yml: keys that only Ruby uses are ignored: acme"
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("concurency: 5\n", "sidekiq.yml:1: unknown key 'concurency'; did you mean 'concurrency'?"),
        ("timeout: 3\n:quues: [a]\n", "sidekiq.yml:2: unknown key 'quues'; did you mean 'queues'?"),
        ("production:\n  timeout: 1\n  quues: [a]\n", "sidekiq.yml:3: unknown key 'quues'"),
        ("capsule: {single: {queues: [a]}}\n", "did you mean 'capsules'?"),
        ("concurrenc:\n", "did you mean 'concurrency'?"),
        ("zzz: 1\n", "known keys are average_scheduled_poll_interval, capsules, concurrency"),
    ],
)
def test_a_misspelt_key_is_an_error_with_its_line_and_what_was_meant(text, sentence):
    assert sentence in refusal(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("queues: :a", "a"),
        ("queues:\n  - :a\n  - - :b\n    - 2\n", ["a", ["b", 2]]),
        ("queues:\n  :a: 2\n  b: 1\n", {"a": 2, "b": 1}),
        ("queues:\n  - :a-b\n  - :a b\n  - :1\n  - ::x\n", ["a-b", "a b", "1", ":x"]),
        ("queues:\n  - :'a b'\n  - :\"c\"\n  - ':d'\n", ["a b", "c", ":d"]),
        ("queues: !ruby/symbol a", "a"),
        ("queues: [on, 1]", [True, 1]),
    ],
)
def test_symbols_are_the_words_they_spell_wherever_they_stand(text, value):
    assert top(text) == {"queues": value}


def test_bare_words_that_yaml_takes_for_something_else_are_words_as_keys():
    section = options("on:\n  timeout: 3\n", "on").section

    assert section["timeout"].value == 3


def test_lines_are_those_of_the_file_and_not_of_what_erb_made_of_it():
    found = options("<% if true -%>\ntimeout: 3\n<% end -%>\n\nconcurrency: 4\n").top

    assert found["timeout"].origin == "sidekiq.yml:2"
    assert found["concurrency"].origin == "sidekiq.yml:5"


def test_a_key_given_twice_counts_as_ruby_counts_it_and_is_told():
    found = options("concurrency: 5\n:concurrency: 6\n")

    assert found.top["concurrency"].value == 6
    assert found.notices == ["sidekiq.yml:2: concurrency is given twice, first in line 1; the last counts"]


def test_a_key_without_a_value_counts_as_not_given():
    assert top("concurrency:\nqueues: ~\n") == {}


@pytest.mark.parametrize("text", ["", "---\n", "# nothing\n", "---\n# nothing\n...\n"])
def test_an_empty_file_says_nothing(text):
    assert options(text).is_empty


def test_keys_that_hold_anchors_are_left_alone():
    assert top("x-queues: &queues [a, b]\n.any: &any {zzz: 1}\nqueues: *queues\n") == {"queues": ["a", "b"]}


@pytest.mark.row("K1")
@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: 1\nb: [\n", "sidekiq.yml:2: "),
        ("queues: [:a]\n", "sidekiq.yml:1: "),  # Ruby refuses it too
        ("concurrency:\n\t5\n", "sidekiq.yml:2: "),
        ("concurrency: *five\n", "sidekiq.yml:1: found undefined alias"),
        ("a: 1\n---\nb: 2\n", "sidekiq.yml:2: "),
        ("- a\n", "must hold keys and values"),
        ("just words\n", "must hold keys and values"),
        ("timeout: 1\n? [a]\n: 1\n", "sidekiq.yml:2: a key must be a word"),
        ("timeout: !ruby/object:Gem::Installer {}\n", "sidekiq.yml:1: the tag !ruby/object:Gem::Installer"),
        ("a: 1\ntimeout: !!python/object/apply:os.system [ls]\n", "sidekiq.yml:2: the tag"),
        ("timeout: \x00\n", "can't be read as YAML"),
        ("timeout: 2026-13-45\n", "can't be read as YAML"),
        ("queues: &a [*a]\n", "sidekiq.yml:1: an alias points at itself"),
        ("a: " + "[" * 3_000, "can't be read as YAML"),
    ],
)
def test_a_file_that_is_not_plain_yaml_is_refused_with_its_line(text, sentence):
    assert sentence in refusal(text)


@pytest.mark.row("K1")
def test_aliases_that_would_multiply_are_refused():
    bomb = "x-a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"x-{name}: &{name} [{', '.join([f'*{below}'] * 10)}]\n" for below, name in pairwise("abcdefghi")
    )

    assert "more than 10000 values" in refusal(bomb)


def test_a_file_that_is_not_text_is_refused():
    Path("sidekiq.yml").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(InvalidConfig, match=r"sidekiq\.yml can't be read"):
        load("sidekiq.yml", "development", {})


def test_a_file_that_may_not_be_read_is_refused():
    Path("folder").mkdir()

    with pytest.raises(InvalidConfig, match="folder can't be read"):
        load("folder", "development", {})


def test_file_and_dir_are_known_to_the_template():
    found = top("tag: <%= __FILE__ %>\nrequire: <%= __dir__ %>/app.py\n")

    assert found == {"tag": f"{Path.cwd()}/sidekiq.yml", "require": f"{Path.cwd()}/app.py"}
