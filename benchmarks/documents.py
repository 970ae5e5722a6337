"""The measured parts of docs/performance.md, each between two marks."""

from __future__ import annotations

from pathlib import Path

PERFORMANCE = Path(__file__).parent.parent / "docs" / "performance.md"


def write(part: str, text: str, document: Path = PERFORMANCE) -> None:
    """Put new text between the part's marks."""
    begin, end = f"<!-- {part}: begin, written by benchmarks/ -->", f"<!-- {part}: end -->"
    before, found, rest = document.read_text().partition(begin)
    _, also_found, after = rest.partition(end)
    if not (found and also_found):
        raise ValueError(f"{document} has no marks for {part}: {begin} … {end}")
    document.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")
