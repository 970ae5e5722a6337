"""A child that a handler or a hook forks: that goes on in it, and nothing else of the server does.

gevent by itself lets every greenlet go on in a forked child: all other jobs would run twice, and be fetched.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar, cast

import gevent
from gevent._hub_local import get_hub_if_exists, set_hub, set_loop
from gevent.hub import get_hub
from greenlet import getcurrent

from sidekiq_py.child_exit import leave
from sidekiq_py.redis_connection.link import let_go_of_inherited

T = TypeVar("T")


class Forks:
    """Whether this process is a child of the server, forked by the application; see `watch`.

    Where jobs run in threads, the system keeps the one that forked, and there is no greenlet to keep.
    """

    def __init__(self, *, keeps_greenlet: bool = True) -> None:
        self._keeps_greenlet = keeps_greenlet
        self.is_child = False
        self._is_watching = False

    def watch(self, give_up: Callable[[], object] = lambda: None) -> None:
        """From now on a child keeps only the greenlet that forked it, and no connection to Redis.

        `give_up` is called in it too.
        """

        def in_child() -> None:
            if not self._is_watching:
                return
            self.is_child = True
            give_up()
            let_go_of_inherited()
            if self._keeps_greenlet:
                _keep_this_greenlet_alone()

        self._is_watching = True
        os.register_at_fork(after_in_child=in_child)

    def ending(self, call: Callable[..., T]) -> Callable[..., T]:
        """As `call`; in a child that was forked meanwhile, the process ends with it."""

        def ended(*arguments: Any) -> T:
            error: BaseException | None = None
            try:
                return call(*arguments)
            except BaseException as raised:
                error = raised
                raise
            finally:
                if self.is_child:
                    leave(error)

        return ended

    def end(self) -> None:
        """From now on a child is nobody's business."""
        self._is_watching = False


def _keep_this_greenlet_alone() -> None:
    """Begin with a new hub; who waits on the old one's loop, for whatever it may be, is never woken again."""
    old = get_hub_if_exists()
    if old is None:
        return
    root: Any = old.parent
    set_hub(cast(Any, None))
    set_loop(cast(Any, None))
    old.loop.destroy()
    current, hub = getcurrent(), cast(Any, get_hub())
    if current is not root:
        hub.parent = root
        current.parent = hub
    if isinstance(current, gevent.Greenlet):  # spawned by a handler, perhaps: then the child ends with it
        current.unlink_all()
        current.rawlink(lambda ended: leave(ended.exception))
    hub.handle_system_error = lambda _kind, error, *_: leave(error)
