"""No-op jobs beside other Python queues: the same Redis, one worker process each, taking turns.

Each queue's own client pushes into database 1. Then all keys are moved to database 0, where its worker waits,
the queue itself last: that is where the clock starts. Slow queues get fewer jobs, about as many as they do in
a few seconds; their rate is the same.
"""

from __future__ import annotations

import statistics
import subprocess
from collections import defaultdict

import redis as redis_py

from benchmarks.harness import Bench
from benchmarks.peers import PEERS, Peer, PeerMissing
from benchmarks.table import Row, at_least

CONCURRENCIES = (10, 25)
TRIAL = 500  # jobs
SECONDS = 3.0  # of work for each peer and run


def run(bench: Bench) -> list[Row]:
    installed = dict(versions(bench))
    return [row for concurrency in CONCURRENCIES for row in beside(bench, installed, concurrency)]


def versions(bench: Bench) -> list[tuple[Peer, str]]:
    found = []
    for peer in PEERS:
        try:
            found.append((peer, peer.install()))
        except PeerMissing as error:
            bench.say(str(error))
    return found


def beside(bench: Bench, installed: dict[Peer, str], concurrency: int) -> list[Row]:
    ours: list[float] = []
    theirs: defaultdict[Peer, list[float]] = defaultdict(list)
    for _ in range(bench.options.runs):
        ours.append(bench.drain(bench.ours, concurrency).rate)
        for peer in installed:
            rate = rate_or_why_not(bench, peer, concurrency)
            if rate is not None:
                theirs[peer].append(rate)
    medians = {peer: statistics.median(each) for peer, each in theirs.items()}
    best = max(medians.values(), default=None)
    return [
        Row(
            key=f"peers/{concurrency}/{peer.package}",
            measure=f"no-op jobs, concurrency {concurrency}",
            unit="/s",
            ours=statistics.median(ours),
            peer=f"{peer.name} {installed[peer]}",
            theirs=rate,
            wanted=at_least(8) if rate == best else None,
            note=peer.note,
        )
        for peer, rate in medians.items()
    ]


def rate_or_why_not(bench: Bench, peer: Peer, concurrency: int) -> float | None:
    try:
        rate = rate_of(bench, peer, concurrency)
    except (subprocess.CalledProcessError, TimeoutError) as error:
        bench.say(f"  {peer.name} does not run here: {error}")
        return None
    bench.say(f"  {peer.name} -c {concurrency}: {rate:,.0f} jobs/s")
    return rate


def rate_of(bench: Bench, peer: Peer, concurrency: int) -> float:
    bench.fresh()
    with peer.start(f"{bench.url}/0", concurrency, bench.directory / f"{peer.package}.log") as pid:
        drain(bench, peer, min(TRIAL, bench.options.jobs), pid)  # waits for its boot, and warms it up
        trial = drain(bench, peer, min(TRIAL, bench.options.jobs), pid)
        return drain(bench, peer, min(int(trial * SECONDS), bench.options.jobs), pid)


def drain(bench: Bench, peer: Peer, count: int, pid: int) -> float:
    peer.enqueue(count, f"{bench.url}/1")
    with redis_py.Redis.from_url(f"{bench.url}/1") as prepared:
        move_all_but(prepared, peer.queue)
        return bench.timed(
            count,
            pid,
            hand_over=lambda: prepared.move(peer.queue, 0),
            is_empty=lambda: not bench.redis.exists(*peer.until),
        ).rate


def move_all_but(prepared: redis_py.Redis, queue: str) -> None:
    """What exists at the worker's already (registers of queues, say) stays behind, and is thrown away."""
    pipeline = prepared.pipeline(transaction=False)
    names = [name for name in prepared.scan_iter(count=1_000) if name.decode() != queue]
    for name in names:
        pipeline.move(name, 0)
    for name in names:
        pipeline.unlink(name)
    pipeline.execute()
