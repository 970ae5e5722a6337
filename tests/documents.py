"""The documents, cut up for tests: links, and code blocks by language with the file that each one is."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    path
    for place in (ROOT, ROOT / "docs", ROOT / "examples")
    for path in place.rglob("*.md")
    if not {".venv", "node_modules"} & set(path.parts) and (place != ROOT or path.parent == ROOT)
)

_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#\s]*)(#[^)\s]*)?\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_FILE = re.compile(r"# (\S+\.\w+)\n")


@dataclass(frozen=True)
class Block:
    """A fenced block. `file` is what its first line says it is the content of: `# app/jobs.py`."""

    page: str
    language: str
    text: str

    @property
    def file(self) -> str | None:
        found = _FILE.match(self.text)
        return found[1] if found else None


def blocks(language: str) -> list[Block]:
    """All blocks of a language, page by page."""
    return [block for page in PAGES for block in blocks_of(page) if block.language == language]


def blocks_of(page: Path) -> Iterator[Block]:
    for _, language, text in _BLOCK.findall(page.read_text(encoding="utf-8")):
        yield Block(str(page.relative_to(ROOT)), language, textwrap.dedent(text))


def commands() -> list[tuple[str, str]]:
    """(page, command) for each line of the shell blocks, without comments and prompts."""
    lines = [
        (block.page, line.partition("  # ")[0].strip()) for block in blocks("sh") for line in _lines(block)
    ]
    return [(page, line) for page, line in lines if line and not line.startswith("#")]


def _lines(block: Block) -> list[str]:
    return block.text.replace("\\\n", " ").splitlines()


def links(page: Path) -> list[tuple[str, str]]:
    """(target, anchor) of every link that stays in the repository."""
    prose = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    found = _LINK.findall(prose)
    return [(target, anchor) for target, anchor in found if not re.match(r"\w+:", target)]


def anchors(page: Path) -> set[str]:
    """What `#…` may name on a page."""
    headings = _HEADING.findall(_BLOCK.sub("", page.read_text(encoding="utf-8")))
    return {"#" + re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def least_rights() -> list[str]:
    """The rights that docs/configuration.md gives a Redis user."""
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    [rights] = re.findall(r"ACL SETUSER worker on >secret (.*?)\n```", page, re.DOTALL)
    return str(rights).replace("\\\n", " ").split()
