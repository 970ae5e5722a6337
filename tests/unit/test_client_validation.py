"""What a client refuses before anything is sent."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from sidekiq_py.client import Client
from sidekiq_py.errors import InvalidConfig, InvalidJob
from sidekiq_py.job_util import MAX_DEPTH
from sidekiq_py.middleware import Chain, ClientMiddleware

Push = Callable[[Mapping[str, Any]], object]


class Untouchable:
    """A Redis that must not be spoken to."""

    def _refuse(self, *_: object) -> Any:
        raise AssertionError("something was sent")

    call = pipeline = run_script = _refuse


@pytest.fixture
def client() -> Client:
    return Client(redis=Untouchable(), middleware=Chain(), dialect=7)


class Level(enum.IntEnum):
    HIGH = 1


class Name(str):
    """A string that is more than a string, as template engines make them."""


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


def in_itself() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


NOT_JSON = [
    (float("nan"), "args[0] is nan, which JSON has no word for; give None or a string"),
    (float("-inf"), "args[0] is -inf, which JSON has no word for"),
    (b"bytes", "args[0] is a bytes: b'bytes'; a job's arguments are JSON"),
    (b"bytes", "Give text, for example base64"),
    ({1: "one"}, "args[0] has the key an int: 1; JSON's keys are strings, try str(key)"),
    ({None: "one"}, "args[0] has the key None"),
    ((1, 2), "args[0] is a tuple: (1, 2); a job's arguments are JSON"),
    (datetime(2026, 11, 24, tzinfo=UTC), "Give isoformat() or timestamp()"),
    (date(2026, 11, 24), "args[0] is a date"),
    (timedelta(seconds=1), "Give total_seconds()"),
    (Decimal("1.5"), "args[0] is a Decimal: Decimal('1.5'); "),
    (UUID(int=0), "Give str(value)"),
    ({1, 2}, "args[0] is a set: {1, 2}; "),
    (object, "args[0] is a type"),
    (Level.HIGH, "args[0] is a Level"),
    (Name("bob"), "args[0] is a Name: 'bob'"),
    ({"when": [1, {"at": datetime(2026, 11, 24, tzinfo=UTC)}]}, 'args[0]["when"][1]["at"] is a datetime'),
    (["a", 1, None, {"x": {'say "hi"': b""}}], 'args[0][3]["x"]["say \\"hi\\""] is a bytes'),
    (nested(MAX_DEPTH + 1), f"is nested more than {MAX_DEPTH} deep"),
    (in_itself(), "does it contain itself?"),
    ("half \ud800", "args[0] holds half of a surrogate pair"),
    ({"a": ["\udfff"]}, 'args[0]["a"][0] holds half of a surrogate pair'),
    ({"\ud800": 1}, "the key '\\ud800' of args[0] holds half of a surrogate pair"),
]


@pytest.mark.row("E8")
@pytest.mark.parametrize(("value", "words"), NOT_JSON)
def test_an_argument_that_json_has_no_word_for_is_refused_with_its_path(
    client: Client, value: object, words: str
) -> None:
    with pytest.raises(InvalidJob) as caught:
        client.push({"class": "HardJob", "args": [value]})

    assert words in str(caught.value)


@pytest.mark.parametrize(("value", "words"), NOT_JSON)
@pytest.mark.parametrize("chain", [Chain(), Chain([lambda job_class, job, queue, call_next: call_next()])])
def test_one_bad_job_of_a_bulk_push_keeps_all_others_back(
    chain: Chain[ClientMiddleware], value: object, words: str
) -> None:
    client = Client(redis=Untouchable(), middleware=chain, dialect=7)
    rows = [[1]] * 2_500 + [[value]]

    with pytest.raises(InvalidJob) as caught:
        client.push_bulk({"class": "HardJob", "args": rows})

    message = str(caught.value)
    if len(chain):
        assert message.startswith("number 2500 of a bulk push: ")
    else:
        words = words.replace("args[0]", "args[2500][0]")
    assert words.split("…")[0] in message


@pytest.mark.parametrize(
    "value", ["", "é日本", 0, -1, 10**40, 1.5, -0.0, 1e300, True, None, [], {}, nested(MAX_DEPTH)]
)
def test_json_s_own_values_are_taken(value: object) -> None:
    job = Client(redis=Untouchable(), middleware=Chain()).prepare({"class": "HardJob", "args": [value]})

    assert job is not None
    assert job["args"] == [value]


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (["HardJob"], "a job is a dict with 'class' and 'args', got a list: ['HardJob']"),
        ({"args": []}, "'class' is missing in {'args': []}"),
        ({"class": "HardJob"}, "'args' is missing in {'class': 'HardJob'}"),
        ({"class": None, "args": []}, "'class' is the job class name, as in 'HardJob', got None"),
        ({"class": str, "args": []}, "'class' is the job class name, as in 'HardJob', got a type"),
        ({"class": "", "args": []}, "'class' is the job class name"),
        (
            {"class": "HardJob", "args": "bob"},
            "'args' is the list of arguments, as in ['bob', 5], got a str: 'bob'",
        ),
        ({"class": "HardJob", "args": {"a": 1}}, "'args' is the list of arguments"),
        ({"class": "HardJob", "args": None}, "'args' is the list of arguments"),
        ({"class": "HardJob", "args": [], "at": None}, "'at' is a number of seconds since 1970, got None"),
        (
            {"class": "HardJob", "args": [], "at": "now"},
            "'at' is a number of seconds since 1970, got a str: 'now'",
        ),
        ({"class": "HardJob", "args": [], "at": True}, "'at' is a number"),
        ({"class": "HardJob", "args": [], "at": float("inf")}, "'at' is a number"),
        ({"class": "HardJob", "args": [], "at": 10**400}, "'at' is a number"),
        ({"class": "HardJob", "args": [], "at": datetime(2026, 1, 1)}, "try at.timestamp()"),
        ({"class": "HardJob", "args": [], "tags": "urgent"}, "'tags' is a list of strings"),
        (
            {"class": "HardJob", "args": [], "queue": None},
            "'queue' is a queue's name, as in 'default', got None",
        ),
        ({"class": "HardJob", "args": [], "queue": ""}, "'queue' is a queue's name"),
        (
            {"class": "HardJob", "args": [], "queue": "queue:low"},
            "without 'queue:' in front, got 'queue:low'",
        ),
        ({"class": "HardJob", "args": [], "retry_for": 1_000_000_001}, "at most 1,000,000,000"),
        ({"class": "HardJob", "args": [], "retry_for": 10**400}, "'retry_for' is a number of seconds"),
        ({"class": "HardJob", "args": [], "jid": 5}, "'jid' is a string, got an int: 5; leave it out"),
        ({"class": "HardJob", "args": [], "custom": {"when": date(2026, 1, 1)}}, 'custom["when"] is a date'),
        ({"class": "HardJob", "args": [], 5: "x"}, "a job's keys are strings, got an int: 5"),
    ],
)
@pytest.mark.parametrize("verb", ["push", "prepare"])
def test_an_item_that_is_no_job_is_refused(client: Client, verb: str, item: Any, words: str) -> None:
    with pytest.raises(InvalidJob) as caught:
        getattr(client, verb)(item)

    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ({"class": "HardJob"}, "'args' is missing"),
        ([], "a job is a dict with 'class' and 'args', got a list: []"),
        ({"args": [[1]]}, "'class' is missing"),
        ({"class": "HardJob", "args": [1, 2]}, "as in [[1], [2]]: number 0 is an int: 1"),
        ({"class": "HardJob", "args": [[1], "ab"]}, "number 1 is a str: 'ab'"),
        ({"class": "HardJob", "args": "ab"}, "'args' of a bulk push is a list of argument lists"),
        ({"class": "HardJob", "args": {"a": [1]}}, "'args' of a bulk push is a list of argument lists"),
        ({"class": "HardJob", "args": 5}, "'args' of a bulk push is a list of argument lists"),
        ({"class": "HardJob", "args": [[1], [2]], "at": [5.0]}, "'at' has 1 times for 2 jobs"),
        ({"class": "HardJob", "args": [[1]], "at": ["now"]}, "'at' is a number of seconds since 1970"),
        ({"class": "HardJob", "args": [[1]], "at": None}, "'at' is a number of seconds since 1970"),
        ({"class": "HardJob", "args": [[1], [2]], "jid": "a" * 24}, "'jid' is for one job, these are 2"),
        ({"class": "HardJob", "args": [[1]], "at": 5.0, "spread_interval": 5}, "both say when"),
        (
            {"class": "HardJob", "args": [[1]], "spread_interval": 0},
            "'spread_interval' is a number of seconds above",
        ),
        (
            {"class": "HardJob", "args": [[1]], "batch_size": 0},
            "'batch_size' is a whole number of jobs from 1 on",
        ),
        ({"class": "HardJob", "args": [[1]], "queue": ""}, "'queue' is a queue's name"),
    ],
)
def test_a_bulk_push_that_makes_no_sense_is_refused(client: Client, items: Any, words: str) -> None:
    with pytest.raises(InvalidJob) as caught:
        client.push_bulk(items)

    assert words in str(caught.value)


def test_a_client_that_is_given_two_addresses_is_refused() -> None:
    with pytest.raises(InvalidConfig, match="give it url or redis, not both"):
        Client("redis://localhost", redis=Untouchable())


@pytest.mark.parametrize("rows", [[[10**5_000]], [[1], ["a", {"b": [10**5_000]}]]])
def test_an_integer_of_thousands_of_digits_is_refused_before_anything_is_sent(
    client: Client, rows: list[list[Any]]
) -> None:
    with pytest.raises(InvalidJob, match=rf"args\[{len(rows) - 1}\] holds an integer that can't be written"):
        client.push_bulk({"class": "HardJob", "args": rows})
    with pytest.raises(InvalidJob, match="the job holds an integer that can't be written"):
        client.push({"class": "HardJob", "args": rows})
    with pytest.raises(InvalidJob, match="'args' is the list of arguments"):
        client.push({"class": "HardJob", "args": 10**5_000})


def test_an_empty_bulk_push_sends_nothing(client: Client) -> None:
    assert client.push_bulk({"class": "HardJob", "args": []}) == []


def test_what_middleware_made_of_a_job_is_checked_again() -> None:
    def spoil(job_class: str, job: dict[str, Any], queue: str, call_next: Callable[[], object]) -> object:
        job["queue"] = None
        return call_next()

    with pytest.raises(InvalidJob, match="'queue' is a queue's name"):
        Client(redis=Untouchable(), middleware=Chain([spoil])).prepare({"class": "HardJob", "args": []})


def test_middleware_may_turn_rich_arguments_into_plain_ones() -> None:
    def flatten(job_class: str, job: dict[str, Any], queue: str, call_next: Callable[[], object]) -> object:
        job["args"] = [str(value) for value in job["args"]]
        return call_next()

    client = Client(redis=Untouchable(), middleware=Chain([flatten]))

    job = client.prepare({"class": "HardJob", "args": [Decimal("1.50")]})

    assert job is not None
    assert job["args"] == ["1.50"]


def test_the_item_is_left_as_it_was(client: Client) -> None:
    item = {"class": "HardJob", "args": [1], "retry_for": 60.7}

    job = client.prepare(item)

    assert item == {"class": "HardJob", "args": [1], "retry_for": 60.7}
    assert job is not None
    assert job["retry_for"] == 60
