"""Claimed jobs that wait for a processor, and processors that wait for a job.

Not gevent's own queue, in which each processor that was woken searches the line of all that still wait: with
a thousand of them that takes as long as the job.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from gevent import get_hub
from gevent.hub import Waiter

from sidekiq_py.claims import UnitOfWork

AT_ONCE: Final = 50  # processors woken before gevent may look at its sockets and timers again


class ReadyJobs:
    """First come, first served. All methods run on the hub's thread.

    A job stays here until the greenlet that runs it has it, so that one killed while it waits loses none.
    """

    def __init__(self) -> None:
        self._works: deque[UnitOfWork] = deque()
        self._unwanted: list[UnitOfWork] = []  # nobody is to start these any more
        self._waiting: list[Waiter[None]] = []  # who came last is served first: its memory is still warm
        self._is_waking = False
        self._is_quiet = False
        self._is_closed = False

    def __len__(self) -> int:
        """How many may still be started."""
        return len(self._works)

    def get(self) -> UnitOfWork | None:
        """The next job, waiting for one if need be; None when nothing will come any more."""
        while not self._works:
            if self._is_closed:
                return None
            waiter: Waiter[None] = Waiter()
            self._waiting.append(waiter)
            waiter.get()
        return self._works.popleft()

    def put(self, work: UnitOfWork) -> None:
        """Have it run, or once quiet, only keep it until `take_unstarted`."""
        if self._is_quiet:
            self._unwanted.append(work)
            return
        self._works.append(work)
        if self._waiting and not self._is_waking:
            self._wake()

    def quiet(self) -> None:
        """What comes from now on is not to be started."""
        self._is_quiet = True

    def close(self) -> None:
        """Tell every processor, once it has nothing left to take, that this was all."""
        self._is_closed = True
        self._wake()

    @property
    def oldest(self) -> UnitOfWork | None:
        """The one that has waited longest."""
        return self._works[0] if self._works else None

    @property
    def has_unwanted(self) -> bool:
        return bool(self._unwanted)

    def unstarted(self) -> list[UnitOfWork]:
        """Every job that nobody has begun, the one claimed first first."""
        return [*self._unwanted, *self._works]

    def take_unstarted(self) -> list[UnitOfWork]:
        """The same, and they are no longer here."""
        works = self.unstarted()
        self._works.clear()
        self._unwanted = []
        return works

    def put_aside(self, works: Iterable[UnitOfWork]) -> None:
        """They couldn't be given back: keep them until `take_unstarted`, but let nobody start them."""
        self._unwanted = [*works, *self._unwanted]

    def _wake(self) -> None:
        self._is_waking = True
        get_hub().loop.run_callback(self._hand_out)

    def _hand_out(self) -> None:
        """In the hub: each processor that is woken takes a job, and runs until it waits for something."""
        self._is_waking = False
        for _ in range(AT_ONCE):
            if not self._waiting or not (self._works or self._is_closed):
                return
            self._waiting.pop().switch(None)
        self._wake()
