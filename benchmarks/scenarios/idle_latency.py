"""Push to start on an idle server: the job tells how long ago the push began."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack

from benchmarks.contenders import Contender
from benchmarks.harness import Bench, payloads, percentile
from benchmarks.table import Row, at_most
from sidekiq_py import keys
from tests.helpers import rest

CONCURRENCY = 10
ROUNDS = 5  # each with servers of its own
TIMES = 2  # as many samples as other latencies get: it is short beside what the machine does meanwhile
PAUSE = (0.005, 0.03)  # seconds between pushes, at random, so that no rhythm is met


def run(bench: Bench) -> list[Row]:
    found: dict[str, list[float]] = {each.name: [] for each in bench.contenders}
    rounds = min(ROUNDS, bench.options.runs)
    for _ in range(rounds):
        for name, seconds in lateness(bench, TIMES * bench.options.samples // rounds).items():
            found[name] += seconds
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


def lateness(bench: Bench, samples: int) -> dict[str, list[float]]:
    """Seconds from just before LPUSH to the job's first line, by contender.

    All servers are up at once, each on a queue of its own, and the pushes go to them in turn: what else the
    machine does in a moment hits all of them.
    """
    bench.fresh()
    with ExitStack() as servers:
        for contender in bench.contenders:
            contender.stamps().unlink(missing_ok=True)
            servers.enter_context(contender.start(bench.url, CONCURRENCY, queues=(queue_of(contender),)))
        for _ in range(samples):
            for contender in random.sample(bench.contenders, len(bench.contenders)):
                rest(random.uniform(*PAUSE))
                [job] = payloads(1, "Stamp", repr(time.time()))
                bench.redis.lpush(keys.queue(queue_of(contender)), job)
        return {each.name: bench.stamps(each, samples) for each in bench.contenders}


def queue_of(contender: Contender) -> str:
    return contender.name.partition(" ")[0]
