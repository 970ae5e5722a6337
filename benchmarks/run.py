"""All measurements side by side, one table: `make bench`.

    python benchmarks/run.py                          everything, about an hour on two cores
    python benchmarks/run.py --only drain,latency     some of it; the other rows stay as they were
    python benchmarks/run.py --quick                  does everything run? (no figures to quote)
    python benchmarks/run.py --only profile --docs    write table and profile into docs/performance.md

Rows are kept in benchmarks/results/latest.json, where a later run replaces those it has measured anew.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import documents, profile_hot_path, table
from benchmarks.harness import Bench, Options, bench
from benchmarks.table import Row

SCENARIOS = (
    *("drain", "latency", "processes", "sleeping", "round_trips", "push", "idle_latency", "scheduled"),
    *("memory", "cold_start", "idle_commands", "peers"),
)
PROFILE = "profile"


def main(arguments: Sequence[str]) -> int:
    told = parsed(arguments)
    options = Options.quick() if told.quick else Options()
    options = replace(options, **{k: v for k in ("jobs", "runs") if (v := getattr(told, k)) is not None})
    wanted = told.only.split(",")
    if unknown := set(wanted) - {*SCENARIOS, PROFILE}:
        sys.exit(
            f"no such scenario: {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}, {PROFILE}"
        )
    with bench(options, ruby=told.ruby) as everything:
        about = surroundings(everything)
        new: list[Row] = []
        for name in SCENARIOS:
            if name in wanted:
                new += measured(everything, name, str(about["when"]))
                # At once: an hour of figures must not hang on the last scenario.
                table.save(table.merged(table.load(told.results), new, SCENARIOS), about, told.results)
        profile = profile_hot_path.measured(everything) if PROFILE in wanted else None
    print(f"\n{table.text(new)}")
    if profile:
        print(f"\n{profile}")
    if told.docs:
        rows = table.load(told.results)
        documents.write("table", f"{heading(about, rows)}\n\n{table.markdown(rows)}")
        if profile:
            documents.write("profile", profile)
    return 0


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join((*SCENARIOS, PROFILE)), help="scenarios, with commas")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--jobs", type=int, help=f"of a drain or push; {Options.jobs:,}")
    parser.add_argument("--runs", type=int, help=f"of each contender; {Options.runs}")
    parser.add_argument("--no-ruby", dest="ruby", action="store_false", help="leave real Sidekiq out")
    parser.add_argument("--docs", action="store_true", help="write the results into docs/performance.md")
    parser.add_argument("--results", type=Path, default=table.RESULTS)
    return parser.parse_args(arguments)


def measured(everything: Bench, name: str, when: str) -> list[Row]:
    everything.say(f"{name} …")
    started = time.monotonic()
    rows = importlib.import_module(f"benchmarks.scenarios.{name}").run(everything)
    everything.say(f"{table.text(rows)}\n  {name} took {time.monotonic() - started:.0f} s\n")
    return [replace(row, when=when) for row in rows]


def surroundings(everything: Bench) -> dict[str, object]:
    """In what circumstances the figures arose."""
    return {
        "when": f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "redis": everything.redis.info("server")["redis_version"],
        **asdict(everything.options),
    }


def heading(about: dict[str, object], rows: Sequence[Row]) -> str:
    dates = sorted({row.when for row in rows})
    when = dates[0] if len(dates) == 1 else f"{len(dates)} runs from {dates[0]} to {dates[-1]}"
    return (
        f"{when} UTC; {about['system']}, {about['cores']} cores, load {about['load']} before the last run; "
        f"Python {about['python']}, Redis {about['redis']}; {about['jobs']:,} jobs a drain, median of "
        f"{about['runs']} runs."
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
