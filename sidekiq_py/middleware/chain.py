"""Middleware: functions around a job's run (server) or around its push (client).

Ruby twin: Sidekiq::Middleware::Chain. Where Ruby yields, a link here calls `call_next()`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final, Generic, TypeAlias, TypeVar, TypeVarTuple

from sidekiq_py.payload import Payload
from sidekiq_py.user_code import called, check_function

CallNext: TypeAlias = Callable[[], object]

ServerMiddleware: TypeAlias = Callable[[Payload, str, CallNext], object]
"""`link(job, queue, call_next)`: returns what `call_next()` returned; not calling it drops the job."""

ClientMiddleware: TypeAlias = Callable[[str, Payload, str, CallNext], object]
"""`link(job_class, job, queue, call_next)`: as above, and a falsy result stops the push."""

Link = TypeVar("Link", bound=Callable[..., object])
Context = TypeVarTuple("Context")


SERVER_LINK_TAKES: Final = "job, queue, call_next"
CLIENT_LINK_TAKES: Final = "job_class, job, queue, call_next"


class Chain(Generic[Link]):
    """An ordered set of links, the first one outermost. A link is in it once; adding it again moves it.

    Raises InvalidHandler for a link that a call would not run, such as an `async def`, and for one that can't
    be called with what it `takes`, where that is told.
    """

    def __init__(self, links: Iterable[Link] = (), *, takes: str | None = None) -> None:
        self._takes = takes
        self._links: list[Link] = []
        for link in links:
            self.add(link)

    def add(self, link: Link) -> Link:
        """Put the link innermost. Returns it, so that it also works as a decorator."""
        return self._insert(link, len(self._links))

    def prepend(self, link: Link) -> Link:
        """Put the link outermost."""
        return self._insert(link, 0)

    def insert_before(self, neighbour: Link, link: Link) -> Link:
        """Put the link just outside its neighbour; outermost when the neighbour is not there."""
        return self._insert(link, self._links.index(neighbour) if self.exists(neighbour) else 0)

    def insert_after(self, neighbour: Link, link: Link) -> Link:
        """Put the link just inside its neighbour; innermost when the neighbour is not there."""
        last = len(self._links)
        return self._insert(link, self._links.index(neighbour) + 1 if self.exists(neighbour) else last)

    def remove(self, link: Link) -> None:
        """Take the link out; nothing happens when it is not there."""
        self._links = [other for other in self._links if other != link]

    def exists(self, link: Link) -> bool:
        """Whether the link is in the chain."""
        return link in self._links

    def clear(self) -> None:
        """Take every link out."""
        self._links = []

    def _insert(self, link: Link, index: int) -> Link:
        check_function("middleware", link, takes=self._takes)
        # The old place goes after the new one is taken, so that index still counts the list as it was.
        kept = [None if other == link else other for other in self._links]
        kept.insert(index, link)
        self._links = [other for other in kept if other is not None]
        return link

    def __iter__(self) -> Iterator[Link]:
        return iter(self._links)

    def __len__(self) -> int:
        return len(self._links)

    def __repr__(self) -> str:
        names = [getattr(link, "__qualname__", None) or type(link).__qualname__ for link in self._links]
        return f"Chain({' > '.join(names)})"


def compose(
    links: Iterable[Callable[[*Context, CallNext], object]],
    context: tuple[*Context],
    perform: CallNext,
) -> CallNext:
    """Wrap perform in every link, the first outermost; context is what a link gets before `call_next`.

    A call raises InvalidHandler when a link returns something still to be run, such as a coroutine.
    """
    call = perform
    for link in reversed(tuple(links)):
        call = partial(called, link, *context, call)
    return call
