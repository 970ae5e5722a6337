"""What a handler's signature makes of a job's JSON arguments."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, TypedDict
from uuid import UUID

import msgspec
import pytest

from sidekiq_py.errors import ArgumentsMisfit, InvalidHandler
from sidekiq_py.payload import UnreadableArguments
from sidekiq_py.registry import Handler


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Address:
    street: str
    number: int = 1


class Order(msgspec.Struct):
    items: list[int]


class Parcel(TypedDict):
    weight: float


class Unmakeable:
    pass


def bind(function: Callable[..., object], *args: Any) -> list[Any]:
    return list(Handler("HardJob", function).bind(list(args)))


def misfit(function: Callable[..., object], *args: Any) -> str:
    with pytest.raises(ArgumentsMisfit) as caught:
        bind(function, *args)
    return str(caught.value)


def test_arguments_without_annotations_pass_as_they_come() -> None:
    args = ["bob", {"a": [1]}]

    bound = Handler("HardJob", lambda name, options=None: None).bind(args)

    assert bound is args


def test_json_types_pass_as_they_come() -> None:
    def handler(name: str, count: int, ratio: float, yes: bool) -> None: ...

    args = ["bob", 5, 0.5, True]

    assert Handler("HardJob", handler).bind(args) is args


@pytest.mark.parametrize(
    ("wanted", "given", "value"),
    [
        (datetime, "2026-11-24T04:00:00Z", datetime(2026, 11, 24, 4, tzinfo=UTC)),
        (date, "2026-11-24", date(2026, 11, 24)),
        (Decimal, "1.50", Decimal("1.50")),
        (UUID, "1284bf07-eb58-4d09-bfb2-88aaa36b53f9", UUID("1284bf07-eb58-4d09-bfb2-88aaa36b53f9")),
        (Colour, "red", Colour.RED),
        (Address, {"street": "High"}, Address("High", 1)),
        (Order, {"items": [1, 2]}, Order([1, 2])),
        (Parcel, {"weight": 1.5}, {"weight": 1.5}),
        (list[int], [1, 2], [1, 2]),
        (dict[int, str], {"1": "one"}, {1: "one"}),
        (tuple[int, str], [1, "a"], (1, "a")),
        (set[int], [1, 1], {1}),
        (int | None, None, None),
        (Literal["a", "b"], "a", "a"),
        (float, 5, 5.0),
        (int, 10**30, 10**30),
        (Annotated[int, msgspec.Meta(ge=0)], 3, 3),
        (Any, {"x": [None]}, {"x": [None]}),
        (object, [1], [1]),
    ],
)
def test_annotated_parameters_are_converted(wanted: Any, given: object, value: object) -> None:
    def handler(parameter: wanted) -> None: ...  # type: ignore[valid-type]

    handler.__annotations__["parameter"] = wanted

    [converted] = bind(handler, given)

    assert converted == value
    assert type(converted) is type(value)


@pytest.mark.parametrize(
    ("wanted", "given", "words"),
    [
        (int, "5", "parameter can't be '5', expected int, got str"),
        (str, 5, "parameter can't be 5, expected str, got int"),
        (int, True, "parameter can't be True, expected int, got bool"),
        (int, 1.0, "parameter can't be 1.0, expected int, got float"),
        (str, None, "parameter can't be None, expected str, got null"),
        (datetime, "yesterday", "parameter can't be 'yesterday', invalid RFC3339 encoded datetime"),
        (Colour, "blue", "parameter can't be 'blue', invalid enum value 'blue'"),
        (Address, {"street": 5}, "parameter can't be {'street': 5}, expected str, got int at .street"),
        (list[int], [1, "b"], "parameter can't be [1, 'b'], expected int, got str at [1]"),
        (Annotated[int, msgspec.Meta(ge=0)], -1, "parameter can't be -1, expected int >= 0"),
    ],
)
def test_a_value_of_another_type_is_a_misfit_that_names_parameter_and_value(
    wanted: Any, given: object, words: str
) -> None:
    def handler(first: str, parameter: object) -> None: ...

    handler.__annotations__["parameter"] = wanted

    message = misfit(handler, "bob", given)

    assert message.startswith("HardJob takes (first: str, parameter: ")
    assert words in message


def test_a_long_value_is_cut_in_the_message() -> None:
    def handler(count: int) -> None: ...

    assert len(misfit(handler, "x" * 100_000)) < 300


@pytest.mark.parametrize(
    ("function", "args", "words"),
    [
        (lambda name, count=1: None, ["a", 1, 2], "(name, count=1): 1 to 2 arguments, got 3: ['a', 1, 2]"),
        (lambda name, count=1: None, [], "(name, count=1): 1 to 2 arguments, got 0: []"),
        (lambda name: None, [1, 2], "(name): 1 argument, got 2: [1, 2]"),
        (lambda: None, [1], "(): no arguments, got 1: [1]"),
        (lambda name, *rest: None, [], "(name, *rest): at least 1 argument, got 0: []"),
    ],
)
def test_too_many_or_too_few_arguments_are_a_misfit(function, args: list[object], words: str) -> None:
    assert misfit(function, *args) == f"HardJob takes {words}"


def test_arity_is_checked_for_annotated_handlers_too() -> None:
    def handler(when: datetime, count: int = 1) -> None: ...

    assert "1 to 2 arguments, got 3" in misfit(handler, "2026-11-24T04:00:00Z", 1, 2)


def test_the_function_s_own_defaults_are_left_to_it() -> None:
    def handler(when: datetime, count: int = 1) -> None: ...

    assert len(bind(handler, "2026-11-24T04:00:00Z")) == 1


def test_the_rest_is_converted_one_by_one() -> None:
    def handler(name: str, *moments: date) -> None: ...

    assert bind(handler, "a", "2026-11-24", "2026-11-25") == ["a", date(2026, 11, 24), date(2026, 11, 25)]
    assert "*moments can't be 5" in misfit(handler, "a", "2026-11-24", 5)


def test_a_bound_method_does_not_count_its_self() -> None:
    class Mailer:
        def send(self, address: str, when: date) -> None: ...

    assert bind(Mailer().send, "a@b", "2026-11-24") == ["a@b", date(2026, 11, 24)]


def test_arguments_python_can_t_read_are_a_misfit_and_no_crash() -> None:
    with pytest.raises(ArgumentsMisfit, match="can't read: Integer too long"):
        Handler("HardJob", lambda *rest: None).bind(UnreadableArguments("Integer too long"))


@pytest.mark.parametrize(
    "function",
    [lambda **options: None, lambda *, name: None],
)
def test_parameters_that_json_can_t_fill_are_refused_at_registration(function) -> None:
    with pytest.raises(InvalidHandler, match="can never be filled.*positional"):
        Handler("HardJob", function)


def test_a_keyword_only_parameter_with_a_default_is_fine() -> None:
    def handler(name: str, *, dry: bool = False) -> None: ...

    assert bind(handler, "bob") == ["bob"]


def test_an_annotation_that_names_nothing_is_refused_at_registration() -> None:
    def handler(order: Ordre) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(
        InvalidHandler, match="HardJob: .*'Ordre' is not defined.*outside `if TYPE_CHECKING:`"
    ):
        Handler("HardJob", handler)


@pytest.mark.parametrize("wanted", [Unmakeable, int | Unmakeable, Callable[[], None], complex])
def test_an_annotation_json_can_t_make_is_refused_at_registration(wanted: Any) -> None:
    def handler(parameter: object) -> None: ...

    handler.__annotations__["parameter"] = wanted

    with pytest.raises(InvalidHandler, match="HardJob: parameter: .* can't be made from JSON"):
        Handler("HardJob", handler)


def test_a_python_call_becomes_the_json_it_is_made_from() -> None:
    def handler(
        when: datetime, price: Decimal = Decimal(0), where: Address | None = None, n: int = 1
    ) -> None: ...

    signature = Handler("HardJob", handler).signature

    moment = datetime(2026, 11, 24, 4, tzinfo=UTC)
    args = signature.to_json((moment, Decimal("1.50")), {"where": Address("High", 2)})

    assert args == ["2026-11-24T04:00:00Z", "1.50", {"street": "High", "number": 2}]
    assert signature.binder()(args) == (moment, Decimal("1.50"), Address("High", 2))


def test_keyword_arguments_get_their_places_and_skipped_defaults_are_filled_in() -> None:
    signature = Handler("HardJob", lambda name, count=1, flag=None: None).signature

    assert signature.to_json(("bob",), {"flag": True}) == ["bob", 1, True]
    assert signature.to_json((), {"name": "bob"}) == ["bob"]


def test_a_call_the_function_does_not_take_is_a_misfit_at_once() -> None:
    signature = Handler("HardJob", lambda name, *, dry=False: None).signature

    with pytest.raises(ArgumentsMisfit, match="1 argument, got 2"):
        signature.to_json(("a", "b"), {})
    with pytest.raises(ArgumentsMisfit, match="unexpected keyword argument 'nmae'"):
        signature.to_json(("a",), {"nmae": "a"})
    with pytest.raises(ArgumentsMisfit, match="dry can't travel"):
        signature.to_json(("a",), {"dry": True})
