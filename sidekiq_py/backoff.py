"""How long to pause before the next try: doubling, with jitter, until something succeeds."""

from __future__ import annotations

import random
from typing import Final

SHORTEST_PAUSE: Final = 0.05  # seconds between two tries while Redis is down
LONGEST_PAUSE: Final = 5.0


class Backoff:
    """Pauses between `shortest` and `longest` seconds."""

    def __init__(self, shortest: float = SHORTEST_PAUSE, longest: float = LONGEST_PAUSE) -> None:
        self._shortest = self._pause = shortest
        self._longest = longest

    def succeeded(self) -> None:
        """Begin again with the shortest."""
        self._pause = self._shortest

    def next_pause(self) -> float:
        """Seconds; each time up to twice as many."""
        pause, self._pause = self._pause, min(self._pause * 2, self._longest)
        return pause * random.uniform(0.5, 1.0)
