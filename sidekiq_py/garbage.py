"""How often Python looks for garbage in a server."""

from __future__ import annotations

import gc
from typing import Final

OBJECTS_A_JOB: Final = 10  # that the collector sees, of a job that has just begun
PYTHONS_OWN: Final = gc.get_threshold()  # read before the application is there, which may want its own


def look_less_often(jobs: int) -> None:
    """Keep so many jobs, begun together and merely waiting, from being taken for growing garbage.

    Python looks through its newest objects whenever there are 700 more of them than at the last look. A
    thousand jobs make more than ten times that, none of it garbage; looking took a fifth of the time. What an
    application sets itself is left alone.
    """
    newest, *older = gc.get_threshold()
    if gc.get_threshold() == PYTHONS_OWN:
        gc.set_threshold(max(newest, jobs * OBJECTS_A_JOB), *older)
