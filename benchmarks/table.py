"""Rows of results: one measure, ours beside a peer's, what was wanted and whether it was met."""

from __future__ import annotations

import json
import operator
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "latest.json"
_RELATIONS = {">=": operator.ge, "<=": operator.le}
_WORDS = {">=": "≥", "<=": "≤"}


@dataclass(frozen=True)
class Wanted:
    """A bound on `of`: on our figure, or on the ratio of ours to the peer's."""

    of: str  # "ours" or "ratio"
    relation: str  # ">=" or "<="
    bound: float


@dataclass(frozen=True, kw_only=True)
class Row:
    key: str  # what it is known by between runs
    measure: str
    unit: str
    ours: float | None  # None: not measured, the note says why
    peer: str = ""
    theirs: float | None = None
    wanted: Wanted | None = None
    note: str = ""
    when: str = ""  # the run's date and time, UTC

    @property
    def ratio(self) -> float | None:
        return self.ours / self.theirs if self.ours is not None and self.theirs else None

    @property
    def met(self) -> bool | None:
        """None when nothing was wanted, or what it needs was not measured."""
        if self.wanted is None:
            return None
        figure = self.ratio if self.wanted.of == "ratio" else self.ours
        return None if figure is None else _RELATIONS[self.wanted.relation](figure, self.wanted.bound)

    def cells(self) -> list[str]:
        return [
            self.measure,
            figure(self.ours, self.unit),
            f"{self.peer}: {figure(self.theirs, self.unit)}" if self.theirs is not None else self.peer or "–",
            f"{self.ratio:.3g} ×" if self.ratio is not None else "–",
            self._wanted_in_words(),
            {True: "yes", False: "**no**", None: "–"}[self.met],
            self.note,
        ]

    def _wanted_in_words(self) -> str:
        if self.wanted is None:
            return "–"
        bound = (
            f"{self.wanted.bound:g} ×" if self.wanted.of == "ratio" else figure(self.wanted.bound, self.unit)
        )
        return f"{_WORDS[self.wanted.relation]} {bound}"


HEADINGS = ("measure", "sidekiq-py", "beside", "ratio", "wanted", "met", "note")


def figure(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    text = f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"
    return f"{text} {unit}".rstrip()


def at_least(bound: float, of: str = "ratio") -> Wanted:
    return Wanted(of, ">=", bound)


def at_most(bound: float, of: str = "ours") -> Wanted:
    return Wanted(of, "<=", bound)


def markdown(rows: Iterable[Row]) -> str:
    lines = [HEADINGS, ("---",) * len(HEADINGS), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def text(rows: Sequence[Row]) -> str:
    """The table for a terminal; notes stand below it."""
    lines = [list(HEADINGS[:-1]), *(row.cells()[:-1] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    often = Counter(row.measure for row in rows)
    names = [f"{row.measure}, {row.peer}" if often[row.measure] > 1 else row.measure for row in rows]
    notes = [f"  {name}: {row.note}" for name, row in zip(names, rows, strict=True) if row.note]
    return "\n".join([*table, *(["", *notes] if notes else [])])


def load(path: Path = RESULTS) -> list[Row]:
    if not path.exists():
        return []
    stored = json.loads(path.read_text())["rows"]
    return [Row(**{**row, "wanted": Wanted(**row["wanted"]) if row["wanted"] else None}) for row in stored]


def save(rows: Sequence[Row], about: dict[str, object], path: Path = RESULTS) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    judged = [{"ratio": row.ratio, "met": row.met} for row in rows]
    told = {"about": about, "rows": [asdict(row) for row in rows], "judged": judged}
    path.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")


def merged(old: Iterable[Row], new: Iterable[Row], order: Sequence[str]) -> list[Row]:
    """Rows measured anew take the places of the old ones; `order` lists the scenarios' keys by prefix."""
    rows = {row.key: row for row in (*old, *new)}
    places = {name: place for place, name in enumerate(order)}
    return sorted(rows.values(), key=lambda row: places.get(row.key.split("/")[0], len(places)))
