"""push_bulk of 100,000 jobs: jobs a second as each client makes, checks and sends them."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.contenders import Contender, environ
from benchmarks.harness import Bench
from benchmarks.table import Row, at_least
from compat_tests.interpreters import output_of
from sidekiq_py import keys

OURS = """
import sys, time
from sidekiq_py import Client
client = Client()
client.push({"class": "NoOp", "args": [0]})
rows = [[number] for number in range(int(sys.argv[1]))]
started = time.perf_counter()
client.push_bulk({"class": "NoOp", "args": rows})
print(time.perf_counter() - started)
"""
RUBY = """
require "sidekiq"
Sidekiq::Client.push("class" => "NoOp", "args" => [0])
rows = (0...ARGV[0].to_i).map { |number| [number] }
started = Process.clock_gettime(Process::CLOCK_MONOTONIC)
Sidekiq::Client.push_bulk("class" => "NoOp", "args" => rows)
puts Process.clock_gettime(Process::CLOCK_MONOTONIC) - started
"""


def run(bench: Bench) -> list[Row]:
    def measure(contender: Contender) -> float:
        bench.fresh()
        rate = bench.options.jobs / (by_us(bench) if contender is bench.ours else by_ruby(bench))
        pushed = bench.redis.llen(keys.queue("default"))
        if pushed != bench.options.jobs + 1:
            raise RuntimeError(f"{contender.name} pushed {pushed:,} jobs")
        bench.say(f"  {contender.name}: {rate:,.0f} jobs/s")
        return rate

    rates = bench.alternate(measure)
    return [
        Row(
            key="push/bulk",
            measure="push_bulk, a thousand jobs a round trip",
            unit="/s",
            ours=rates[bench.ours.name],
            **bench.beside(rates),
            wanted=at_least(2),
        )
    ]


def by_us(bench: Bench) -> float:
    command = [sys.executable, "-c", OURS, str(bench.options.jobs)]
    return float(subprocess.check_output(command, env=environ(bench.url), cwd=bench.directory))


def by_ruby(bench: Bench) -> float:
    command = ["ruby", "-e", RUBY, str(bench.options.jobs)]
    return float(output_of(bench.sidekiq.interpreter, command, REDIS_URL=bench.url).splitlines()[-1])
