"""What an application gives us to call: checked when it is given, and its answer when it is called.

We call a function and wait until it returns. One that only returns something to be run (a coroutine, a
generator) would run nothing, and nobody would notice.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from typing import Final, TypeVar

from sidekiq_py.errors import InvalidHandler

T = TypeVar("T")

_WOULD_NOT_RUN: Final[Mapping[str, Callable[[object], bool]]] = {
    "an `async def`": inspect.iscoroutinefunction,
    "an asynchronous generator": inspect.isasyncgenfunction,
    "a generator (it has a `yield`)": inspect.isgeneratorfunction,
}


def check_function(what: str, function: object, takes: str | None = None) -> None:
    """Raise InvalidHandler unless a call of the function runs it; `what` says what it was given as.

    `takes` names the arguments that it will get, as in `"job, queue, call_next"`.
    """
    if isinstance(function, type):
        raise InvalidHandler(f"{what}: {function.__qualname__} is a class; register a function or a method")
    if not callable(function):
        raise InvalidHandler(f"{what}: {shown(function)} can't be called; register a function")
    for kind, would_not_run in _WOULD_NOT_RUN.items():
        if would_not_run(function) or would_not_run(getattr(function, "__call__", None)):  # noqa: B004
            raise InvalidHandler(
                f"{what}: {name_of(function)} is {kind}: calling it would run nothing. Use a plain "
                "`def`; blocking calls are fine there, they let other jobs run; for asyncio see run_async"
            )
    if takes is not None:
        _check_arity(what, function, takes)


def check_answer(who: str | Callable[..., object], answer: object) -> None:
    """Raise InvalidHandler when what a call returned is something that nobody is going to run.

    Registration lets an `async def` behind a decorator or a lambda pass, for the decorator may well run it.
    Ask `is not None` before: nearly every answer is None, and then this costs nothing.
    """
    if hasattr(type(answer), "__await__") or isinstance(answer, Generator | AsyncGenerator):
        kind = type(answer).__name__
        close = getattr(answer, "close", None)
        if close is not None:
            close()  # it has not begun; else Python warns that it was never awaited
        name = who if isinstance(who, str) else name_of(who)
        raise InvalidHandler(
            f"{name} returned {'an' if kind[0] in 'aeiou' else 'a'} {kind}, which nobody runs: it has done "
            "nothing. It has to do its work before it returns"
        )


def called(function: Callable[..., T], *arguments: object) -> T:
    """What the function returns. Raises what it raises, and what `check_answer` says of its answer."""
    answer = function(*arguments)
    if answer is not None:
        check_answer(function, answer)
    return answer


def path_of(function: object) -> tuple[str, str]:
    """Module and qualified name of a function; of an object, those of its class."""
    named = function if hasattr(function, "__qualname__") else type(function)
    return str(getattr(named, "__module__", "?")), str(getattr(named, "__qualname__", "?"))


def name_of(function: object) -> str:
    """`orders.send_mail`, for messages."""
    return ".".join(path_of(function))


def shown(value: object) -> str:
    """The value's repr, at most 80 characters of it; never raises."""
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        return "too long to be shown"
    except BaseException:
        return f"a {type(value).__name__}"
    return text if len(text) <= 80 else text[:79] + "…"


def _check_arity(what: str, function: Callable[..., object], takes: str) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some builtins don't tell
        return
    try:
        signature.bind(*takes.split(", ")) if takes else signature.bind()
    except TypeError as error:
        raise InvalidHandler(
            f"{what}: {name_of(function)}{signature} is called with ({takes}): {error}"
        ) from error
