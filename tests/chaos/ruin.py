"""What the tests of deaths, pauses and deploys share: how servers are ended badly, and what may follow.

The ledger is a file that handlers append to, so it survives whatever happens to processes and to Redis.
A line is `start JID PID` or `end JID PID`.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from textwrap import dedent

from tests.helpers import eventually
from tests.process.stage import LONG, Stage, payload
from tests.server_process import ServerProcess, is_alive

TTL = 2  # seconds that a heartbeat lives here; everything that waits for deaths is derived from it
SWEEP = TTL / 4
SHORT_CLOCKS = {"SIDEKIQ_HEARTBEAT_TTL": str(TTL)}

LEDGER = """
import ctypes, signal

def start():
    note("start", current_job().jid, os.getpid())

def end():
    note("end", current_job().jid, os.getpid())

@job("Brief")
def brief(seconds=0.0):
    start()
    if seconds:
        time.sleep(seconds)
    end()

@job("Until")
def until(name):
    start()
    wait_for(name)
    end()

@job("Fails")
def fails(name=""):
    start()
    if name:
        wait_for(name)
    raise ValueError("on purpose")

@job("Kills")
def kills(after=0.05):
    start()
    time.sleep(after)
    os.kill(os.getpid(), signal.SIGKILL)

@job("KillsOnce")
def kills_once(how):
    start()
    if not os.path.exists("killed"):
        with open("killed", "w"):
            pass
        if how == "segfault":
            import faulthandler
            faulthandler.disable()
            ctypes.string_at(0)
        elif how == "abort":
            os.abort()
        else:
            os._exit(0)
    end()
"""


class Ruin:
    """A stage, its ledger, and ways to hurt its servers."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def start(self, *arguments: str, handlers: str = "", environ: Mapping[str, str] = {}) -> ServerProcess:
        """A server with the ledger's handlers and short clocks; returns when it takes jobs."""
        return self.stage.start(LEDGER + dedent(handlers), *arguments, environ={**SHORT_CLOCKS, **environ})

    def launch(self, *arguments: str, handlers: str = "", environ: Mapping[str, str] = {}) -> ServerProcess:
        return self.stage.launch(LEDGER + dedent(handlers), *arguments, environ={**SHORT_CLOCKS, **environ})

    def push(self, job_class: str, *args: object, count: int = 1, **fields: object) -> list[bytes]:
        return self.push_all([payload(job_class, *args, **fields) for _ in range(count)])

    def push_all(self, jobs: list[bytes], queue: str = "default") -> list[bytes]:
        if jobs:
            self.stage.raw.lpush(f"queue:{queue}", *jobs)
        return jobs

    def schedule(self, jobs: list[bytes], at: float = 1.0) -> list[bytes]:
        """Due at that time; by default since long ago."""
        self.stage.raw.zadd("schedule", dict.fromkeys(jobs, at))
        return jobs

    # -- the ledger ------------------------------------------------------------------------------------

    def lines(self, word: str) -> Counter[str]:
        """How often each jid did that."""
        return Counter(line.split()[1] for line in self.stage.notes if line.startswith(f"{word} "))

    def pids(self) -> set[int]:
        """The processes that started a job."""
        return {int(line.split()[2]) for line in self.stage.notes if line.startswith("start ")}

    def running_in(self, pid: int) -> int:
        """How many jobs the process started and did not end."""
        words = [line.split() for line in self.stage.notes]
        return sum({"start": 1, "end": -1}.get(each[0], 0) for each in words if each[-1] == str(pid))

    def wait_until_running(self, count: int) -> None:
        eventually(lambda: self.lines("start").total() - self.lines("end").total() >= count, LONG)

    def wait_until_ended(self, jobs: Iterable[bytes], timeout: float = LONG) -> None:
        wanted = {jid(raw) for raw in jobs}

        def all_ended() -> bool:
            missing = wanted - set(self.lines("end"))
            assert not missing, f"{len(missing)} of {len(wanted)} did not end\n{self.logs}"
            return True

        eventually(all_ended, timeout, every=0.02)

    def assert_once(self, jobs: list[bytes]) -> None:
        """Each of these ran, none of them twice, nothing else did, and nothing is left anywhere."""
        self.wait_until_ended(jobs)
        self.wait_until_clean()
        assert self.lines("start") == {jid(raw): 1 for raw in jobs}, self.logs
        assert self.stage.retries() == self.stage.dead() == []

    # -- Redis -----------------------------------------------------------------------------------------

    def wait_until_clean(self, *queues: str) -> None:
        """No job waits, none is claimed, by the living or the dead."""
        for queue in queues or ("default",):
            self.stage.wait_until_settled(queue)

    def identities(self) -> list[str]:
        return sorted(each.decode() for each in self.stage.raw.smembers("processes"))

    def crashes(self, raw: bytes) -> int:
        return int(self.stage.raw.scard(f"sidekiq-py:crashes:{jid(raw)}"))

    # -- ends ------------------------------------------------------------------------------------------

    @property
    def logs(self) -> str:
        return "\n".join(server.log for server in self.stage.servers)

    def kill_all_of(self, server: ServerProcess) -> None:
        """What a host's death does: everybody at the same moment, so that no supervisor sees it."""
        pids = [server.pid, *server.worker_pids]
        for pid in pids:
            send(pid, "STOP")
        for pid in [server.pid, *server.worker_pids]:
            send(pid, "KILL")
        server.wait()

    def end(self) -> None:
        self.stage.end()
        while left := ours(self.stage.directory):  # workers whose supervisor was killed by a test
            for pid in left:
                send(pid, "KILL")
            time.sleep(0.01)


@contextmanager
def load(ruin: Ruin) -> Iterator[list[bytes]]:
    """Jobs keep coming during the block; the list has all when it ends."""
    pushed: list[bytes] = []
    enough = threading.Event()

    def push() -> None:
        while not enough.wait(0.02):
            pushed.extend(ruin.push("Brief", 0.01, count=5))

    pusher = threading.Thread(target=push)
    pusher.start()
    try:
        yield pushed
    finally:
        enough.set()
        pusher.join()


def jid(raw: bytes) -> str:
    return raw.partition(b'"jid": "')[2][:24].decode() or raw.partition(b'"jid":"')[2][:24].decode()


def send(pid: int, name: str) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, getattr(signal, f"SIG{name}"))


def ours(directory: Path) -> list[int]:
    """The servers' processes that still work in this directory, whoever their parent is by now."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                is_server = b"sidekiq_py" in (entry / "cmdline").read_bytes()
                if is_server and (entry / "cwd").readlink() == directory and is_alive(int(entry.name)):
                    found.append(int(entry.name))
    return found
