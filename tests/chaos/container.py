"""A server that is PID 1 of a PID namespace of its own, as containers have it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest

from tests.chaos.ruin import LEDGER, SHORT_CLOCKS, Ruin, send
from tests.helpers import eventually
from tests.process.stage import LONG, PRELUDE

UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc"]


def can_contain() -> bool:
    if shutil.which(UNSHARE[0]) is None:
        return False
    return subprocess.run([*UNSHARE, "true"], check=False).returncode == 0


needs_containers = pytest.mark.skipif(not can_contain(), reason="needs the right to make a PID namespace")


@dataclass
class Contained:
    """The running server; `pid` is what it has outside, inside it is 1."""

    pid: int
    process: subprocess.Popen[bytes]
    log_path: Path

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def wait(self) -> int:
        return self.process.wait(LONG)

    @property
    def children(self) -> list[int]:
        return children(self.pid)


@contextmanager
def contained(ruin: Ruin, *arguments: str, handlers: str = "") -> Iterator[Contained]:
    """A server with the ledger's handlers and short clocks; killed at the end with all it has started."""
    directory = ruin.stage.directory
    file = directory / "contained_handlers.py"
    file.write_text(PRELUDE + LEDGER + dedent(handlers))
    log = directory / f"contained{len(list(directory.glob('contained*.log')))}.log"
    own = {**SHORT_CLOCKS, "REDIS_URL": ruin.stage.redis_url, "PYTHONUNBUFFERED": "1"}
    command = [*UNSHARE, sys.executable, "-m", "sidekiq_py", "-r", str(file), *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env={**os.environ, **own}, cwd=directory, stdout=output, stderr=output
        )
    try:
        [pid] = eventually(lambda: children(process.pid), LONG)
        yield Contained(pid, process, log)
    finally:
        for pid in children(process.pid):
            send(pid, "KILL")
        process.kill()
        process.wait()


def children(pid: int) -> list[int]:
    file = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(each) for each in file.read_text().split()] if file.exists() else []
