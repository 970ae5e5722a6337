"""What the parts of a server are given by the launcher, for tests that run one part alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import gevent

from sidekiq_py.dialect import UNKNOWN, Dialect

IDENTITY = "worker-1:4711:0123456789ab"
NOW = 1_795_490_000.25


@dataclass
class Surroundings:
    """What a heartbeat would have learned."""

    process_count: int = 1
    dialect: Dialect = UNKNOWN
    ruby_is_here: bool = False
    beats_requested: int = 0

    def request_beat(self) -> None:
        self.beats_requested += 1


@dataclass
class Reports:
    """An error handler that remembers."""

    errors: list[tuple[BaseException, Mapping[str, Any]]] = field(default_factory=list)

    def __call__(self, error: BaseException, context: Mapping[str, Any]) -> None:
        self.errors.append((error, context))

    @property
    def contexts(self) -> list[str]:
        return [str(context["context"]) for _, context in self.errors]


def soon(predicate: Callable[[], object], timeout: float = 30.0) -> None:
    """Wait, and let greenlets run meanwhile, until the answer is true."""
    with gevent.Timeout(timeout, AssertionError(f"not within {timeout} s: {predicate}")):
        while not predicate():
            gevent.sleep(0.005)
