"""Writes the option tables of configuration.md from the table that the command line follows.

python docs/options.py
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sidekiq_py.config_options import GROUPS, OPTIONS, Option

PAGE: Final = Path(__file__).parent / "configuration.md"
BEGIN: Final = "<!-- from config_options.py, by: python docs/options.py -->"
END: Final = "<!-- end -->"
HEAD: Final = "| key in files | flag | variable | default | |\n| --- | --- | --- | --- | --- |"


def tables() -> str:
    """All options, a table for each group of the help page; those without a flag last."""
    titles = {group: group for group in GROUPS} | {"": "Only in files and variables"}
    parts = [f"### {title}\n\n{HEAD}\n{''.join(_rows(group))}" for group, title in titles.items()]
    return "\n".join(parts)


def _rows(group: str) -> Iterator[str]:
    for option in OPTIONS:
        if option.group == group:
            yield f"| {' | '.join(_cells(option))} |\n"


def _cells(option: Option) -> Iterator[str]:
    yield f"`{option.name}`" if option.in_files else ""
    metavar = f" {option.metavar}" if option.metavar else ""
    yield ", ".join(f"`{flag}{metavar}`" for flag in option.flags).replace("|", "\\|")
    yield f"`{option.env}`"
    yield option.default
    yield option.help.replace("|", "\\|")


def with_tables(page: str) -> str:
    """The page with the part between the two marks written anew."""
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    return pattern.sub(lambda _: f"{BEGIN}\n\n{tables()}\n{END}", page)


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
