"""From starting the command to its first fetch: a job waits already."""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks.contenders import Contender, Ours, environ
from benchmarks.harness import Bench, payloads
from benchmarks.processes import kill_tree
from benchmarks.table import Row, at_most
from compat_tests.ruby_server import ServerOptions
from sidekiq_py import keys
from tests.helpers import eventually

CONCURRENCY = 25


def run(bench: Bench) -> list[Row]:
    seconds = bench.alternate(lambda contender: started_in(bench, contender))
    return [
        Row(
            key="cold_start/first",
            measure="start of the command to its first fetch",
            unit="s",
            ours=seconds[bench.ours.name],
            **bench.beside(seconds),
            wanted=at_most(0.6),
            note="Ruby's counts entering its root directory, about 0.02 s",
        )
    ]


def started_in(bench: Bench, contender: Contender) -> float:
    bench.fresh()
    queue = keys.queue("default")
    bench.redis.lpush(queue, *payloads(1))
    command, surroundings = how_to_start(bench, contender)
    started = time.perf_counter()
    with subprocess.Popen(
        command, env=surroundings, cwd=bench.directory, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
    ) as process:
        try:
            eventually(lambda: not bench.redis.exists(queue), 60, every=0.002)
            return time.perf_counter() - started
        finally:
            kill_tree(process.pid)


def how_to_start(bench: Bench, contender: Contender) -> tuple[list[str], dict[str, str]]:
    if isinstance(contender, Ours):
        command = contender.command(CONCURRENCY, ("default",), 1)
        return [sys.executable, "-m", "sidekiq_py", *command], environ(bench.url)
    options = ServerOptions(concurrency=CONCURRENCY)
    interpreter = contender.interpreter
    file = interpreter.write("cold-start.yml", options.file())
    surroundings = {**interpreter.environment(), "REDIS_URL": bench.url, "DYNO": options.hostname}
    return interpreter.command(*options.arguments(file)), surroundings
