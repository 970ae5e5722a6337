"""From a job's JSON arguments to what its handler's signature asks for, prepared once at registration.

Parameters without an annotation take what JSON brought. Annotated ones are converted strictly: text becomes
a datetime, Decimal, Enum…, objects become dataclasses, but 5 never becomes "5" nor "5" five.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from reprlib import Repr
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin

import msgspec

from sidekiq_py.errors import ArgumentsMisfit, InvalidHandler
from sidekiq_py.payload import UnreadableArguments

Bind = Callable[[list[Any]], Sequence[Any]]

_AS_IT_COMES: Final = (inspect.Parameter.empty, Any, object)
_PLAIN_TYPES: Final = (Any, str, int, float, bool, None, NoneType, list, dict, Union, UnionType)
_MISFIT = re.compile(r"(?P<what>.*?)(?: - at `\$(?:\[(?P<index>\d+)\])?(?P<rest>.*)`)?", re.DOTALL)
_short = Repr()
_short.maxstring = _short.maxother = 80


class Signature:
    """What a handler takes, as far as a list of JSON values can fill it.

    Raises InvalidHandler when no such list can, or when an annotation can't be made from JSON.
    """

    def __init__(self, name: str, function: Callable[..., object]) -> None:
        self._name = name
        self._signature = signature = _signature(name, function)
        self._text = str(signature.replace(return_annotation=inspect.Signature.empty))
        positional, self._rest = _positional(name, signature)
        self._least = sum(parameter.default is parameter.empty for parameter in positional)
        self._most = len(positional)
        self._names = [parameter.name for parameter in positional]
        self._types = [_wanted(parameter) for parameter in positional]
        self._rest_type = _wanted(self._rest) if self._rest else Any
        self._rich = [index for index, wanted in enumerate(self._types) if not _is_plain(wanted)]
        self._rich_rest = not _is_plain(self._rest_type)
        self._check_types(positional)

    def _check_types(self, positional: Sequence[inspect.Parameter]) -> None:
        parameters = [*positional, self._rest] if self._rest else positional
        for parameter in parameters:
            try:
                kind = msgspec.inspect.type_info(_wanted(parameter))
            except TypeError as error:
                raise InvalidHandler(_unmakeable(self._name, parameter, str(error))) from error
            if isinstance(kind, msgspec.inspect.CustomType):
                raise InvalidHandler(_unmakeable(self._name, parameter, "it is a class of your own"))

    def binder(self) -> Bind:
        """The function that checks and converts one job's arguments; nearly free without annotations."""
        if all(wanted is Any for wanted in [*self._types, self._rest_type]):
            return self._bind_as_it_comes
        return self._converting_binder()

    def _bind_as_it_comes(self, args: list[Any]) -> Sequence[Any]:
        count = len(args)
        if self._least <= count and (count <= self._most or self._rest) and type(args) is list:
            return args
        raise self._arity_misfit(args)

    def _converting_binder(self) -> Bind:
        convert, astuple, natives = msgspec.convert, msgspec.structs.astuple, self._types
        positional = _array_of(self._types)
        most, rest = self._most, list[self._rest_type]  # type: ignore[name-defined]

        def bind(args: list[Any]) -> Sequence[Any]:
            self._bind_as_it_comes(args)
            if list(map(type, args)) == natives[: len(args)]:  # nothing to convert: the usual job
                return args
            try:
                bound = astuple(convert(args[:most], positional, str_keys=True))[: len(args)]
                return bound if len(args) <= most else (*bound, *convert(args[most:], rest, str_keys=True))
            except msgspec.ValidationError as error:
                raise self._type_misfit(args) from error

        return bind

    def to_json(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
        """A Python call as the list of JSON arguments that `bind` turns back into it.

        Keyword arguments get their places; values of parameters annotated with a rich type (datetime,
        Decimal, dataclass…) become what that type is made from. Raises ArgumentsMisfit when the handler
        can't be called so; whether the rest is JSON is checked at the push.
        """
        values = self._placed(args, kwargs) if kwargs else list(args)
        self._bind_as_it_comes(values)
        for index in self._rich:
            if index < len(values):
                values[index] = _builtins(values[index])
        if self._rich_rest:
            values[self._most :] = map(_builtins, values[self._most :])
        return values

    def _placed(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise ArgumentsMisfit(f"{self._name} takes {self._text}: {error}") from error
        for name in kwargs.keys() - set(self._names):
            raise ArgumentsMisfit(f"{self._name} takes {self._text}: {name} can't travel, it is keyword-only")
        bound.apply_defaults()
        last = max(self._names.index(name) for name in kwargs)
        return list(bound.args)[: max(last + 1, len(args))]

    def _arity_misfit(self, args: list[Any]) -> ArgumentsMisfit:
        if isinstance(args, UnreadableArguments):
            return ArgumentsMisfit(f"{self._name} got arguments that Python can't read: {args.reason}")
        if self._rest:
            expected = f"at least {_count(self._least)}"
        elif self._least == self._most:
            expected = _count(self._most)
        else:
            expected = f"{self._least} to {_count(self._most)}"
        return ArgumentsMisfit(
            f"{self._name} takes {self._text}: {expected}, got {len(args)}: {_short.repr(args)}"
        )

    def _type_misfit(self, args: list[Any]) -> ArgumentsMisfit:
        """The first argument that can't be converted; only called when there is one."""
        for index, value in enumerate(args):
            named = index < self._most
            wanted = self._types[index] if named else self._rest_type
            try:
                msgspec.convert([value], _array_of([wanted]), str_keys=True)
            except msgspec.ValidationError as error:
                name = self._names[index] if named else f"*{self._rest.name}" if self._rest else ""
                misfit = f"{name} can't be {_short.repr(value)}, {_explain(error)}"
                return ArgumentsMisfit(f"{self._name} takes {self._text}: {misfit}")
        raise AssertionError("every argument fits on its own")


def _is_plain(annotation: Any) -> bool:
    """Whether every value of the type is JSON as it stands."""
    origin = get_origin(annotation) or annotation
    if origin is Literal:
        return True
    return origin in _PLAIN_TYPES and all(map(_is_plain, get_args(annotation)))


def _builtins(value: object) -> object:
    """A rich value as JSON has it: text for times and decimals, objects for dataclasses and so on."""
    try:
        return _lists(msgspec.to_builtins(value, str_keys=True))
    except TypeError:  # not a type that could come back from JSON: the check at push says so, with its place
        return value


def _lists(value: object) -> object:
    if isinstance(value, list | tuple):
        return [_lists(item) for item in value]
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    return value


def _array_of(types: Sequence[Any]) -> type[msgspec.Struct]:
    """A struct that is written as a JSON array: its type tree is built once, unlike that of `tuple[…]`."""
    fields = [(f"argument_{index}", wanted, None) for index, wanted in enumerate(types)]
    return msgspec.defstruct("Arguments", fields, array_like=True)


def _wanted(parameter: inspect.Parameter) -> Any:
    return Any if parameter.annotation in _AS_IT_COMES else parameter.annotation


def _count(number: int) -> str:
    return f"{number or 'no'} argument{'' if number == 1 else 's'}"


def _explain(error: msgspec.ValidationError) -> str:
    found = _MISFIT.fullmatch(str(error))
    if found is None:
        return str(error)
    what = found["what"][:1].lower() + found["what"][1:].replace("`", "")
    return f"{what} at {found['rest']}" if found["rest"] else what


def _signature(name: str, function: Callable[..., object]) -> inspect.Signature:
    try:
        return inspect.signature(function, eval_str=True)
    except NameError as error:
        raise InvalidHandler(
            f"{name}: an annotation of its handler can't be resolved: {error}. Import that name where the "
            "handler is defined, outside `if TYPE_CHECKING:` and at module level"
        ) from error
    except (TypeError, ValueError) as error:
        raise InvalidHandler(f"{name}: its handler's signature can't be read: {error}") from error


def _positional(
    name: str, signature: inspect.Signature
) -> tuple[list[inspect.Parameter], inspect.Parameter | None]:
    positional: list[inspect.Parameter] = []
    rest: inspect.Parameter | None = None
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            positional.append(parameter)
        elif parameter.kind is parameter.VAR_POSITIONAL:
            rest = parameter
        elif parameter.kind is parameter.VAR_KEYWORD or parameter.default is parameter.empty:
            raise InvalidHandler(
                f"{name}: {parameter} can never be filled, because a job's arguments are a JSON array, all "
                "positional. Make it a positional parameter, or take one dict"
            )
    return positional, rest


def _unmakeable(name: str, parameter: inspect.Parameter, reason: str) -> str:
    return (
        f"{name}: {parameter} can't be made from JSON: {reason}. Use str, int, float, bool, list, dict, "
        "datetime, date, Decimal, an Enum, a dataclass or a msgspec.Struct, or drop the annotation"
    )
