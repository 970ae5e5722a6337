"""Ruby's servers and ours on the same queues, all of them ended again and again; `ledger` tells what ran."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path

from redis import Redis

from compat_tests.eager import EAGER
from compat_tests.ledger import CONCURRENCY, Deaths, Ledger
from compat_tests.ruby import Ruby
from compat_tests.ruby_server import RubyServer
from sidekiq_py import Client
from tests.chaos.ruin import is_alive, ours, send
from tests.helpers import at_once, eventually, rest
from tests.server_process import ServerProcess, run_sidekiq_py

QUEUES = ("critical", "default", "low")
TTL = 5  # seconds that our heartbeat lives; it must outlast what a busy machine makes a process wait
LONG_JOB = 3.0  # seconds; Ruby, told to stop within 3, pushes it back
LIFE = (0.3, 2.5)  # seconds that a server works before somebody ends it
FULL = 300  # jobs; nobody pushes while more are waiting
SOON = 120.0  # seconds, on a busy machine
LONG_AGO = 1.5  # epoch seconds

HANDLERS = """
import os, time
from sidekiq_py import Client, current_job, job

client = Client()
ledger = os.open("ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def note(word, jid):
    os.write(ledger, f"{word} {jid} {os.getpid()}\\n".encode())

@job("TortureJob")
def torture(seconds, failures):
    jid = current_job().jid
    note("start", jid)
    if failures and client.redis.call("INCR", f"attempts:{jid}") <= failures:
        note("fail", jid)
        raise RuntimeError("on purpose")
    time.sleep(seconds)
    note("end", jid)
"""

RUBY_HANDLERS = (
    EAGER
    + """
LEDGER = File.open(ENV.fetch("LEDGER"), "ab")

def note(word, jid)
  LEDGER.syswrite("#{word} #{jid} #{Process.pid}\\n")
end

module NotesWhatItTakes
  def retrieve_work
    work = super
    note("take", JSON.parse(work.job)["jid"]) if work
    work
  end
end

Sidekiq::BasicFetch.prepend(NotesWhatItTakes)

class TortureJob
  include Sidekiq::Worker

  def perform(seconds, failures)
    note("start", jid)
    if failures > 0 && Sidekiq.redis { |redis| redis.incr("attempts:#{jid}") } <= failures
      note("fail", jid)
      raise "on purpose"
    end
    sleep(seconds)
    note("end", jid)
  end
end
"""
)


class Torture:
    """The servers, each with a thread that ends and restarts it; whoever pushes; and the ledgers."""

    def __init__(
        self,
        rubies: Mapping[str, Ruby],
        raw: Redis,
        directory: Path,
        *,
        seed: int,
        ruby_ends: Sequence[str],
    ) -> None:
        self.deaths = Deaths()
        self.ledger = Ledger({"python": directory / "ledger"}, self.deaths)
        self.pushed: set[str] = set()
        self._rubies = rubies
        self._raw = raw
        self._directory = directory
        self._url = next(iter(rubies.values())).redis_url
        self._seed = seed
        self._ruby_ends = ruby_ends
        self._over = threading.Event()
        self._names = map("server{}".format, count())
        self._servers: list[ServerProcess] = []
        for release, ruby in rubies.items():
            ruby.write("torture.rb", RUBY_HANDLERS)
            self.ledger.files[release] = ruby.file(f"ledger-{directory.name}")

    def run(self, jobs: int) -> None:
        """Push that many, end servers until no job waits any more, then let everybody finish and stop."""
        with self._tormented() as threads:
            self._push(jobs, threads)
            self._wait_until(lambda: not self._waiting(), threads)
        servers = [thread.result() for thread in threads]
        rubys = [server for server in servers if isinstance(server, RubyServer)]
        self.deaths.stopped.update(server.pid for server in rubys)
        at_once(*(partial(server.stop, SOON) for server in rubys))
        self._wait_until(self._is_drained)  # of what they have pushed back
        eventually(self._all_dead_are_struck_out, SOON)
        for server in servers:
            if isinstance(server, ServerProcess):
                assert server.stop(SOON) == 0, server.log
        eventually(lambda: not ours(self._directory), SOON)  # workers whose supervisor was killed

    def _all_dead_are_struck_out(self) -> bool:
        """Nobody is registered any more as an owner of claims who doesn't live."""
        registered = self._raw.hkeys("sidekiq-py:processes")
        return all(is_alive(int(identity.split(b":")[1])) for identity in registered)

    def clean_up(self) -> None:
        """Nothing of ours runs on, whatever has failed."""
        for server in self._servers:
            server.kill()
        while left := ours(self._directory):
            for pid in left:
                send(pid, "KILL")
            rest(0.01)

    # -- deaths ----------------------------------------------------------------------------------------

    @contextmanager
    def _tormented(self) -> Iterator[list[Future[RubyServer | ServerProcess]]]:
        tormentors: list[Callable[[random.Random], RubyServer | ServerProcess]] = [
            lambda chance: self._torment_ours(chance, "1"),
            lambda chance: self._torment_ours(chance, "2"),
            *(lambda chance, ruby=ruby: self._torment_ruby(chance, ruby) for ruby in self._rubies.values()),
        ]
        with ThreadPoolExecutor(len(tormentors)) as pool:
            chances = [random.Random(f"{self._seed} {number}") for number in range(len(tormentors))]
            threads = [pool.submit(*each) for each in zip(tormentors, chances, strict=True)]
            try:
                yield threads
            finally:
                self._over.set()

    def _torment_ours(self, chance: random.Random, processes: str) -> ServerProcess:
        server = self._start_ours(processes)
        while not self._over.wait(chance.uniform(*LIFE)):
            how = chance.choices(("worker", "supervisor", "group"), (6, 2, 2))[0]
            self.deaths.kinds[how] += 1
            if how == "worker":
                if workers := server.worker_pids:
                    self._kill_ours(chance.choice(workers))
                continue
            send(server.pid, "STOP")  # so that its children are all its children
            workers = server.worker_pids
            if how == "group":
                for pid in workers:
                    send(pid, "STOP")
                for pid in workers:
                    self._kill_ours(pid)
            else:
                self.deaths.orphaned.update(workers)
            send(server.pid, "KILL")
            server.wait()
            server = self._start_ours(processes)
        return server

    def _kill_ours(self, pid: int) -> None:
        """SIGKILL; what the process held is looked up when it can't take any more."""
        send(pid, "STOP")
        self.deaths.held[pid] = self._claimed_by(pid)
        send(pid, "KILL")

    def _torment_ruby(self, chance: random.Random, ruby: Ruby) -> RubyServer:
        server = self._start_ruby(ruby)
        while not self._over.wait(chance.uniform(*LIFE)):
            how = chance.choice(self._ruby_ends)
            self.deaths.kinds[f"{ruby.release} {how}"] += 1
            if how == "KILL":
                self.deaths.lost.add(server.pid)
                server.kill()
            else:
                self.deaths.stopped.add(server.pid)
                server.stop(SOON)
            server = self._start_ruby(ruby)
        return server

    def _start_ours(self, processes: str) -> ServerProcess:
        queues = [word for name in QUEUES for word in ("-q", name)]
        server = run_sidekiq_py(
            self._directory,
            self._url,
            HANDLERS,
            *("-c", str(CONCURRENCY), "-t", "2", "-p", processes, *queues),
            environ={"SIDEKIQ_HEARTBEAT_TTL": str(TTL)},
            name=next(self._names),
        )
        self._servers.append(server)
        return server.wait_until_booted(SOON)

    def _start_ruby(self, ruby: Ruby) -> RubyServer:
        ledger = self.ledger.files[ruby.release].name
        return ruby.server(
            queues=QUEUES, concurrency=CONCURRENCY, require="torture.rb", env={"LEDGER": ledger}
        )

    # -- jobs ------------------------------------------------------------------------------------------

    def _push(self, jobs: int, threads: list[Future[RubyServer | ServerProcess]]) -> None:
        """Half by Ruby's clients and half by ours, into all queues, some for later, some to fail once."""
        chance = random.Random(f"{self._seed} pushes")
        python = [Client(url=self._url, dialect=ruby.major) for ruby in self._rubies.values()]
        size = min(100, jobs // 40)
        for number in range(jobs // size):
            args = [[seconds(chance), int(chance.random() < 0.05)] for _ in range(size)]
            more = {"queue": chance.choice(QUEUES)}
            if chance.random() < 0.1:
                more["at"] = time.time() + chance.uniform(0.5, 5)
            if number % 2:
                ruby = chance.choice(list(self._rubies.values()))
                self.pushed.update(ruby.push_bulk("TortureJob", args, **more))
            else:
                self.pushed.update(
                    chance.choice(python).push_bulk({"class": "TortureJob", "args": args, **more})
                )
            # Now and then all of them get to wait for work.
            most = 0 if chance.random() < 0.05 else FULL
            self._wait_until(lambda most=most: sum(self._queues().values()) <= most, threads)

    def _wait_until(
        self, condition: Callable[[], bool], threads: Sequence[Future[RubyServer | ServerProcess]] = ()
    ) -> None:
        """Until it is so, with everything that waits for its retry due at once."""

        def met() -> bool:
            for thread in threads:
                if thread.done():
                    thread.result()  # raises what ended it
            if members := self._raw.zrange("retry", 0, -1):
                self._raw.zadd("retry", dict.fromkeys(members, LONG_AGO), xx=True)
            assert condition(), f"still there: {self._waiting()}, {self._claims()}"
            return True

        eventually(met, SOON, every=0.05)

    def _queues(self) -> dict[str, int]:
        return {name: size for name in QUEUES if (size := self._raw.llen(f"queue:{name}"))}

    def _waiting(self) -> dict[str, int]:
        sets = {name: size for name in ("schedule", "retry") if (size := self._raw.zcard(name))}
        return self._queues() | sets

    def _claims(self) -> list[bytes]:
        return list(self._raw.scan_iter("sidekiq-py:claim:*", count=1000))

    def _is_drained(self) -> bool:
        return not self._waiting() and not self._claims()

    def dead(self) -> set[str]:
        return {jid_of(raw) for raw in self._raw.zrange("dead", 0, -1)}

    def _claimed_by(self, pid: int) -> set[str]:
        claims = self._raw.scan_iter(f"sidekiq-py:claim:*:{pid}:*", count=1000)
        return {jid_of(raw) for claim in claims for raw in self._raw.lrange(claim, 0, -1)}

    def missing(self) -> set[str]:
        """The jobs that never ended and are nowhere in Redis."""
        return self.pushed - self.ledger.ended() - self.dead()


def seconds(chance: random.Random) -> float:
    """How long a job takes."""
    return LONG_JOB if chance.random() < 0.01 else round(chance.uniform(0, 0.05), 3)


def jid_of(raw: bytes) -> str:
    return str(json.loads(raw)["jid"])
