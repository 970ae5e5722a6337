"""Renders the safe part of ERB: `<%= … %>`, `if/unless/elsif/else/end`, comments and `-` trimming.

Ruby twin: `ERB.new(source, trim_mode: "-").result`. Code is never run, only read by `ruby_expression`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from sidekiq_py.errors import InvalidConfig
from sidekiq_py.ruby_expression import Node, Scope, Value, parse
from sidekiq_py.ruby_methods import to_s, truthy

_OPEN = re.compile(r"<%%|(?:(?<![^\n])[ \t]*)?<%-|<%")
_CLOSE = re.compile(r"-%>(?:\r?\n)?|(?<!%)%>")
_CONTROL = re.compile(r"\s*(if|unless|elsif|else|end)\b(.*)", re.DOTALL)
_THEN = re.compile(r"\s+then\s*\Z")

SHOWN_CODE: Final = 200  # characters of an expression in an error message
HELP: Final = """\
  evaluated are: ENV["X"], ENV.fetch("X", default), ||, &&, !, ==, !=, + - * /, a ? b : c, literals,
    Integer(), .to_i, .to_s, .strip, .nil?, .empty?, .present?, Socket.gethostname, `hostname`.strip,
    if, unless, elsif, else, end
  to fix it: say it with these, or let Ruby render the file once and give the result with -C:
    ruby -rerb -e 'print ERB.new(File.read(ARGV[0]), trim_mode: "-").result' {file} > sidekiq.rendered.yml"""


@dataclass(frozen=True)
class Tag:
    """A piece of the source: text, `<%= source %>` or `<% source %>`, and the line it begins at."""

    kind: Literal["text", "output", "code"]
    source: str
    line: int


@dataclass
class Block:
    """An `if` or `unless` that is still open."""

    tag: Tag
    outer: bool  # whether anything around it is written
    writing: bool = False  # whether the branch we are in is written
    taken: bool = False  # whether a branch has been


@dataclass
class Rendered:
    """What came out, and for each of its lines the line of the source it came from."""

    text: str = ""
    lines: list[int] = field(default_factory=list)

    def source_line(self, line: int) -> int:
        """The source line of a line of `text`; both count from 1."""
        return self.lines[min(line, len(self.lines)) - 1] if self.lines else 1

    def write(self, text: str, line: int, *, verbatim: bool) -> None:
        """Append text that stands at a source line; verbatim text goes on through the lines that follow."""
        for piece in text.splitlines(keepends=True):
            if not self.text or self.text.endswith("\n"):
                self.lines.append(line)
            self.text += piece
            line += verbatim


def render(source: str, scope: Scope) -> Rendered:
    """The source with its tags evaluated. Raises InvalidConfig that names file, line and expression."""
    template = _Template(scope)
    for tag in _tags(source, scope.file):
        template.take(tag)
    return template.finish()


def _tags(source: str, file: str) -> Iterator[Tag]:
    at = 0
    while match := _OPEN.search(source, at):
        yield Tag("text", source[at : match.start()], _line(source, at))
        line = _line(source, match.start())
        if match[0] == "<%%":
            yield Tag("text", "<%", line)
            at = match.end()
            continue
        close = _CLOSE.search(source, match.end())
        if close is None:
            raise InvalidConfig(f"{file}:{line}: this <% is never closed by a %>")
        yield _code(source, match.end(), close.start())
        at = close.end()
    yield Tag("text", source[at:], _line(source, at))


def _code(source: str, start: int, end: int) -> Tag:
    code, line = source[start:end].replace("%%>", "%>"), _line(source, start)
    if not code.startswith(("=", "#")):
        return Tag("code", code, line)
    # What is written into a YAML comment means nothing, so there is no need to understand it.
    before = source[source.rfind("\n", 0, start) + 1 : start]
    if code.startswith("#") or before.lstrip().startswith("#"):
        return Tag("text", "", line)
    return Tag("output", code[1:], line)


def _line(source: str, at: int) -> int:
    return source.count("\n", 0, at) + 1


class _Template:
    """Writes tag after tag. Code in a branch that isn't taken is read all the same, but not evaluated."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._rendered = Rendered()
        self._blocks: list[Block] = []

    def take(self, tag: Tag) -> None:
        control = _CONTROL.fullmatch(tag.source) if tag.kind == "code" else None
        if control is not None:
            self._branch(tag, control[1], control[2])
        elif tag.kind == "text":
            self._write(tag.source, tag)
        else:
            value = self._evaluate(tag, self._parse(tag, tag.source), wanted=self._writing)
            if tag.kind == "output":
                self._write(to_s(value), tag)

    def finish(self) -> Rendered:
        if self._blocks:
            raise self._error(self._blocks[-1].tag, "has no <% end %>")
        return self._rendered

    @property
    def _writing(self) -> bool:
        return all(block.writing for block in self._blocks)

    def _write(self, text: str, tag: Tag) -> None:
        if self._writing:
            self._rendered.write(text, tag.line, verbatim=tag.kind == "text")

    def _branch(self, tag: Tag, word: str, rest: str) -> None:
        if word in ("if", "unless"):
            self._blocks.append(Block(tag, outer=self._writing))
        elif not self._blocks:
            raise self._error(tag, "has no <% if … %> before it")
        block = self._blocks[-1]
        if word == "end":
            self._parse_nothing(tag, rest)
            self._blocks.pop()
            return
        open_to_it = block.outer and not block.taken
        block.writing = self._holds(tag, word, rest, wanted=open_to_it) and open_to_it
        block.taken = block.taken or block.writing

    def _holds(self, tag: Tag, word: str, rest: str, *, wanted: bool) -> bool:
        if word == "else":
            self._parse_nothing(tag, rest)
            return True
        value = truthy(self._evaluate(tag, self._parse(tag, _THEN.sub("", rest)), wanted=wanted))
        return not value if word == "unless" else value

    def _parse_nothing(self, tag: Tag, rest: str) -> None:
        if rest.split("#", maxsplit=1)[0].strip():
            raise self._error(tag, f"has {rest.strip()} where nothing is expected")

    def _parse(self, tag: Tag, source: str) -> Node:
        try:
            return parse(source)
        except (ValueError, RecursionError) as error:
            help_text = HELP.format(file=self._scope.file)
            raise self._error(
                tag, f"is Ruby that sidekiq-py doesn't evaluate: {error}\n{help_text}"
            ) from None

    def _evaluate(self, tag: Tag, node: Node, *, wanted: bool) -> Value:
        if not wanted:
            return None
        try:
            return node(self._scope)
        except (ValueError, ArithmeticError, RecursionError) as error:
            raise self._error(tag, f"can't be evaluated: {error}") from None

    def _error(self, tag: Tag, sentence: str) -> InvalidConfig:
        sign = "=" if tag.kind == "output" else ""
        code = tag.source.strip()
        code = code if len(code) <= SHOWN_CODE else code[:SHOWN_CODE] + " …"
        return InvalidConfig(f"{self._scope.file}:{tag.line}: <%{sign} {code} %> {sentence}")
