"""Where `sidekiq-py` and `python -m sidekiq_py` begin: what to load, and what to patch before that."""

from __future__ import annotations

import sys
from collections.abc import Sequence

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

    monkey.patch_all()


if __name__ == "__main__":
    sys.exit(main())
