"""Places where a test lets the process die as if by `kill -9`, to see that no moment loses a job.

`SIDEKIQ_PY_FAILPOINT="retry.send:2"` in the environment kills the process when it comes to `retry.send` for
the second time. Without it a failpoint costs a call of an empty function.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Final

VARIABLE: Final = "SIDEKIQ_PY_FAILPOINT"


def _pass_by(_name: str) -> None:
    """Nobody wants this process to die."""


def _armed(wanted: str, passes: int) -> Callable[[str], None]:
    left = passes

    def pass_or_die(name: str) -> None:
        nonlocal left
        if name == wanted:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return pass_or_die


def _from_environment() -> Callable[[str], None]:
    name, _, passes = os.environ.get(VARIABLE, "").partition(":")
    return _armed(name, int(passes or 1)) if name else _pass_by


failpoint: Final = _from_environment()
