"""Two worker processes beside one: what a second core brings.

On a machine of two cores the workers, Redis and the measuring share them, so that the machine is full before
Redis is. The second row holds each worker to a part of a core, and shows what is left of that limit then.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable

from benchmarks.harness import WARM_UP, Bench, Drain, payloads
from benchmarks.processes import can_hold, held, tree
from benchmarks.table import Row, at_least

CONCURRENCY = 25
MEASURE = "two worker processes beside one"
SHARE = 0.4  # of a core: two of them and Redis leave room on two cores


def run(bench: Bench) -> list[Row]:
    rows = [row(bench, "processes/2", MEASURE, free)]
    if can_hold():
        rows.append(row(bench, "processes/2-held", f"{MEASURE}, each held to {SHARE} of a core", slow))
    return rows


def row(bench: Bench, key: str, measure: str, drain: Callable[[Bench, int], Drain]) -> Row:
    drains: dict[int, list[Drain]] = {1: [], 2: []}
    for _ in range(bench.options.runs):
        for processes, each in drains.items():
            each.append(drain(bench, processes))
            bench.say(f"  {processes} worker processes: {each[-1].rate:,.0f} jobs/s")
    one, two = (statistics.median(drain.rate for drain in each) for each in drains.values())
    return Row(
        key=key,
        measure=measure,
        unit="/s",
        ours=two,
        peer="one process",
        theirs=one,
        wanted=at_least(1.5),
        note=busy(drains[2]),
    )


def free(bench: Bench, processes: int) -> Drain:
    return bench.drain(bench.ours, CONCURRENCY, processes=processes)


def slow(bench: Bench, processes: int) -> Drain:
    bench.fresh()
    with bench.ours.start(bench.url, CONCURRENCY, processes=processes) as process:
        bench.empty(payloads(min(WARM_UP, bench.options.jobs)), process)
        _, *workers = tree(process.pid)
        with held(workers, SHARE):
            return bench.empty(payloads(bench.options.jobs), process)


def busy(drains: list[Drain]) -> str:
    """Who was busy: Redis uses one core at most, and the machine has no more than it has."""
    seconds = sum(each.seconds for each in drains)
    workers = sum(each.worker_cpu for each in drains) / seconds
    redis = sum(each.redis_cpu for each in drains) / seconds
    return f"cores busy: workers {workers:.2f}, Redis {redis:.2f}, of {os.cpu_count()} in all"
