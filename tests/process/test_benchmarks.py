"""The benchmarks run: with counts far too small for figures, and with our own server alone."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator

import pytest

from benchmarks import documents, run, sidekiqload, table
from benchmarks.harness import Bench, Options, bench
from benchmarks.table import Row, at_least, at_most

TINY = Options(jobs=60, runs=1, samples=5, seconds=0.3)
NEEDS_OTHERS = {"peers"}


@pytest.fixture(scope="module")
def tiny() -> Iterator[Bench]:
    with bench(TINY, say=lambda _: None, ruby=False) as everything:
        yield everything


@pytest.mark.parametrize("name", [name for name in run.SCENARIOS if name not in NEEDS_OTHERS])
def test_each_scenario_measures_us(tiny, name):
    rows = importlib.import_module(f"benchmarks.scenarios.{name}").run(tiny)

    assert all(row.key.startswith(f"{name}/") and row.ours is not None for row in rows)


def test_one_command_measures_merges_and_tells(tmp_path, capsys):
    results = tmp_path / "latest.json"
    few = ["--jobs", "60", "--runs", "1", "--no-ruby", "--results", str(results)]

    run.main(["--only", "round_trips", *few])
    run.main(["--only", "push,profile", *few])

    keys = [row["key"] for row in json.loads(results.read_text())["rows"]]
    assert keys == ["round_trips/25", "push/bulk"]
    assert "CPU of the worker process" in capsys.readouterr().out


def test_sidekiqload_prints_a_row_for_each_concurrency(capsys):
    sidekiqload.main(["--jobs", "60", "--runs", "1", "--no-ruby", "--concurrency", "1,2"])

    printed = capsys.readouterr().out
    assert "concurrency 1 " in printed
    assert "concurrency 2 " in printed


@pytest.mark.parametrize(
    ("wanted", "met"),
    [(at_least(2), True), (at_least(3), False), (at_most(10, "ours"), True), (at_most(9, "ours"), False)],
)
def test_a_row_says_whether_what_was_wanted_is_met(wanted, met):
    assert Row(key="k", measure="m", unit="", ours=10.0, theirs=5.0, wanted=wanted).met is met


def test_nothing_is_met_by_what_was_not_measured():
    assert Row(key="k", measure="m", unit="", ours=10.0, wanted=at_least(2)).met is None


def test_rows_measured_anew_take_the_old_ones_places():
    old = [Row(key="a/1", measure="old", unit="", ours=1), Row(key="b/1", measure="kept", unit="", ours=1)]
    new = [Row(key="a/1", measure="new", unit="", ours=2)]

    assert [row.measure for row in table.merged(old, new, ["a", "b"])] == ["new", "kept"]


def test_a_documents_part_is_replaced_and_the_rest_stays(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "before\n<!-- table: begin, written by benchmarks/ -->\nold\n<!-- table: end -->\nafter\n"
    )

    documents.write("table", "new", page)

    assert "old" not in page.read_text()
    assert page.read_text().startswith("before\n")
    assert page.read_text().endswith("after\n")
    assert "new" in page.read_text()
