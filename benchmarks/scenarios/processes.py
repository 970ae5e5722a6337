"""Two worker processes beside one: what a second core brings."""

from __future__ import annotations

import os
import statistics

from benchmarks.harness import Bench, Drain
from benchmarks.table import Row, at_least

CONCURRENCY = 25
MEASURE = "two worker processes beside one"


def run(bench: Bench) -> list[Row]:
    drains: dict[int, list[Drain]] = {1: [], 2: []}
    for _ in range(bench.options.runs):
        for processes, each in drains.items():
            each.append(bench.drain(bench.ours, CONCURRENCY, processes=processes))
            bench.say(f"  {processes} worker processes: {each[-1].rate:,.0f} jobs/s")
    one, two = (statistics.median(drain.rate for drain in each) for each in drains.values())
    return [
        Row(
            key="processes/2",
            measure=MEASURE,
            unit="/s",
            ours=two,
            peer="one process",
            theirs=one,
            wanted=at_least(1.5),
            note=busy(drains[2]),
        )
    ]


def busy(drains: list[Drain]) -> str:
    """Who was busy: Redis uses one core at most, and the machine has no more than it has."""
    seconds = sum(each.seconds for each in drains)
    workers = sum(each.worker_cpu for each in drains) / seconds
    redis = sum(each.redis_cpu for each in drains) / seconds
    return f"cores busy: workers {workers:.2f}, Redis {redis:.2f}, of {os.cpu_count()} in all"
