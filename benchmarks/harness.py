"""What every scenario stands on: one private Redis, the same payloads for everybody, and one way to measure.

A drain is measured from outside and in the same way for each contender: the server is booted and waits at an
empty queue; a prepared list becomes its queue by one RENAME, which is where the clock starts; it stops when
neither the queue nor a claim list is left. Redis is asked a hundred times a second.
"""

from __future__ import annotations

import contextlib
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis as redis_py

from benchmarks.contenders import Contender, Ours, Process, RealSidekiq, real_sidekiq
from benchmarks.processes import cpu_seconds
from sidekiq_py import keys
from tests.helpers import eventually
from tests.servers import Server, start_server

POLL = 0.01  # seconds
DRAIN_TIMEOUT = 300.0
WARM_UP = 1_000  # jobs before the clock starts: late imports, first allocations, script loading
QUEUE = "default"
PREPARED = "benchmarks:prepared"


@dataclass(frozen=True, kw_only=True)
class Options:
    """How much is measured. The defaults are for figures worth publishing."""

    jobs: int = 100_000
    runs: int = 5
    samples: int = 500  # of a latency
    seconds: float = 20.0  # of watching an idle or sleeping server

    @classmethod
    def quick(cls) -> Options:
        """A minute or two in all: for looking whether everything runs, not for figures."""
        return cls(jobs=3_000, runs=1, samples=20, seconds=2.0)


@dataclass(frozen=True)
class Drain:
    """One queue, emptied."""

    jobs: int
    seconds: float
    worker_cpu: float  # seconds
    redis_cpu: float
    round_trips: int  # reads that Redis did from all sockets but ours; a pipeline is one

    @property
    def rate(self) -> float:
        return self.jobs / self.seconds


@dataclass
class Bench:
    """One run: the Redis, the contenders, a directory that is removed in the end."""

    options: Options
    server: Server
    redis: CountingRedis
    directory: Path
    ours: Ours
    sidekiq: RealSidekiq | None
    say: Callable[[str], None] = print

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def contenders(self) -> list[Contender]:
        return [self.ours, *([self.sidekiq] if self.sidekiq else [])]

    def fresh(self) -> None:
        self.redis.flushall()
        self.redis.config_resetstat()

    def alternate(self, measure: Callable[[Contender], float], runs: int | None = None) -> dict[str, float]:
        """The median by contender; the contenders take turns, so that a busy minute hits both."""
        figures: dict[str, list[float]] = {each.name: [] for each in self.contenders}
        for run in range(runs or self.options.runs):
            for contender in self.contenders if run % 2 == 0 else reversed(self.contenders):
                figures[contender.name].append(measure(contender))
        return {name: statistics.median(each) for name, each in figures.items()}

    def beside(self, figures: dict[str, float]) -> dict[str, Any]:
        """Real Sidekiq's part of a row."""
        if self.sidekiq is None:
            return {}
        return {"peer": self.sidekiq.name, "theirs": figures[self.sidekiq.name]}

    def drain(
        self, contender: Contender, concurrency: int, *, via: str | None = None, processes: int = 1
    ) -> Drain:
        """Start a server, let it empty a queue of no-op jobs, stop it, and see that it ran each job once."""
        self.fresh()
        jobs = self.options.jobs
        warm_up = min(WARM_UP, jobs)
        with contender.start(via or self.url, concurrency, processes=processes) as process:
            self.empty(payloads(warm_up), process)
            drain = self.empty(payloads(jobs), process)
            process.stop()
        processed = int(self.redis.get(keys.STAT_PROCESSED) or 0)
        if processed != jobs + warm_up:
            raise RuntimeError(f"{contender.name} processed {processed:,} jobs of {jobs + warm_up:,}")
        return drain

    def empty(self, jobs: Sequence[bytes], process: Process) -> Drain:
        """Hand the jobs over at once, and wait until they are done and acknowledged."""
        self.prepare(jobs)
        queue = keys.queue(QUEUE)
        return self.timed(
            len(jobs),
            process.pid,
            hand_over=lambda: self.redis.rename(PREPARED, queue),
            is_empty=lambda: not self.redis.exists(queue) and not self.redis.keys(keys.CLAIM_PREFIX + "*"),
        )

    def timed(
        self, jobs: int, pid: int, *, hand_over: Callable[[], object], is_empty: Callable[[], bool]
    ) -> Drain:
        """From the moment the jobs are there to the moment they are gone, as seen by Redis."""
        redis_pid = self.server.pid
        reads = self._foreign_reads()
        worker_cpu, redis_cpu = cpu_seconds(pid), cpu_seconds(redis_pid)
        started = time.perf_counter()
        hand_over()
        wait_until(is_empty)
        seconds = time.perf_counter() - started
        return Drain(
            jobs=jobs,
            seconds=seconds,
            worker_cpu=cpu_seconds(pid) - worker_cpu,
            redis_cpu=cpu_seconds(redis_pid) - redis_cpu,
            round_trips=self._foreign_reads() - reads,
        )

    def prepare(self, jobs: Iterable[bytes]) -> None:
        pipeline = self.redis.pipeline(transaction=False)
        for count, job in enumerate(jobs, 1):
            pipeline.lpush(PREPARED, job)
            if count % 5_000 == 0:
                pipeline.execute()
        pipeline.execute()

    def _foreign_reads(self) -> int:
        """How often Redis read from a socket that is not ours: each of our commands is one read."""
        return int(self.redis.info("stats")["total_reads_processed"]) - self.redis.commands_sent

    def stamps(self, contender: Contender, count: int, timeout: float = 60.0) -> list[float]:
        """The first `count` stamps, in seconds, once they are there."""
        file = contender.stamps()

        def read() -> list[float]:
            return [float(line) for line in file.read_text().splitlines()]

        eventually(lambda: len(read()) >= count, timeout, every=0.02)
        return read()[:count]


@contextlib.contextmanager
def bench(options: Options, say: Callable[[str], None] = print, *, ruby: bool = True) -> Iterator[Bench]:
    """All that a scenario needs, taken away in the end."""
    directory = Path(tempfile.mkdtemp(prefix="sidekiq-py-bench-"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        server = start_server("default", directory / "redis", port=True)
        stack.callback(server.stop)
        redis = stack.enter_context(CountingRedis.from_url(server.url))
        sidekiq = stack.enter_context(real_sidekiq(say)) if ruby else None
        yield Bench(options, server, redis, directory, Ours(directory), sidekiq, say)


def wait_until(is_empty: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DRAIN_TIMEOUT
    while not is_empty():
        if time.monotonic() > deadline:
            raise TimeoutError(f"jobs are left after {DRAIN_TIMEOUT:.0f} s")
        time.sleep(POLL)


class CountingRedis(redis_py.Redis):
    """Knows how many commands it has sent, each in a packet of its own (pipelines aside)."""

    commands_sent = 0

    def execute_command(self, *args: Any, **options: Any) -> Any:
        self.commands_sent += 1
        return super().execute_command(*args, **options)


def payloads(count: int, job_class: str = "NoOp", argument: object = None) -> list[bytes]:
    """Jobs as Sidekiq 8.1 writes them; the argument is the job's number unless one is given."""
    now = int(time.time() * 1000)
    text = (
        f'{{"retry":true,"queue":"{QUEUE}","class":"{job_class}","args":[%s],'
        f'"jid":"%024x","created_at":{now},"enqueued_at":{now}}}'
    )
    return [(text % (number if argument is None else argument, number)).encode() for number in range(count)]


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many per cent of all values don't exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
