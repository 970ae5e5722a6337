"""How often a busy server goes to Redis for one no-op job.

Counted by Redis itself as reads from sockets (`total_reads_processed`), where a pipeline is one read and what
a script does inside is none; our own questions are taken off. A reply or a request too long for one read
counts more than once, so that the figure is rather too high than too low. Redis's own commandstats would not
do: they count a script's inner commands like those of a client.
"""

from __future__ import annotations

from benchmarks.contenders import Contender
from benchmarks.harness import Bench
from benchmarks.table import Row, at_most

CONCURRENCY = 25


def run(bench: Bench) -> list[Row]:
    def measure(contender: Contender) -> float:
        drain = bench.drain(contender, CONCURRENCY)
        return drain.round_trips / drain.jobs

    figures = bench.alternate(measure, runs=1)
    return [
        Row(
            key="round_trips/25",
            measure=f"Redis round trips per no-op job, concurrency {CONCURRENCY}",
            unit="",
            ours=figures[bench.ours.name],
            **bench.beside(figures),
            wanted=at_most(0.1),
        )
    ]
