"""The few Ruby expressions that stand in a `sidekiq.yml`, evaluated without Ruby, `eval` or a shell.

`parse` turns text into a node, a function of a `Scope`; whatever it doesn't know raises `UnsupportedRuby`.
Truth is Ruby's: only nil and false are false.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn, TypeAlias

from sidekiq_py import ruby_methods
from sidekiq_py.ruby_methods import CannotEvaluate, Value, truthy
from sidekiq_py.ruby_tokens import Token, UnsupportedRuby, tokenize

__all__ = ["CannotEvaluate", "Node", "Scope", "UnsupportedRuby", "Value", "parse", "truthy"]


@dataclass(kw_only=True)
class Scope:
    """What an expression can see. `file` is how messages call the file that lies at `path`."""

    environ: Mapping[str, str]
    hostname: str
    file: str = ""
    path: Path = Path()
    variables: dict[str, Value] = field(default_factory=dict)


Node: TypeAlias = Callable[[Scope], Value]

# How tightly an infix operator binds; Ruby's order.
BINDING: Final = {
    "or": 1,
    "and": 1,
    "?": 2,
    "||": 3,
    "&&": 4,
    "==": 5,
    "!=": 5,
    "<": 6,
    ">": 6,
    "<=": 6,
    ">=": 6,
    "+": 7,
    "-": 7,
    "*": 8,
    "/": 8,
    "%": 8,
}
UNARY_BINDING: Final = 9
NAMES: Final[dict[str, Node]] = {
    "nil": lambda _scope: None,
    "true": lambda _scope: True,
    "false": lambda _scope: False,
    "__FILE__": lambda scope: str(scope.path),
    "__dir__": lambda scope: str(scope.path.parent),
}


def parse(source: str) -> Node:
    """The node of one expression, or of one `name = expression`; runs nothing.

    Raises UnsupportedRuby. Deep nesting may raise RecursionError.
    """
    parser = _Parser(tokenize(source))
    node = parser.statement()
    parser.expect("end")
    return node


class _Parser:
    """Precedence climbing over a token list that ends with an `end` token."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._at = 0

    def statement(self) -> Node:
        if self._peek().kind == "name" and self._peek(1).text == "=":
            name = self._next().text
            self._next()
            return self._assignment(name, self.expression())
        return self.expression()

    def expression(self, binding: int = 0) -> Node:
        left = self._unary()
        while (own := BINDING.get(self._peek().operator, 0)) > binding:
            operator = self._next().operator
            left = self._ternary(left) if operator == "?" else self._infix(operator, left, own)
        return left

    def expect(self, text: str) -> None:
        token = self._next()
        if token.text != text or token.kind not in ("operator", "end"):
            self._refuse(token)

    def _assignment(self, name: str, value: Node) -> Node:
        def assign(scope: Scope) -> Value:
            scope.variables[name] = value(scope)
            return scope.variables[name]

        return assign

    def _ternary(self, condition: Node) -> Node:
        yes = self.expression(BINDING["?"])
        self.expect(":")
        no = self.expression(BINDING["?"] - 1)
        return lambda scope: yes(scope) if truthy(condition(scope)) else no(scope)

    def _infix(self, operator: str, left: Node, binding: int) -> Node:
        right = self.expression(binding)
        if operator in ("||", "or"):
            return lambda scope: value if truthy(value := left(scope)) else right(scope)
        if operator in ("&&", "and"):
            return lambda scope: right(scope) if truthy(value := left(scope)) else value
        return lambda scope: ruby_methods.operate(operator, left(scope), right(scope))

    def _unary(self) -> Node:
        operator = self._peek().operator
        if operator in ("!", "not"):
            self._next()
            operand = self.expression(UNARY_BINDING if operator == "!" else BINDING["or"])
            return lambda scope: not truthy(operand(scope))
        if operator == "-":
            self._next()
            operand = self.expression(UNARY_BINDING)
            return lambda scope: ruby_methods.operate("-", 0, operand(scope))
        return self._calls(self._primary())

    def _calls(self, receiver: Node) -> Node:
        while self._peek().operator in (".", "&."):
            safe = self._next().operator == "&."
            receiver = self._call(receiver, self._next(), safe=safe)
        return receiver

    def _call(self, receiver: Node, name: Token, *, safe: bool) -> Node:
        method = name.text
        if name.kind != "name" or method not in ruby_methods.METHODS:
            raise UnsupportedRuby(f"the method .{method} is not known")
        if self._peek().operator == "(":
            self._next()
            self.expect(")")

        def call(scope: Scope) -> Value:
            value = receiver(scope)
            return None if safe and value is None else ruby_methods.call(method, value)

        return call

    def _primary(self) -> Node:
        token = self._next()
        if token.kind == "literal":
            return lambda _scope: token.value
        if token.kind == "text":
            return self._interpolated(token)
        if token.kind == "shell":
            return self._hostname(token)
        if token.operator == "(":
            node = self.expression()
            self.expect(")")
            return node
        if token.kind == "name":
            return self._named(token)
        return self._refuse(token)

    def _interpolated(self, token: Token) -> Node:
        nodes = [part if isinstance(part, str) else parse(part.source) for part in token.parts]

        def join(scope: Scope) -> Value:
            values = [node if isinstance(node, str) else node(scope) for node in nodes]
            return "".join(ruby_methods.to_s(value) for value in values)

        return join

    def _hostname(self, token: Token) -> Node:
        if token.text.strip() != "hostname":
            raise UnsupportedRuby("no shell command is run")
        return lambda scope: scope.hostname + "\n"

    def _named(self, token: Token) -> Node:
        name = token.text
        if name in NAMES:
            return NAMES[name]
        if name in ("ENV", "Socket"):
            return self._environment() if name == "ENV" else self._socket()
        if name in ruby_methods.CONVERSIONS:
            return self._conversion(name)
        if name[0].islower() and self._peek().operator != "(":
            return self._variable(name)
        return self._refuse(token)

    def _variable(self, name: str) -> Node:
        def read(scope: Scope) -> Value:
            if name not in scope.variables:
                raise CannotEvaluate(f"{name} has no value here")
            return scope.variables[name]

        return read

    def _conversion(self, name: str) -> Node:
        self.expect("(")
        operand = self.expression()
        self.expect(")")
        return lambda scope: ruby_methods.CONVERSIONS[name](operand(scope))

    def _socket(self) -> Node:
        self.expect(".")
        if self._next().text != "gethostname":
            raise UnsupportedRuby("of Socket only Socket.gethostname is known")
        return lambda scope: scope.hostname

    def _environment(self) -> Node:
        if self._peek().operator == "[":
            self._next()
            key = self.expression()
            self.expect("]")
            return lambda scope: scope.environ.get(_variable_name(key(scope)))
        self.expect(".")
        method = self._next().text
        if method not in ("fetch", "key?", "has_key?", "include?"):
            raise UnsupportedRuby(f"ENV.{method} is not known")
        self.expect("(")
        key = self.expression()
        if method != "fetch":
            self.expect(")")
            return lambda scope: _variable_name(key(scope)) in scope.environ
        return self._fetch(key, self._fetch_default())

    def _fetch_default(self) -> Node | None:
        default = None
        if self._peek().operator == ",":
            self._next()
            default = self.expression()
        self.expect(")")
        if self._peek().operator == "{":
            self._next()
            default = self.expression()
            self.expect("}")
        return default

    def _fetch(self, key: Node, default: Node | None) -> Node:
        def fetch(scope: Scope) -> Value:
            name = _variable_name(key(scope))
            if name in scope.environ:
                return scope.environ[name]
            if default is None:
                raise CannotEvaluate(f"the environment variable {name} is not set and has no default here")
            return default(scope)

        return fetch

    def _peek(self, ahead: int = 0) -> Token:
        return self._tokens[min(self._at + ahead, len(self._tokens) - 1)]

    def _next(self) -> Token:
        token = self._peek()
        self._at += 1
        return token

    def _refuse(self, token: Token) -> NoReturn:
        if token.kind == "end":
            raise UnsupportedRuby("it ends too early")
        raise UnsupportedRuby(f"{token.text} is not known here")


def _variable_name(value: Value) -> str:
    if not isinstance(value, str):
        raise CannotEvaluate(
            f"the name of an environment variable is text, got {ruby_methods.inspect(value)}"
        )
    return value
