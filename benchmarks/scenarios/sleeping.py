"""Jobs that wait 10 ms, a thousand at once in one process: the ideal is 100,000 a second."""

from __future__ import annotations

import statistics
import subprocess
import sys

from benchmarks.harness import WARM_UP, Bench, Drain, payloads
from benchmarks.scenarios.drain import load
from benchmarks.table import Row, at_least

CONCURRENCY = 1_000
SECONDS = 0.01
IDEAL = CONCURRENCY / SECONDS
BARE = """
import gevent.monkey
gevent.monkey.patch_all()
import gevent, sys, time
concurrency, seconds, each = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
def sleep():
    for _ in range(each):
        time.sleep(seconds)
gevent.joinall([gevent.spawn(sleep) for _ in range(concurrency)])
print(time.process_time() / (concurrency * each) * 1e6)
"""


def run(bench: Bench) -> list[Row]:
    drains = [one(bench) for _ in range(bench.options.runs)]
    costs = f"a job takes {cpu(drains):.1f} µs of CPU, gevent's sleep alone {bare():.1f}"
    return [
        Row(
            key="sleeping/1000",
            measure=f"jobs that sleep {SECONDS * 1000:g} ms, concurrency {CONCURRENCY:,}",
            unit="/s",
            ours=statistics.median(drain.rate for drain in drains),
            peer="ideal",
            theirs=IDEAL,
            wanted=at_least(0.6),
            note=f"{load(drains)}; {costs}",
        )
    ]


def one(bench: Bench) -> Drain:
    bench.fresh()
    with bench.ours.start(bench.url, CONCURRENCY) as process:
        bench.empty(payloads(min(WARM_UP, bench.options.jobs), "Sleep", SECONDS), process)
        drain = bench.empty(payloads(bench.options.jobs, "Sleep", SECONDS), process)
        bench.say(f"  {drain.rate:,.0f} jobs/s")
        return drain


def cpu(drains: list[Drain]) -> float:
    """Microseconds a job that the worker uses."""
    return sum(each.worker_cpu for each in drains) / sum(each.jobs for each in drains) * 1e6


def bare() -> float:
    """Microseconds of CPU for one such sleep with nothing round it, as many at once."""
    command = [sys.executable, "-c", BARE, str(CONCURRENCY), str(SECONDS), "50"]
    return float(subprocess.check_output(command, text=True))
