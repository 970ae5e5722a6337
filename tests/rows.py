"""The rows of docs/chaos.md and the tests that are marked to show them, both read from their source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.documents import ROOT

PAGE = ROOT / "docs" / "chaos.md"
_ROW = re.compile(r"^\| ([A-K]\d+) \|.*\| (.*) \|$", re.MULTILINE)


class Shown(NamedTuple):
    """A test that is marked with a row."""

    row: str
    file: Path
    is_soak: bool


def promised() -> dict[str, str]:
    """What holds, by the row's number."""
    return dict(_ROW.findall(PAGE.read_text(encoding="utf-8")))


def shown() -> list[Shown]:
    files = [file for place in ("tests", "compat_tests") for file in (ROOT / place).rglob("test_*.py")]
    return [
        Shown(row, file, any(_is_mark(mark, "soak") for mark in marks))
        for file in files
        for marks in _marks(ast.parse(file.read_text(encoding="utf-8")))
        for row in _rows(marks)
    ]


def _marks(module: ast.Module) -> Iterator[list[ast.expr]]:
    """What stands together: the decorators of a test, the marks of one of its parameters."""
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield node.decorator_list
        elif isinstance(node, ast.keyword) and node.arg == "marks":
            yield node.value.elts if isinstance(node.value, ast.List) else [node.value]


def _rows(marks: list[ast.expr]) -> Iterator[str]:
    for mark in marks:
        if isinstance(mark, ast.Call) and _is_mark(mark.func, "row"):
            yield from (ast.literal_eval(number) for number in mark.args)


def _is_mark(node: ast.expr, name: str) -> bool:
    return ast.unparse(node) == f"pytest.mark.{name}"
