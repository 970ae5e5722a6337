"""Who looks whether the event loop turns, and goes on looking."""

from __future__ import annotations

from sidekiq_py.component import ErrorReporter
from sidekiq_py.stall import StallWatch
from sidekiq_py.work_state import WorkState
from tests.helpers import eventually


def test_a_look_that_fails_is_reported_and_is_not_the_last():
    looks, errors = [], []

    def show_life(now: float) -> None:
        looks.append(now)
        if len(looks) == 2:
            raise ValueError("bad look")

    watch = StallWatch(
        after=0.05,
        work_state=WorkState(),
        holder=lambda: None,
        on_look=show_life,
        report=ErrorReporter([lambda error, _context: errors.append(str(error))]),
    )
    watch.start()
    try:
        eventually(lambda: len(looks) > 4, 30, every=0.05)
    finally:
        watch.stop()

    assert errors == ["bad look"]
