"""Which Python function runs which Ruby job class.

A class name from the wire is only ever a key in this table: nothing is imported or looked up by it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, TypeAlias

from sidekiq_py.arguments import Bind, Signature
from sidekiq_py.errors import InvalidHandler, InvalidJob, UnknownJobClass
from sidekiq_py.job_util import DEFAULT_OPTIONS, declared_options
from sidekiq_py.payload import Payload
from sidekiq_py.user_code import check_answer, check_function, name_of, path_of

RetryIn: TypeAlias = Callable[[int, BaseException, Payload], "int | float | timedelta | str | None"]
RetriesExhausted: TypeAlias = Callable[[Payload, BaseException], object]

_CONSTANT: Final = re.compile(r"[^\W\d_]\w*(::[^\W\d_]\w*)*")


@dataclass(eq=False, slots=True)
class Handler:
    """A function and the job class it runs, with the options Ruby calls sidekiq_options.

    `options` holds `retry` and `queue` first and the rest in the order they were given, which is how they
    are written into a payload. Raises InvalidHandler when the function, the name or an option can't be.
    """

    name: str
    function: Callable[..., object]
    options: dict[str, Any] = field(default_factory=dict)
    timeout: float | None = None  # seconds that a run may take
    retry_in: RetryIn | None = None
    retries_exhausted: RetriesExhausted | None = None
    signature: Signature = field(init=False, repr=False)
    bind: Bind = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _check_name(self.name)
        check_function(self.name, self.function)
        _check_is_no_method(self.name, self.function)
        self.options = _declared(self.name, self.options)
        self.timeout = _timeout(self.name, self.timeout)
        self.signature = Signature(self.name, self.function)
        self.bind = self.signature.binder()

    @property
    def place(self) -> str:
        """Where the function is defined, for messages: `orders.send_mail (/app/orders.py:12)`."""
        code = getattr(inspect.unwrap(self.function), "__code__", None)
        where = f" ({code.co_filename}:{code.co_firstlineno})" if code else ""
        return name_of(self.function) + where

    def perform(self, arguments: list[Any]) -> object:
        """Convert a job's arguments and call the function with them: what it returns.

        Raises ArgumentsMisfit, whatever the function raises, and InvalidHandler when it has only returned
        something to be run.
        """
        if (answer := self.function(*self.bind(arguments))) is not None:
            check_answer(self.name, answer)
        return answer

    def is_same_as(self, other: Handler) -> bool:
        """Whether both were made from one definition, seen twice through a reload or a second import."""
        mine, theirs = inspect.unwrap(self.function), inspect.unwrap(other.function)
        return mine is theirs or bool(_definitions(mine) & _definitions(theirs))


class Registry:
    """Handlers by job class name."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}

    def add(self, handler: Handler) -> None:
        """Register the handler. Raises InvalidHandler when another function has the name."""
        taken = self._handlers.get(handler.name)
        if taken is not None and not handler.is_same_as(taken):
            raise InvalidHandler(
                f"{handler.name} has two handlers: {taken.place} and {handler.place}. Rename or remove one"
            )
        self._handlers[handler.name] = handler

    def get(self, name: str) -> Handler | None:
        """The handler of a job class, or None."""
        return self._handlers.get(name)

    def lookup(self, name: str) -> Handler:
        """The handler of a job class; raises UnknownJobClass with the words Ruby has for it."""
        handler = self._handlers.get(name)
        if handler is None:
            raise UnknownJobClass(f"uninitialized constant {name}")
        return handler

    def names(self) -> list[str]:
        """All registered job class names, sorted."""
        return sorted(self._handlers)

    def discard(self, names: Iterable[str]) -> None:
        """Forget these handlers; unknown names are ignored. For tests and reloads."""
        for name in names:
            self._handlers.pop(name, None)


registry: Final = Registry()
"""The registry that `@job` fills and the server reads."""


def _check_name(name: object) -> None:
    if isinstance(name, str) and _is_constant(name):
        return
    raise InvalidHandler(
        f"{name!r} can't be a job class: Ruby's scheduler and gems look the name up as a constant, and would "
        "lose a job whose name is not one. Allowed are names like 'SendMail' and 'Billing::SendInvoice'"
        + (f"; how about {suggestion!r}?" if (suggestion := _suggest(name)) else "")
    )


def _is_constant(name: str) -> bool:
    """Whether Ruby takes it for the name of a class: each part begins with a capital letter of any script."""
    return _CONSTANT.fullmatch(name) is not None and all(
        part[0].isupper() or part[0].istitle() for part in name.split("::")
    )


def without_name(function: object) -> str:
    """What to tell who wrote `@job` and no name."""
    name = getattr(function, "__name__", "")
    return f'@job needs the name of the Ruby job class, as in @job("{_suggest(name) or "HardJob"}")'


def _suggest(name: object) -> str | None:
    parts = [re.split(r"[\W_]+", part) for part in re.split(r"[.:/]+", str(name)) if part]
    guess = "::".join("".join(word[:1].upper() + word[1:] for word in words) for words in parts)
    return guess if _is_constant(guess) else None


def _check_is_no_method(name: str, function: object) -> None:
    """Inside a class statement a method is still a plain function, and `self` looks like an argument."""
    parent = getattr(function, "__qualname__", "").rpartition(".")[0]
    if inspect.isfunction(function) and parent and not parent.endswith("<locals>"):
        first = next(iter(inspect.signature(function).parameters), "")
        if first in ("self", "cls"):
            raise InvalidHandler(
                f"{name}: {name_of(function)} is a method, and a job brings no {first} to call it with. Put "
                f"@job over a function or a static method, or register a bound method: "
                f"job({name!r})({parent.rpartition('.')[2]}().{function.__name__})"
            )


def _declared(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return {**DEFAULT_OPTIONS, **declared_options(options)}
    except InvalidJob as error:
        raise InvalidHandler(f"{name}: {error}") from error


def _timeout(name: str, given: object) -> float | None:
    seconds = given.total_seconds() if isinstance(given, timedelta) else given
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < float("inf"):
        raise InvalidHandler(f"{name}: timeout is a number of seconds above 0, or a timedelta, got {given!r}")
    return float(seconds)


def _definitions(function: object) -> set[tuple[str, str, int]]:
    """The same function has the same module (reload) or the same file (run as a script and imported).

    Lambdas and inner functions share their names, so their line counts too.
    """
    module, name = path_of(function)
    code = getattr(function, "__code__", None)
    line = code.co_firstlineno if code and "<" in name else 0
    return {(module, name, line), (code.co_filename if code else module, name, line)}
