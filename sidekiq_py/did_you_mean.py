"""The likely right word for a wrong one. Ruby twin: the did_you_mean gem."""

from __future__ import annotations

from collections.abc import Iterable


def closest(given: str, known: Iterable[str], likeness: float = 0.6) -> str | None:
    """The known word most like the given one, whatever the case; None when none is as like as `likeness`."""
    from difflib import get_close_matches  # a millisecond that only errors should pay

    words = {word.lower(): word for word in known if not word.startswith("_")}
    matches = get_close_matches(given.lower(), words, n=1, cutoff=likeness)
    return words[matches[0]] if matches else None


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """`; did you mean 'word'?`, to be put behind an error's first half; empty when no known word is near."""
    match = closest(given, known)
    return f"; did you mean {match!r}?" if match else ""
