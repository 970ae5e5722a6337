"""What `sidekiq-py` ends with; documented, so that supervisors and scripts may rely on it."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """0 to 4; anything else is a signal's."""

    OK = 0
    CRASH = 1
    USAGE = 2  # the command line, the environment or a config file can't be followed
    HANDLERS = 3  # they can't be imported, there are none, or code of theirs for the start fails
    REDIS = 4  # can't be used at start
