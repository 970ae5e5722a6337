"""The benchmarks' handlers, with a sampler that notes a thousand times a CPU second where the process is.

Each sample is charged to the innermost function of sidekiq_py on the stack, with whatever it calls; samples
in no such function belong to gevent's loop. SIGUSR1 starts afresh; at the end the counts
are written to profile.json.
"""

from __future__ import annotations

import json
import signal
from collections import Counter
from pathlib import Path
from types import FrameType

from benchmarks import handlers  # noqa: F401  # registers the jobs
from sidekiq_py import configure_server

EVERY = 0.001  # seconds of CPU time
counts: Counter[str] = Counter()
leaves: Counter[str] = Counter()


def sample(_signal: int, frame: FrameType | None) -> None:
    leaves[place(frame) if frame else "?"] += 1
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name.startswith(("sidekiq_py.", "benchmarks.handlers")):
            counts[place(frame)] += 1
            return
        frame = frame.f_back
    counts["gevent"] += 1


def place(frame: FrameType) -> str:
    return f"{frame.f_globals.get('__name__', '?')}:{frame.f_code.co_qualname}"


def start_afresh(*_: object) -> None:
    """The warm-up is over."""
    counts.clear()
    leaves.clear()


@configure_server
def _(config: object) -> None:
    signal.signal(signal.SIGPROF, sample)
    signal.siginterrupt(signal.SIGPROF, False)
    signal.signal(signal.SIGUSR1, start_afresh)
    signal.setitimer(signal.ITIMER_PROF, EVERY, EVERY)
    config.on("exit", write)


def write() -> None:
    signal.setitimer(signal.ITIMER_PROF, 0)
    Path("profile.json").write_text(json.dumps({"places": counts, "leaves": leaves}))
