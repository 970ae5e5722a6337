"""What the parts of a server know of the world outside it."""

from __future__ import annotations

from typing import Protocol

from sidekiq_py.dialect import Dialect


class Surroundings(Protocol):
    """Learned by the heartbeat, read at every fetch and every failure."""

    @property
    def process_count(self) -> int: ...
    @property
    def dialect(self) -> Dialect: ...
    @property
    def ruby_is_here(self) -> bool: ...
    def request_beat(self) -> None: ...
