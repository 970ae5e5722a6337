"""J8: all that hurts, drawn by chance and at the same time, for SIDEKIQ_PY_SOAK_SECONDS, against a ledger."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from sidekiq_py.exit_code import ExitCode
from tests.chaos.proxy import Proxy, command, proxy, script
from tests.chaos.ruin import TTL, Ruin, jid, load, send
from tests.helpers import eventually, rest
from tests.process.stage import LONG, payload
from tests.server_process import ServerProcess
from tests.servers import Server

SECONDS = int(os.environ.get("SIDEKIQ_PY_SOAK_SECONDS", "180"))
CONCURRENCY = 10
IN_FLIGHT = 2 * CONCURRENCY  # those that run, and as many that are done with their acknowledgement unsent
SCRIPTS = ("fetch", "acknowledge", "beat", "requeue", "rescue", "promote", "reschedule", "adopt")


@pytest.fixture
def line(own_redis: Server) -> Iterator[Proxy]:
    with proxy(own_redis.socket_path) as between:
        yield between


class Storm:
    """Servers, and what may happen to them. A timer heals a fault that lasts, so that others join it."""

    def __init__(self, ruin: Ruin, line: Proxy, redis: Server, chance: random.Random) -> None:
        self._ruin, self._line, self._redis, self._chance = ruin, line, redis, chance
        self._timers: list[threading.Timer] = []
        self._leaving: list[ServerProcess] = []
        self._launched_at: dict[ServerProcess, float] = {}
        self._servers = [self._launch() for _ in range(3)]
        self.seen: Counter[str] = Counter()
        self.may_run_twice = 0
        self.faults: list[Callable[[], None]] = [
            *(self.kill_a_worker, self.kill_a_supervisor, self.freeze_a_worker, self.stop_one, self.roll_one),
            *(self.hang_up, self.lose_a_reply, self.lose_a_request, self.forget_lines, self.swallow),
            *(self.slow_down, self.forget_scripts, self.pause_redis),
        ]

    def strike(self) -> None:
        fault = self._chance.choice(self.faults)
        self.seen[fault.__name__] += 1
        fault()
        self._replace_those_that_could_not_start()

    def calm_down(self) -> None:
        for timer in self._timers:
            timer.join()
        self._replace_those_that_could_not_start()

    def end(self) -> None:
        """Every server that was told to has ended; those that are told now, in calm weather, end in order."""
        for server in self._leaving:  # without Redis, or a worker, it says so; or it heard no signal yet
            code = server.wait(60)
            assert code in {ExitCode.OK, ExitCode.CRASH, ExitCode.REDIS} or server.log == "", server.log
        for server in self._servers:
            assert server.wait_until_booted().stop() == 0, server.log

    # -- processes -------------------------------------------------------------------------------------

    def kill_a_worker(self) -> None:
        if pid := self._some_worker():
            send(pid, "KILL")

    def freeze_a_worker(self) -> None:
        if pid := self._some_worker():
            send(pid, "STOP")
            self._after(self._chance.uniform(0.2, 3 * TTL), lambda: send(pid, "CONT"))

    def kill_a_supervisor(self) -> None:
        victim = self._chance.choice(self._servers)
        send(victim.pid, "KILL")
        victim.wait()
        self._replace(victim)

    def stop_one(self) -> None:
        victim = self._chance.choice(self._servers)
        send(victim.pid, "TERM")
        self._leaving.append(victim)
        self._replace(victim)

    def roll_one(self) -> None:
        server = self._chance.choice(self._servers)
        if server.worker_pids:  # before that Python itself may be starting, and hears no signal yet
            send(server.pid, "USR2")

    # -- the line --------------------------------------------------------------------------------------

    def hang_up(self) -> None:
        self._line.cut_all()

    def forget_lines(self) -> None:
        self._line.forget_all()

    def lose_a_reply(self) -> None:
        self._line.cut_reply(self._some_command())

    def lose_a_request(self) -> None:
        self._line.cut_request(self._some_command())

    def swallow(self) -> None:
        self._line.is_black_hole = True
        self._after(self._chance.uniform(0.1, 1.5 * TTL), lambda: setattr(self._line, "is_black_hole", False))

    def slow_down(self) -> None:
        self._line.latency = self._chance.uniform(0.001, 0.1)
        self._after(2.0, lambda: setattr(self._line, "latency", 0.0))

    # -- Redis -----------------------------------------------------------------------------------------

    def forget_scripts(self) -> None:
        self._ruin.stage.raw.script_flush()

    def pause_redis(self) -> None:
        send(self._redis.pid, "STOP")
        self._after(self._chance.uniform(0.1, 1.5 * TTL), lambda: send(self._redis.pid, "CONT"))

    # ----------------------------------------------------------------------------------------------------

    def _launch(self) -> ServerProcess:
        server = self._ruin.launch("-c", str(CONCURRENCY), "-p", "2", "-t", "5")
        self._launched_at[server] = time.monotonic()
        return server

    def _replace(self, server: ServerProcess) -> None:
        self._servers[self._servers.index(server)] = self._launch()

    def _replace_those_that_could_not_start(self) -> None:
        """One that loses Redis, or a worker, while it starts gives up: an init system starts another."""
        for server in [each for each in self._servers if not each.is_running]:
            assert server.wait() in {ExitCode.REDIS, ExitCode.CRASH}, server.log
            assert time.monotonic() - self._launched_at[server] < LONG, server.log
            self._replace(server)

    def _some_worker(self) -> int | None:
        """One that will be hurt, if it has been started yet."""
        workers = self._chance.choice(self._servers).worker_pids
        self.may_run_twice += IN_FLIGHT if workers else 0
        return self._chance.choice(workers) if workers else None

    def _some_command(self) -> Callable[[list[bytes]], bool]:
        name = self._chance.choice((*SCRIPTS, "BLMOVE"))
        return command(name) if name.isupper() else script(name)

    def _after(self, seconds: float, heal: Callable[[], None]) -> None:
        timer = threading.Timer(seconds, heal)
        timer.start()
        self._timers.append(timer)


@pytest.mark.row("J8")
@pytest.mark.soak
@pytest.mark.timeout(SECONDS + 600)
def test_everything_at_once_loses_nothing(own_ruin: Ruin, line: Proxy, own_redis: Server):
    seed = int(os.environ.get("SIDEKIQ_PY_SOAK_SEED", random.randrange(10**9)))
    print(f"seed {seed}")
    own_ruin.stage.redis_url = line.url
    chance = random.Random(seed)
    storm = Storm(own_ruin, line, own_redis, chance)
    failing: list[bytes] = []
    later: list[bytes] = []

    deadline = time.monotonic() + SECONDS
    with ExitStack() as stack:
        stack.callback(storm.calm_down)
        pushed = stack.enter_context(load(own_ruin))
        while time.monotonic() < deadline:
            rest(chance.uniform(0.1, 1.5))
            storm.strike()
            later += own_ruin.schedule([payload("Brief") for _ in range(5)])
            failing += own_ruin.push("Fails", retry=0)
    print(f"{len(pushed)} jobs, {storm.seen}, {storm.may_run_twice} may have run twice")

    own_ruin.wait_until_ended(pushed + later, 4 * LONG)
    own_ruin.wait_until_clean()
    eventually(lambda: sorted(map(jid, own_ruin.stage.dead())) == sorted(map(jid, failing)), LONG)
    assert own_ruin.stage.retries() == []
    again = sum(count - 1 for count in own_ruin.lines("start").values())
    print(f"{again} ran twice")
    assert again <= storm.may_run_twice
    storm.end()
    assert own_ruin.stage.raw.keys("sidekiq-py:claim:*") == []
