"""Where the time of a no-op job goes, step by step, with the physical limits beside it.

    python benchmarks/profile_hot_path.py [--jobs 100000] [--concurrency 25]

A sampler runs inside the real server while it empties a queue; its shares are laid upon the CPU time that the
process used. The limits: Redis doing nothing but moving and removing the same payloads in long pipelines, and
msgspec doing nothing but decoding them.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import hiredis
import msgspec

from benchmarks.contenders import HERE, Ours
from benchmarks.harness import PREPARED, Bench, Drain, Options, bench, payloads
from benchmarks.processes import cpu_seconds

# What a function's time is shown as: the longest matching beginning counts.
STEPS = {
    "sidekiq_py.fetch:Fetcher.retrieve_work": "hand-over: local queue, switch to a processor",
    "sidekiq_py.ready_jobs": "hand-over: local queue, switch to a processor",
    "sidekiq_py.acknowledgements": "fetch and acknowledge: arguments, bookkeeping",
    "sidekiq_py.fetch": "fetch and acknowledge: arguments, bookkeeping",
    "sidekiq_py.idle_wait": "fetch and acknowledge: arguments, bookkeeping",
    "sidekiq_py.claims": "fetch and acknowledge: arguments, bookkeeping",
    "sidekiq_py.look_ahead": "fetch and acknowledge: arguments, bookkeeping",
    "sidekiq_py.failpoint": "processor: the order of it all, clocks",
    "sidekiq_py.redis_connection": "talk to Redis: pack, send, wait, parse",
    "sidekiq_py.scripts": "talk to Redis: pack, send, wait, parse",
    "sidekiq_py.payload": "decode the payload",
    "sidekiq_py.registry": "look up the handler, fit its arguments",
    "sidekiq_py.arguments": "look up the handler, fit its arguments",
    "sidekiq_py.logger": "job context and logger",
    "sidekiq_py.job_logger": "job context and logger",
    "sidekiq_py.running_job": "job context and logger",
    "sidekiq_py.metrics": "metrics",
    "sidekiq_py.work_state": "work state (Busy page)",
    "sidekiq_py.running_table": "work state (Busy page)",
    "sidekiq_py.middleware": "middleware",
    "sidekiq_py.clock": "processor: the order of it all, clocks",
    "sidekiq_py.processor": "processor: the order of it all, clocks",
    "benchmarks.handlers": "the handler itself",
    "gevent": "gevent's loop",
}
OTHER = "heartbeat, poller and the rest"
SHOWN = 30  # functions
CONCURRENCY = 25


@dataclass
class Profile:
    drain: Drain
    places: Counter[str]
    leaves: Counter[str]

    @property
    def microseconds(self) -> float:
        """Of CPU, by the worker process for one job."""
        return self.drain.worker_cpu / self.drain.jobs * 1e6

    def steps(self) -> list[tuple[str, float]]:
        """Each step's share of the time, the largest first."""
        total = self.places.total() or 1
        steps: Counter[str] = Counter()
        for place, count in self.places.items():
            steps[step_of(place)] += count
        return [(step, count / total) for step, count in steps.most_common()]

    def functions(self, counted: Counter[str]) -> list[tuple[str, float]]:
        total = counted.total() or 1
        return [(place, count / total * self.microseconds) for place, count in counted.most_common(SHOWN)]


def step_of(place: str) -> str:
    fitting = [beginning for beginning in STEPS if place.startswith(beginning)]
    return STEPS[max(fitting, key=len)] if fitting else OTHER


def profile(bench: Bench, concurrency: int) -> Profile:
    bench.fresh()
    server = Ours(bench.directory, handlers=HERE / "profiled_handlers.py")
    with server.start(bench.url, concurrency) as process:
        bench.empty(payloads(min(5_000, bench.options.jobs)), process)
        os.kill(process.worker_pid, signal.SIGUSR1)
        drain = bench.empty(payloads(bench.options.jobs), process)
        process.stop()
    told = json.loads((bench.directory / "profile.json").read_text())
    return Profile(drain, Counter(told["places"]), Counter(told["leaves"]))


def decoding(count: int) -> float:
    """Microseconds that msgspec needs for one payload."""
    jobs, decode = payloads(count), msgspec.json.Decoder().decode
    started = time.perf_counter()
    for job in jobs:
        decode(job)
    return (time.perf_counter() - started) / count * 1e6


def redis_alone(bench: Bench) -> float:
    """Microseconds of Redis's own CPU to move a payload into a claim list and out of it again."""
    bench.fresh()
    jobs = payloads(bench.options.jobs)
    bench.prepare(jobs)
    move = hiredis.pack_command(("LMOVE", PREPARED, "claim", "RIGHT", "LEFT"))
    before = cpu_seconds(bench.server.pid)
    with socket.create_connection(("127.0.0.1", bench.server.port)) as connection:
        for start in range(0, len(jobs), 500):
            batch = jobs[start : start + 500]
            removals = [hiredis.pack_command(("LREM", "claim", -1, job)) for job in batch]
            connection.sendall(b"".join([move * len(batch), *removals]))
            read_replies(connection, 2 * len(batch))
    return (cpu_seconds(bench.server.pid) - before) / len(jobs) * 1e6


def read_replies(connection: socket.socket, count: int) -> None:
    reader = hiredis.Reader()
    while count:
        reader.feed(connection.recv(1 << 20))
        while reader.gets() is not False:
            count -= 1


def report(found: Profile, concurrency: int, limits: dict[str, float]) -> str:
    drain, total = found.drain, found.microseconds
    lines = [
        f"One worker process, concurrency {concurrency}: {drain.rate:,.0f} no-op jobs a second, sampler on.",
        "",
        "| step | µs a job | share |",
        "| --- | ---: | ---: |",
        *(f"| {step} | {share * total:.2f} | {share:.0%} |" for step, share in found.steps()),
        f"| **CPU of the worker process** | **{total:.2f}** | |",
        f"| CPU of Redis | {drain.redis_cpu / drain.jobs * 1e6:.2f} | |",
        f"| wall clock | {drain.seconds / drain.jobs * 1e6:.2f} | |",
        *(f"| limit: {name} | {cost:.2f} | |" for name, cost in limits.items()),
    ]
    return "\n".join(lines)


def measured(bench: Bench, concurrency: int = CONCURRENCY) -> str:
    found = profile(bench, concurrency)
    return report(found, concurrency, limits(bench))


def limits(bench: Bench) -> dict[str, float]:
    return {
        "msgspec decoding these payloads": decoding(bench.options.jobs),
        "Redis alone, LMOVE and LREM in pipelines of 1,000": redis_alone(bench),
    }


def functions(found: Profile) -> str:
    """The dearest functions, for whoever tunes."""
    lines = []
    for title, counted in (("our function, with what it calls", found.places), ("innermost", found.leaves)):
        lines += [f"\n{title:74} µs a job"]
        lines += [f"{place:74} {cost:.2f}" for place, cost in found.functions(counted)]
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=Options.jobs)
    parser.add_argument("--concurrency", type=int, default=CONCURRENCY)
    told = parser.parse_args(arguments)
    with bench(Options(jobs=told.jobs), ruby=False) as everything:
        found = profile(everything, told.concurrency)
        print(report(found, told.concurrency, limits(everything)))
    print(functions(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
