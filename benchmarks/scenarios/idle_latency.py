"""Push to start on an idle server: the job tells how long ago the push began."""

from __future__ import annotations

import random
import time

from benchmarks.contenders import Contender
from benchmarks.harness import Bench, payloads, percentile
from benchmarks.table import Row, at_most
from sidekiq_py import keys
from tests.helpers import rest

CONCURRENCY = 10
ROUNDS = 5  # servers of each kind, taking turns
PAUSE = (0.005, 0.03)  # seconds between pushes, at random, so that no rhythm is met


def run(bench: Bench) -> list[Row]:
    found: dict[str, list[float]] = {each.name: [] for each in bench.contenders}
    rounds = min(ROUNDS, bench.options.runs)
    for _ in range(rounds):
        for contender in bench.contenders:
            found[contender.name] += lateness(bench, contender, bench.options.samples // rounds)
    return [row(bench, found, 50, at_most(1, "ratio")), row(bench, found, 99, at_most(5))]


def row(bench: Bench, found: dict[str, list[float]], percent: int, wanted: object) -> Row:
    figures = {name: percentile(each, percent) * 1000 for name, each in found.items()}
    return Row(
        key=f"idle_latency/p{percent}",
        measure=f"push to start when idle, p{percent}",
        unit="ms",
        ours=figures[bench.ours.name],
        **bench.beside(figures),
        wanted=wanted,
    )


def lateness(bench: Bench, contender: Contender, samples: int) -> list[float]:
    """Seconds from just before LPUSH to the job's first line."""
    bench.fresh()
    contender.stamps().unlink(missing_ok=True)
    with contender.start(bench.url, CONCURRENCY):
        for _ in range(samples):
            rest(random.uniform(*PAUSE))
            [job] = payloads(1, "Stamp", repr(time.time()))
            bench.redis.lpush(keys.queue("default"), job)
        return bench.stamps(contender, samples)
