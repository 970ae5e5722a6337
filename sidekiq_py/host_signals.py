"""Signals of a program that a server is embedded in, where both share a thread.

Python calls a signal's handler in whichever greenlet runs at that moment. Control-C, or a handler that calls
`sys.exit`, means the program and not the job or the loop of ours that it happens to strike.
"""

from __future__ import annotations

import signal
from types import CodeType

from gevent import get_hub


def pass_to_main_greenlet(error: BaseException) -> bool:
    """Raise an error that a signal brought where the program waits, and go on here; whether it was one."""
    if not isinstance(error, KeyboardInterrupt) and not _comes_from_handler(error):
        return False
    get_hub().handle_system_error(type(error), error)
    return True


def _comes_from_handler(error: BaseException) -> bool:
    if not isinstance(error, SystemExit):
        return False
    handlers = _codes_of_handlers()
    frames = error.__traceback__
    while frames is not None:
        if frames.tb_frame.f_code in handlers:
            return True
        frames = frames.tb_next
    return False


def _codes_of_handlers() -> set[CodeType]:
    found = (getattr(signal.getsignal(each), "__code__", None) for each in signal.valid_signals())
    return {code for code in found if code is not None}
