"""Where `sidekiq-py` and `python -m sidekiq_py` begin."""

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
    from sidekiq_py import streams

    streams.open_closed()
    from sidekiq_py.cli import run

    try:
        return run(given)
    finally:
        streams.give_up_broken()


if __name__ == "__main__":
    sys.exit(main())
