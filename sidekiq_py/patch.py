"""Makes sockets, locks and sleeps of the standard library cooperative, for a process that will run jobs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


def patch() -> None:
    """To be done before the application, and whatever of ours uses gevent, is imported."""
    from gevent import monkey

    with warnings.catch_warnings(), _installed_packages_read_once():
        # It warns that ssl is here already. Only redis-py has imported it, and looks up what it uses late.
        warnings.simplefilter("ignore", monkey.MonkeyPatchWarning)
        monkey.patch_all()


@contextmanager
def _installed_packages_read_once() -> Iterator[None]:
    """gevent asks 25 times which installed packages want to hear of its patching.

    Each answer costs a look into all of them: together 60 ms of a start with 40 packages, and more with more.
    """
    from importlib import metadata

    usual = metadata.entry_points
    metadata.entry_points = usual().select
    try:
        yield
    finally:
        metadata.entry_points = usual
