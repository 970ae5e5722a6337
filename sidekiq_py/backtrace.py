"""A Python traceback as Ruby's tools read one: innermost frame first, `app/jobs.py:12:in 'perform'`.

Sidekiq's pages print these lines unescaped, so `<module>` and `<lambda>` lose their brackets.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sidekiq_py.payload import encode_backtrace, scrub

STORED_LIMIT: Final = 64 * 1024  # bytes of base64; a payload carries its backtrace through every retry
_UNBRACKETED = str.maketrans({"<": None, ">": None})
_OURS = str(Path(__file__).parent) + "/"


def backtrace_lines(error: BaseException) -> list[str]:
    """Frames of the error, the place it was raised first; our own frames only when there are no others."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not frame.filename.startswith(_OURS)]
    lines = [f"{frame.filename}:{frame.lineno}:in '{frame.name}'" for frame in theirs or frames]
    return [scrub(line.translate(_UNBRACKETED)) for line in reversed(lines)]


def encode_within(lines: Sequence[str], limit: int = STORED_LIMIT) -> str:
    """The lines as Sidekiq stores them, fewer of them when they would take more than `limit` bytes."""
    encoded = encode_backtrace(lines)
    while len(encoded) > limit and len(lines) > 1:
        lines = lines[: len(lines) // 2]
        encoded = encode_backtrace(lines)
    return encoded
