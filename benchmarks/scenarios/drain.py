"""100,000 no-op jobs, one worker process: how many a second."""

from __future__ import annotations

from benchmarks.contenders import Contender
from benchmarks.harness import Bench, Drain
from benchmarks.table import Row, at_least

CONCURRENCIES = (10, 25)


def run(bench: Bench) -> list[Row]:
    return [row(bench, concurrency) for concurrency in CONCURRENCIES]


def row(bench: Bench, concurrency: int) -> Row:
    drains: list[Drain] = []

    def measure(contender: Contender) -> float:
        drain = bench.drain(contender, concurrency)
        bench.say(f"  {contender.name} -c {concurrency}: {drain.rate:,.0f} jobs/s")
        if contender is bench.ours:
            drains.append(drain)
        return drain.rate

    rates = bench.alternate(measure)
    return Row(
        key=f"drain/{concurrency}",
        measure=f"no-op jobs, concurrency {concurrency}",
        unit="/s",
        ours=rates[bench.ours.name],
        **bench.beside(rates),
        wanted=at_least(10),
        note=load(drains),
    )


def load(drains: list[Drain]) -> str:
    """Who was busy: where Redis is near 100 %, it and not the worker sets the pace."""
    seconds = sum(each.seconds for each in drains)
    worker = sum(each.worker_cpu for each in drains) / seconds
    redis = sum(each.redis_cpu for each in drains) / seconds
    return f"cores busy: worker {worker:.2f}, Redis {redis:.2f}"
