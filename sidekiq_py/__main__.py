"""Where `sidekiq-py` and `python -m sidekiq_py` begin: what to load, and what to patch before that."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sidekiq_py.version import VERSION


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code. Without a command word, this is the server."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given in (["-V"], ["--version"]):  # answered before anything is imported
        print(f"sidekiq-py {VERSION}")
        return 0
    if not given or (given[0].startswith("-") and given not in (["-h"], ["--help"])):
        patch()
    from sidekiq_py.cli import run

    return run(given)


def patch() -> None:
    """Make sockets, locks and sleeps of the standard library cooperative.

    First thing on the server's way: redis-py, ssl and the application come in only after it.
    """
    from gevent import monkey

    with _installed_packages_read_once():
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


if __name__ == "__main__":
    sys.exit(main())
