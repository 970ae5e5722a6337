"""Jobs that wait 10 ms, a thousand at once in one process: the ideal is 100,000 a second."""

from __future__ import annotations

import statistics

from benchmarks.harness import WARM_UP, Bench, Drain, payloads
from benchmarks.scenarios.drain import load
from benchmarks.table import Row, at_least

CONCURRENCY = 1_000
SECONDS = 0.01
IDEAL = CONCURRENCY / SECONDS


def run(bench: Bench) -> list[Row]:
    drains = [one(bench) for _ in range(bench.options.runs)]
    return [
        Row(
            key="sleeping/1000",
            measure=f"jobs that sleep {SECONDS * 1000:g} ms, concurrency {CONCURRENCY:,}",
            unit="/s",
            ours=statistics.median(drain.rate for drain in drains),
            peer="ideal",
            theirs=IDEAL,
            wanted=at_least(0.6),
            note=load(drains),
        )
    ]


def one(bench: Bench) -> Drain:
    bench.fresh()
    with bench.ours.start(bench.url, CONCURRENCY) as process:
        bench.empty(payloads(min(WARM_UP, bench.options.jobs), "Sleep", SECONDS), process)
        drain = bench.empty(payloads(bench.options.jobs, "Sleep", SECONDS), process)
        bench.say(f"  {drain.rate:,.0f} jobs/s")
        return drain
