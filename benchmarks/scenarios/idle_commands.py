"""What an idle server asks of Redis, from a listening MONITOR: what scripts do inside is left out.

The beat is counted apart: what the connection sends that writes the process's hash and looks for signals and
due jobs, and a supervisor's EXPIREs, which keep a worker's beat alive.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass

import redis as redis_py

from benchmarks.contenders import Contender
from benchmarks.harness import Bench
from benchmarks.table import Row, at_most
from tests.helpers import rest

CONCURRENCY = 10
SETTLE = 3.0  # seconds
QUEUES = ("default", "critical", "low")


@dataclass
class Idle:
    """Commands a second, by name: the beat's, and all others."""

    beat: Counter[str]
    others: Counter[str]


def run(bench: Bench) -> list[Row]:
    return [row(bench, QUEUES[:count]) for count in (1, len(QUEUES))]


def row(bench: Bench, queues: tuple[str, ...]) -> Row:
    found = {each.name: idle(bench, each, queues) for each in bench.contenders}
    figures = {name: each.others.total() / len(queues) for name, each in found.items()}
    ours = found[bench.ours.name]
    named = ", ".join(f"{name} {rate:.2g}" for name, rate in ours.others.most_common())
    return Row(
        key=f"idle_commands/{len(queues)}",
        measure=f"idle: commands a second and queue, {len(queues)} queue{'s'[: len(queues) - 1]}, beat aside",
        unit="/s",
        ours=figures[bench.ours.name],
        **bench.beside(figures),
        wanted=at_most(1),
        note=f"in all: {named}; the beat and its look for signals and due jobs {ours.beat.total():.2g}",
    )


def idle(bench: Bench, contender: Contender, queues: tuple[str, ...]) -> Idle:
    bench.fresh()
    with contender.start(bench.url, CONCURRENCY, queues=queues):
        rest(min(SETTLE, bench.options.seconds))
        return listen(bench.url, bench.options.seconds)


def listen(url: str, seconds: float) -> Idle:
    by_connection: defaultdict[str, Counter[str]] = defaultdict(Counter)
    beating = set()
    kept_alive: Counter[str] = Counter()
    until = time.monotonic() + seconds
    with redis_py.Redis.from_url(url, socket_timeout=seconds) as redis, redis.monitor() as monitor:
        while time.monotonic() < until:
            try:
                heard = monitor.next_command()
            except redis_py.TimeoutError:
                break
            if heard["client_type"] == "lua":
                continue
            connection = f"{heard['client_address']}:{heard['client_port']}"
            name, *words = heard["command"].split()
            if name.upper() == "EXPIRE":
                kept_alive[name.upper()] += 1 / seconds
                continue
            by_connection[connection][name.upper()] += 1 / seconds
            if belongs_to_beat(words):
                beating.add(connection)
    return Idle(
        beat=sum((by_connection[each] for each in beating), kept_alive),
        others=sum((by_connection[each] for each in by_connection.keys() - beating), Counter()),
    )


def belongs_to_beat(words: list[str]) -> bool:
    """Only who beats writes the process's hash, and asks for signals sent to it."""
    return any(word.endswith("-signals") for word in words)
