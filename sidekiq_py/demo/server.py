"""The demo's server: the real command in a process of its own, watched through its JSON log."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any, Final

import sidekiq_py
from sidekiq_py.embedded_redis import end_with_us

HANDLERS: Final = "sidekiq_py.demo.handlers"
TIMEOUT: Final = 3  # seconds that running jobs get at the end
STOP_TIMEOUT: Final = 10.0  # seconds until a server that doesn't stop is killed
# The dead set of a Redis that is not ours keeps all it has: a limit is applied at each death.
NEVER_TRIM: Final = {"SIDEKIQ_DEAD_MAX_JOBS": f"{10**12}", "SIDEKIQ_DEAD_TIMEOUT_IN_SECONDS": f"{10**12}"}


class DemoServer:
    """`sidekiq-py -r sidekiq_py.demo.handlers …`, started when made. `stop` it."""

    def __init__(self, queues: Iterable[str], environ: Mapping[str, str], directory: Path) -> None:
        self.arguments = ["-r", HANDLERS, "-c", "10", "-t", str(TIMEOUT), "-g", "demo"]
        for name in queues:
            self.arguments += ["-q", name]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sidekiq_py", *self.arguments, "--log-format", "json"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_environment(environ),
            cwd=directory,  # a config file of the working directory is none of ours
            start_new_session=True,  # Ctrl-C is for us, who then stop the server
        )
        self._guard = end_with_us(-self._process.pid)
        self.records: queue.SimpleQueue[dict[str, Any] | str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def stop(self) -> int:
        """TERM, then wait for the end; returns the exit code. All it said is in `records`. Safe to repeat."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._guard.kill()
        self._guard.communicate()
        self._reader.join(STOP_TIMEOUT)
        return self._process.wait()

    def _read(self, output: IO[bytes]) -> None:
        with output:
            for line in output:
                self.records.put(_record(line.decode("utf-8", "replace").rstrip("\n")))


def _record(line: str) -> dict[str, Any] | str:
    try:
        found = json.loads(line)
    except ValueError:
        return line
    return found if isinstance(found, dict) else line


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Without the user's settings for other servers, but with the modules this process has."""
    home = str(Path(sidekiq_py.__file__).parent.parent)
    kept = {
        name: value
        for name, value in environ.items()
        if not name.startswith(("SIDEKIQ_", "RAILS_")) or name == "SIDEKIQ_REDIS_URL"
    }
    path = os.pathsep.join(filter(None, (home, environ.get("PYTHONPATH"))))
    return {**kept, **NEVER_TRIM, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
