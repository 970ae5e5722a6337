"""No-op jobs per second, sidekiq-py beside real Sidekiq, on one Redis. The twin of Sidekiq's own sidekiqload.

    python benchmarks/sidekiqload.py [--jobs 100000] [--runs 5] [--concurrency 10,25] [--json FILE]

The servers take turns; the figure is the median of their runs. Booting, and a thousand jobs to warm up, are
not counted; fetching, running, counting and acknowledging are.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import table
from benchmarks.harness import Options, bench
from benchmarks.scenarios import drain


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=Options.jobs)
    parser.add_argument("--runs", type=int, default=Options.runs)
    parser.add_argument("--concurrency", default="10,25", help="one or more, with commas")
    parser.add_argument("--no-ruby", dest="ruby", action="store_false", help="ours alone")
    parser.add_argument("--json", type=Path, help="write the rows there too")
    told = parser.parse_args(arguments)
    with bench(Options(jobs=told.jobs, runs=told.runs), ruby=told.ruby) as everything:
        rows = [drain.row(everything, int(each)) for each in told.concurrency.split(",")]
    print(table.text(rows))
    if told.json:
        table.save(rows, {"jobs": told.jobs, "runs": told.runs}, told.json)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
