"""Sweeps in a server that has no supervisor to do it."""

from __future__ import annotations

from sidekiq_py.component import Component, ErrorReporter, RedisState
from sidekiq_py.errors import OUTAGE
from sidekiq_py.redis_connection import RedisConnection
from sidekiq_py.rescuer import Sweeper


class SweepLoop(Component):
    """A greenlet round a Sweeper and its connection."""

    def __init__(
        self,
        sweeper: Sweeper,
        *,
        connection: RedisConnection,
        redis_state: RedisState,
        report: ErrorReporter,
    ) -> None:
        super().__init__(redis_state=redis_state, report=report)
        self._sweeper = sweeper
        self._connection = connection

    def tick(self) -> float:
        """One sweep; returns the seconds until the next."""
        try:
            self._sweeper.sweep()
        except OUTAGE:
            self._sweeper.redis_was_down()
            raise
        return self._sweeper.pause()

    def disconnect(self) -> None:
        self._connection.disconnect()
