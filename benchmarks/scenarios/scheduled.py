"""Due to started: how late scheduled jobs begin with default settings."""

from __future__ import annotations

import random
import time

from benchmarks.contenders import Contender
from benchmarks.harness import Bench, payloads, percentile
from benchmarks.table import Row, at_most
from sidekiq_py import keys

CONCURRENCY = 10
JOBS = 100
LEAD = 2.0  # seconds from scheduling until the first job is due


def run(bench: Bench) -> list[Row]:
    found = {each.name: lateness(bench, each) for each in bench.contenders}
    return [row(bench, found, 50, 50), row(bench, found, 99, 1000)]


def row(bench: Bench, found: dict[str, list[float]], percent: int, bound: float) -> Row:
    figures = {name: percentile(each, percent) * 1000 for name, each in found.items()}
    return Row(
        key=f"scheduled/p{percent}",
        measure=f"due scheduled job to its start, p{percent}",
        unit="ms",
        ours=figures[bench.ours.name],
        **bench.beside(figures),
        wanted=at_most(bound),
    )


def lateness(bench: Bench, contender: Contender) -> list[float]:
    """Jobs due at random moments of a span, all scheduled before it; the seconds each was late."""
    bench.fresh()
    contender.stamps().unlink(missing_ok=True)
    count = min(JOBS, bench.options.samples)
    lead = min(LEAD, bench.options.seconds)
    with contender.start(bench.url, CONCURRENCY):
        now = time.time()
        for _ in range(count):
            due = now + lead + random.uniform(0, bench.options.seconds)
            [job] = payloads(1, "Stamp", repr(due))
            bench.redis.zadd(keys.SCHEDULE, {job: due})
        return bench.stamps(contender, count, timeout=LEAD + bench.options.seconds + 60)
