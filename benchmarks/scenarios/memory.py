"""Resident memory of one worker after a million jobs, and how much of it came with the last nine tenths."""

from __future__ import annotations

from benchmarks.contenders import Contender
from benchmarks.harness import Bench, payloads
from benchmarks.processes import rss
from benchmarks.table import Row, at_most

CONCURRENCY = 25
SLICES = 10  # of `jobs` each
MB = 1_000_000


def run(bench: Bench) -> list[Row]:
    first, last = measured(bench, bench.ours, SLICES)
    beside = {}
    if bench.sidekiq:
        _, theirs = measured(bench, bench.sidekiq, 1)
        beside = {"peer": f"{bench.sidekiq.name} after {bench.options.jobs:,} jobs", "theirs": theirs}
    total = f"{SLICES * bench.options.jobs:,} jobs"
    return [
        Row(
            key="memory/rss",
            measure=f"RSS of one worker after {total}, concurrency {CONCURRENCY}",
            unit="MB",
            ours=last,
            **beside,
            wanted=at_most(60),
        ),
        Row(
            key="memory/growth",
            measure=f"its growth since the first {bench.options.jobs:,} jobs",
            unit="MB",
            ours=last - first,
            wanted=at_most(10),
        ),
    ]


def measured(bench: Bench, contender: Contender, slices: int) -> tuple[float, float]:
    """Megabytes after the first slice, and after the last."""
    bench.fresh()
    with contender.start(bench.url, CONCURRENCY) as process:
        found = []
        for _ in range(slices):
            bench.empty(payloads(bench.options.jobs), process)
            found.append(rss(process.worker_pid) / MB)
        bench.say(f"  {contender.name}: {', '.join(f'{each:.1f}' for each in found)} MB")
        return found[0], found[-1]
