"""The real `sidekiq` command as a child process."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis as redis_py

from compat_tests.interpreters import Interpreter
from tests.helpers import eventually

START_TIMEOUT = 20.0  # seconds until the first heartbeat


@dataclass(kw_only=True)
class ServerOptions:
    """What the real server is told, in the words of its command and of its YAML file."""

    queues: Sequence[str] = ("default",)  # may carry weights: "critical,3"
    concurrency: int = 2
    # Seconds that TERM leaves for running jobs. Below 3, an idle thread of the same process may still sit in
    # its two-second BRPOP when the jobs are pushed back, take one and lose it.
    timeout: int = 3
    poll_interval: float = 0.3  # seconds, average; how often due jobs are looked for
    tag: str = ""
    labels: Sequence[str] = ()
    hostname: str = "ruby"
    require: str = "jobs.rb"
    more: Mapping[str, Any] | None = None  # further keys of the YAML file, such as capsules

    def file(self) -> str:
        """The YAML file's text (JSON is YAML)."""
        told = {"poll_interval_average": self.poll_interval, "labels": list(self.labels), **(self.more or {})}
        return json.dumps(told, ensure_ascii=False)

    def arguments(self, file: str) -> list[str]:
        queues = [word for queue in self.queues for word in ("-q", queue)]
        tag = ["-g", self.tag] if self.tag else []
        limits = ["-c", str(self.concurrency), "-t", str(self.timeout)]
        return ["sidekiq", "-r", f"./{self.require}", "-C", file, *limits, *queues, *tag]


class RubyServer:
    """A running `sidekiq`. Its pid is Ruby's own; signals are sent to that pid and no other."""

    def __init__(
        self,
        interpreter: Interpreter,
        redis_url: str,
        options: ServerOptions,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._redis_url = redis_url
        file = interpreter.write(f"sidekiq-{id(self)}.yml", options.file())
        self._output = interpreter.home / f"sidekiq-{id(self)}.log"
        told = {"REDIS_URL": redis_url, "DYNO": options.hostname, **(environ or {})}
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                interpreter.command(*options.arguments(file)),
                env={**interpreter.environment(), **told},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self.identity = self._wait_for_heartbeat()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        """Everything it has printed so far."""
        return self._output.read_text(errors="replace")

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative when a signal ended it."""
        return self._process.poll()

    def quiet(self) -> None:
        """Real signal TSTP: take nothing new."""
        self._process.send_signal(signal.SIGTSTP)

    def dump_threads(self) -> None:
        """Real signal TTIN: backtraces into the log."""
        self._process.send_signal(signal.SIGTTIN)

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self._process.kill()
        self._process.wait()

    def stop(self, timeout: float = 15.0) -> int:
        """TERM, then wait for the end; the exit code. Killed when it takes longer. Safe to repeat."""
        self._process.terminate()  # sends nothing to a process that has ended
        return self.wait(timeout)

    def wait(self, timeout: float = 15.0) -> int:
        """Wait for an end that somebody else has asked for."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"sidekiq did not end within {timeout} s:\n{self.log[-3000:]}") from None

    def _wait_for_heartbeat(self) -> str:
        """Its identity, known once its first beat is in Redis."""
        with redis_py.Redis.from_url(self._redis_url, decode_responses=True) as redis:
            try:
                return eventually(lambda: self._identity_in(redis), START_TIMEOUT, every=0.05) or ""
            except (AssertionError, ChildProcessError) as error:
                self.kill()
                raise AssertionError(f"sidekiq did not start:\n{self.log[-3000:]}") from error

    def _identity_in(self, redis: redis_py.Redis) -> str | None:
        if self._process.poll() is not None:
            raise ChildProcessError(f"it ended with {self._process.returncode}")
        members = map(str, redis.smembers("processes"))
        return next((each for each in members if f":{self.pid}:" in each), None)
