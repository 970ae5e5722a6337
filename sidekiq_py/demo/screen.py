"""What the demo shows: lines for people, coloured on a terminal and plain in a pipe."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final, TextIO

COLOURS: Final = {"start": "2", "says": "0", "done": "32", "retry": "33", "dead": "31", "bold": "1"}
CLASS_WIDTH: Final = 17  # characters of the longest job class


class Screen:
    """Writes to one stream; every line is out at once. Says nothing more once nobody reads it."""

    def __init__(self, stream: TextIO, *, colour: bool) -> None:
        self._stream = stream
        self._colour = colour
        self._began = time.monotonic()
        self._is_closed = False

    def line(self, text: str = "") -> None:
        """Raises BrokenPipeError once, when the reader has gone."""
        if self._is_closed:
            return
        try:
            print(text, file=self._stream, flush=True)
        except BrokenPipeError:
            self._is_closed = True
            raise

    def title(self, text: str) -> None:
        """A heading, after an empty line."""
        self.line(f"\n{self._painted('bold', text)}")

    def fact(self, name: str, text: str) -> None:
        """`Redis      valkey-server …`."""
        self.line(f"  {name:<10} {text}")

    def start_clock(self) -> None:
        """Jobs' lines count their seconds from here."""
        self._began = time.monotonic()

    def job(self, ctx: Mapping[str, Any], message: str, error: Mapping[str, Any] | None, what: str) -> None:
        """One line of a job's life, from a record of the server's JSON log; `what` tells jobs apart."""
        word, detail = _word_and_detail(ctx, message, error)
        seconds = time.monotonic() - self._began
        told = f"{str(ctx['class']).removeprefix('Demo::'):<{CLASS_WIDTH - 6}} {what:<18} {detail}"
        self.line(f"  {seconds:6.2f} s  {self._painted(word, f'{word:<5}')}  {told.rstrip()}")

    def _painted(self, word: str, text: str) -> str:
        return f"\x1b[{COLOURS[word]}m{text}\x1b[0m" if self._colour else text


def _word_and_detail(
    ctx: Mapping[str, Any], message: str, error: Mapping[str, Any] | None
) -> tuple[str, str]:
    if message == "start":
        return "start", ""
    if message == "done":
        return "done", f"after {ctx['elapsed']:.3f} s"
    if error is None:
        return "says", message
    reason = f"{error['class']}: {error['message']}"
    if "retry_in" in ctx:
        return "retry", f"in {ctx['retry_in']} s: {reason}"
    return "dead", reason
