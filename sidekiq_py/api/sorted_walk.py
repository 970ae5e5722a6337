"""Walks through a sorted set page by page while others, and the walker itself, add and remove members."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeAlias

from sidekiq_py.redis_connection import Arg, Redis
from sidekiq_py.scripts import load

PAGE: Final = 100
Row: TypeAlias = tuple[bytes, float]
_WALK: Final = load("walk")


class SortedWalk:
    """One direction through a set. Finds its place again by score and member, though the member may be gone.

    Every member that stays in the set during the walk, at the same score, comes exactly once. One round trip
    for a page.
    """

    def __init__(self, redis: Redis, key: str, *, newest_first: bool) -> None:
        self._redis = redis
        self._key = key
        self._range = "ZREVRANGE" if newest_first else "ZRANGE"

    def __iter__(self) -> Iterator[Row]:
        page = self._page()
        while page:
            yield from page
            member, score = page[-1]
            page = self._page(member, repr(score))

    def _page(self, *after: Arg) -> list[Row]:
        return rows(self._redis.run_script(_WALK, [self._key], [self._range, PAGE, *after]))


def rows(reply: list[bytes]) -> list[Row]:
    """Pairs from a reply WITHSCORES."""
    return [(member, float(score)) for member, score in zip(reply[::2], reply[1::2], strict=True)]
