"""Cuts a Ruby expression into tokens: literals, names and the operators that `ruby_expression` knows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Kind: TypeAlias = Literal["literal", "text", "shell", "name", "operator", "end"]

WORD_OPERATORS: Final = frozenset({"or", "and", "not"})
ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "s": " ", "e": "\x1b", "0": "\0"}

_LEXER = re.compile(
    r"""
      (?P<space> \s+ | \#[^\n]* )
    | (?P<number> \d[\d_]* (?: \.\d[\d_]* )? (?: [eE][+-]?\d+ )? )
    | (?P<single> ' [^'\\]*+ (?: \\. [^'\\]*+ )*+ ' )
    | (?P<double> " )
    | (?P<shell> ` [^`]* ` )
    | (?P<symbol> :[A-Za-z_]\w* )
    | (?P<name> [A-Za-z_]\w* (?: [?!] (?!=) )? )
    | (?P<operator> \|\| | && | == | != | <= | >= | &\. | [-+*/%<>!?:=.,()\[\]{}] )
    """,
    re.VERBOSE | re.DOTALL,
)


class UnsupportedRuby(ValueError):
    """The expression is outside the part of Ruby that is evaluated; says what was met."""


@dataclass(frozen=True)
class Code:
    """The Ruby inside `#{…}` of a double-quoted string."""

    source: str


@dataclass(frozen=True)
class Token:
    """One token: `value` of a literal, `parts` of a double-quoted text, else `text`."""

    kind: Kind
    text: str
    value: str | int | float | None = None
    parts: tuple[str | Code, ...] = ()

    @property
    def operator(self) -> str:
        """The operator this token is, `""` when it is none."""
        return self.text if self.kind == "operator" else ""


def tokenize(source: str) -> list[Token]:
    """All tokens of the source, then one of kind `end`. Raises UnsupportedRuby."""
    tokens: list[Token] = []
    at = 0
    while at < len(source):
        match = _LEXER.match(source, at)
        if match is None:
            raise UnsupportedRuby(f"{source[at]} is not known here")
        at = match.end()
        if match.lastgroup == "double":
            token, at = _double_quoted(source, at)
            tokens.append(token)
        elif match.lastgroup != "space":
            tokens.append(_token(str(match.lastgroup), match[0]))
    return [*tokens, Token("end", "end")]


def _token(group: str, text: str) -> Token:
    if group == "number":
        digits = text.replace("_", "")
        return Token("literal", text, int(digits) if digits.isdigit() else float(digits))
    if group == "single":
        return Token("literal", text, re.sub(r"\\(['\\])", r"\1", text[1:-1]))
    if group == "symbol":
        return Token("literal", text, text[1:])
    if group == "shell":
        return Token("shell", text[1:-1])
    if group == "operator" or text in WORD_OPERATORS:
        return Token("operator", text)
    return Token("name", text)


def _double_quoted(source: str, start: int) -> tuple[Token, int]:
    """The text that begins after the quote before `start`, and where the rest of the source begins."""
    parts: list[str | Code] = []
    at = start
    while at < len(source):
        if source[at] == '"':
            return Token("text", source[start:at], parts=tuple(parts)), at + 1
        if source.startswith("#{", at):
            end = _closing_brace(source, at + 2)
            parts.append(Code(source[at + 2 : end]))
            at = end + 1
        elif source[at] == "\\":
            escaped = source[at + 1 : at + 2]
            parts.append(ESCAPES.get(escaped, escaped))
            at += 2
        else:
            parts.append(source[at])
            at += 1
    raise UnsupportedRuby('a " is never closed')


def _closing_brace(source: str, start: int) -> int:
    depth = 1
    for at in range(start, len(source)):
        depth += {"{": 1, "}": -1}.get(source[at], 0)
        if depth == 0:
            return at
    raise UnsupportedRuby("a #{ is never closed")
