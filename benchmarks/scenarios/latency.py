"""The same drain with a millisecond more between server and Redis, as across a data centre."""

from __future__ import annotations

import statistics
import time

import redis as redis_py

from benchmarks.contenders import Contender
from benchmarks.harness import Bench, percentile
from benchmarks.latency_proxy import ProxyProcess, proxy
from benchmarks.table import Row, at_least

CONCURRENCY = 25
EACH_WAY = 0.5  # milliseconds
PINGS = 500


def run(bench: Bench) -> list[Row]:
    with proxy(bench.server.port, EACH_WAY) as between:
        measured = round_trip(between)
        loads: dict[str, list[float]] = {each.name: [] for each in bench.contenders}

        def measure(contender: Contender) -> float:
            before = between.cpu()
            drain = bench.drain(contender, CONCURRENCY, via=between.url)
            loads[contender.name].append((between.cpu() - before) / drain.seconds)
            bench.say(f"  {contender.name}: {drain.rate:,.0f} jobs/s")
            return drain.rate

        rates = bench.alternate(measure)
    busy = ", ".join(f"{statistics.median(each):.2f} with {name}" for name, each in loads.items())
    return [
        Row(
            key="latency/25",
            measure=f"no-op jobs, concurrency {CONCURRENCY}, Redis {2 * EACH_WAY:g} ms further away",
            unit="/s",
            ours=rates[bench.ours.name],
            **bench.beside(rates),
            wanted=at_least(10),
            note=f"a PING takes {measured:.2f} ms through the proxy, which used of one core: {busy}",
        )
    ]


def round_trip(between: ProxyProcess) -> float:
    """Milliseconds, the median of many pings."""
    with redis_py.Redis.from_url(between.url) as redis:
        redis.ping()
        times = []
        for _ in range(PINGS):
            started = time.perf_counter()
            redis.ping()
            times.append((time.perf_counter() - started) * 1000)
    return percentile(times, 50)
