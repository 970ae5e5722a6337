"""Walks through a sorted set page by page while others, and the walker itself, add and remove members."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeAlias

from sidekiq_py.redis_connection import Redis

PAGE: Final = 100
Row: TypeAlias = tuple[bytes, float]


class SortedWalk:
    """One direction through a set. Finds its place again by score and member, though the member may be gone.

    Every member that stays in the set during the walk comes exactly once. Two round trips for a page, and
    about twenty more when the last one it returned was removed from among thousands of the same score.
    """

    def __init__(self, redis: Redis, key: str, *, newest_first: bool) -> None:
        self._redis = redis
        self._key = key
        self._newest_first = newest_first
        self._range = "ZREVRANGE" if newest_first else "ZRANGE"
        self._rank = "ZREVRANK" if newest_first else "ZRANK"

    def __iter__(self) -> Iterator[Row]:
        start = 0
        while page := self._page(start, PAGE):
            yield from page
            start = self._rank_after(*page[-1])

    def _page(self, start: int, count: int) -> list[Row]:
        return rows(self._redis.call(self._range, self._key, start, start + count - 1, "WITHSCORES"))

    def _rank_after(self, member: bytes, score: float) -> int:
        """How many members come before the place that follows this one."""
        exact = repr(score)
        beyond = (f"({exact}", "+inf") if self._newest_first else ("-inf", f"({exact}")
        rank, present, before, equal = self._redis.transaction(
            [
                (self._rank, self._key, member),
                ("ZSCORE", self._key, member),
                ("ZCOUNT", self._key, *beyond),
                ("ZCOUNT", self._key, exact, exact),
            ]
        )
        if present is not None and float(present) == score:
            return int(rank) + 1
        return self._rank_among_equals(member, score, before, before + equal)

    def _rank_among_equals(self, member: bytes, score: float, low: int, high: int) -> int:
        """Members of one score stand in the order of their bytes: halve the stretch down to the place."""
        while low < high:
            middle = (low + high) // 2
            probe = self._page(middle, 1)
            if probe and self._comes_before(probe[0], (member, score)):
                low = middle + 1
            else:
                high = middle
        return low

    def _comes_before(self, row: Row, place: Row) -> bool:
        (member, score), (at_member, at_score) = row, place
        is_lower = (score, member) < (at_score, at_member)
        return is_lower != self._newest_first


def rows(reply: list[bytes]) -> list[Row]:
    """Pairs from a reply WITHSCORES."""
    return [(member, float(score)) for member, score in zip(reply[::2], reply[1::2], strict=True)]
