"""How a child ends that the application has forked inside a server, where a program would have ended."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Final, NoReturn

from sidekiq_py import streams

FAILED: Final = 1


def leave(error: BaseException | None) -> NoReturn:
    """End the child as Python ends a program: SystemExit's code, or a traceback and 1 for other errors.

    At once: what would come now, atexit functions too, is the server's business.
    """
    code: object = 0
    if isinstance(error, SystemExit):
        code = error.code or 0
    elif error is not None:
        code = "".join(traceback.format_exception(error)).rstrip("\n")
    try:
        if not isinstance(code, int):
            print(code, file=sys.stderr)
        streams.flush()
    finally:  # whoever reads the log may have gone
        os._exit(code & 0xFF if isinstance(code, int) else FAILED)
