"""The demo: a real server on a private Redis, a mix of jobs, shown live."""

from __future__ import annotations

from collections.abc import Sequence


def run(_arguments: Sequence[str]) -> int:
    raise NotImplementedError
