"""`@job`: what a decorated function can do, and the payloads its pushes make."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from sidekiq_py import testing
from sidekiq_py.client import Client
from sidekiq_py.client_defaults import defaults
from sidekiq_py.config import Config
from sidekiq_py.errors import ArgumentsMisfit, InvalidHandler, InvalidJob
from sidekiq_py.job import Job, job
from sidekiq_py.middleware import CallNext, Chain
from sidekiq_py.payload import Payload
from sidekiq_py.registry import registry
from tests.golden import golden
from tests.helpers import StillClock

NOW = 1795490825.5


@pytest.fixture(autouse=True)
def config() -> Iterator[Config]:
    """Settings of this test alone, jobs kept in memory, and no handler left behind."""
    known = registry.names()
    config = Config()
    defaults.use(config)
    with testing.fake():
        yield config
    defaults.use(None)
    registry.discard(set(registry.names()) - set(known))


@pytest.fixture
def hard_job() -> Job[..., Any]:
    @job("HardJob", queue="low", retry=5, backtrace=20, tags=["demo"])
    def hard_job(name: str, count: int = 1) -> str:
        """Does nothing, at length."""
        return f"{name} {count}"

    return hard_job


@pytest.fixture
def plain() -> Job[..., Any]:
    @job("HardJob")
    def plain(*args: object) -> None: ...

    return plain


@pytest.fixture
def client() -> Client:
    return Client(clock=StillClock(NOW))


def pushed() -> Payload:
    [payload] = testing.jobs()
    return payload


def golden_keys(name: str, key: str, index: int = 0) -> list[str]:
    entry = golden("8.1.7", name)[key][index]
    return list(json.loads(entry if isinstance(entry, str) else entry["value"]))


def test_a_decorated_function_is_called_as_before(hard_job: Job[..., Any]) -> None:
    assert hard_job("bob", count=2) == "bob 2"
    assert hard_job.__name__ == "hard_job"
    assert hard_job.__doc__ == "Does nothing, at length."
    assert hard_job.name == "HardJob"
    assert "HardJob" in repr(hard_job)
    assert __file__ in repr(hard_job)


def test_perform_async_pushes_with_the_declared_options(hard_job: Job[..., Any]) -> None:
    jid = hard_job.perform_async("bob", 5)

    payload = pushed()
    assert payload["jid"] == jid
    del payload["jid"], payload["created_at"], payload["enqueued_at"]
    assert list(payload.items()) == [
        ("retry", 5),
        ("queue", "low"),
        ("backtrace", 20),
        ("tags", ["demo"]),
        ("args", ["bob", 5]),
        ("class", "HardJob"),
    ]


def test_keys_stand_in_ruby_s_order(plain: Job[..., Any]) -> None:
    plain.perform_async(1)
    plain.perform_bulk([[1]])
    plain.perform_in(60, 1)
    plain.set(
        retry=3, queue="critical", tags=["x"], retry_queue="low", dead=False, backtrace=True
    ).perform_async(1)

    asynchronous, bulk, scheduled, with_options = (list(payload) for payload in testing.jobs())
    assert asynchronous == golden_keys("push_normal", "queue:default")
    assert bulk == golden_keys("push_bulk", "queue:default")
    assert scheduled == [
        *golden_keys("scheduled", "schedule")[:4],
        "at",
        *golden_keys("scheduled", "schedule")[4:],
    ]
    assert with_options == golden_keys("push_variants", "queue:critical")


def test_set_is_for_one_push_and_adds_up(hard_job: Job[..., Any]) -> None:
    hard_job.set(queue="high", lock="x").set(tags=("a",)).perform_async("bob")
    hard_job.perform_async("bob")

    special, usual = testing.jobs()
    assert (special["queue"], special["lock"], special["tags"], special["retry"]) == ("high", "x", ["a"], 5)
    assert (usual["queue"], usual["tags"]) == ("low", ["demo"])
    assert "lock" not in usual


@pytest.mark.parametrize(
    "options",
    [
        {"queue": ""},
        {"retry": "3"},
        {"tags": "x"},
        {"at": 5},
        {"retry_for": "1h"},
        {"backtrace": "all"},
        {"dead": "no"},
    ],
)
def test_set_refuses_options_that_make_no_sense(hard_job: Job[..., Any], options: dict[str, Any]) -> None:
    with pytest.raises(InvalidJob):
        hard_job.set(**options)


@pytest.mark.parametrize("interval", [60, 60.0, timedelta(minutes=1), NOW + 60])
def test_perform_in_takes_seconds_a_timedelta_or_a_moment(
    plain: Job[..., Any], client: Client, interval: float | timedelta
) -> None:
    plain.via(client).perform_in(interval, "bob")

    assert pushed()["at"] == NOW + 60
    assert isinstance(pushed()["at"], float)


@pytest.mark.parametrize("interval", [0, -5, timedelta(seconds=-1), NOW, NOW - 1])
def test_what_is_not_in_the_future_goes_to_the_queue_now(
    plain: Job[..., Any], client: Client, interval: float | timedelta
) -> None:
    plain.via(client).perform_in(interval, "bob")

    assert "at" not in pushed()
    assert "enqueued_at" in pushed()


@pytest.mark.parametrize(
    "when",
    [
        NOW + 60,
        datetime.fromtimestamp(NOW + 60, UTC),
        datetime.fromtimestamp(NOW + 60, timezone(timedelta(hours=9))),
    ],
)
def test_perform_at_takes_epoch_seconds_or_an_aware_datetime(
    plain: Job[..., Any], client: Client, when: float | datetime
) -> None:
    plain.via(client).perform_at(when, "bob")

    assert pushed()["at"] == NOW + 60


def test_a_datetime_before_2001_is_the_past_and_no_interval(plain: Job[..., Any]) -> None:
    plain.perform_at(datetime(1990, 1, 1, tzinfo=UTC), "bob")

    assert "at" not in pushed()


def test_a_datetime_without_a_time_zone_is_refused(plain: Job[..., Any]) -> None:
    with pytest.raises(InvalidJob, match="has no time zone"):
        plain.perform_at(datetime(2030, 1, 1), "bob")


def test_perform_bulk_pushes_a_job_for_each_row(hard_job: Job[..., Any]) -> None:
    jids = hard_job.perform_bulk((name, 1) for name in ("bob", "al"))
    hard_job.set(queue="high").perform_bulk([("cy",)], at=NOW + 10**9)

    first, second, third = testing.jobs()
    assert [first["jid"], second["jid"]] == jids
    assert [first["args"], second["args"], third["args"]] == [["bob", 1], ["al", 1], ["cy"]]
    assert (third["queue"], third["at"]) == ("high", NOW + 10**9)


@pytest.mark.parametrize("rows", [["bob", "al"], [1, 2], [{"name": "bob"}], "bob", {"bob": 1}, None, 5])
def test_rows_that_are_no_argument_lists_are_refused_and_not_taken_apart(
    plain: Job[..., Any], rows: Any
) -> None:
    with pytest.raises(InvalidJob, match=r"a list of argument lists, as in \[\[1\], \[2\]\]"):
        plain.perform_bulk(rows)

    assert testing.jobs() == []


@pytest.mark.parametrize("when", ["tomorrow", "60", None, True, [5], date(2030, 1, 1), 10**400])
@pytest.mark.parametrize("verb", ["perform_in", "perform_at"])
def test_a_time_of_another_type_is_refused_with_what_is_taken(
    plain: Job[..., Any], verb: str, when: object
) -> None:
    with pytest.raises(InvalidJob, match="is said in seconds, as a timedelta"):
        getattr(plain, verb)(when, "bob")


def test_a_call_that_the_function_does_not_take_is_refused_at_the_push(hard_job: Job[..., Any]) -> None:
    with pytest.raises(ArgumentsMisfit, match="1 to 2 arguments, got 3"):
        hard_job.perform_async("bob", 1, 2)
    with pytest.raises(ArgumentsMisfit, match="1 to 2 arguments, got 0"):
        hard_job.perform_bulk([["bob"], []])

    assert testing.jobs() == []


def test_rich_arguments_travel_as_json_where_the_annotation_says_so() -> None:
    seen: list[object] = []

    @job("InvoiceJob")
    def invoice(when: datetime, price: Decimal, note: Any = None) -> None:
        seen.append((when, price, note))

    moment = datetime(2026, 11, 24, 4, tzinfo=UTC)
    invoice.perform_async(moment, price=Decimal("1.50"))
    testing.drain(invoice)

    assert seen == [(moment, Decimal("1.50"), None)]


def test_rich_arguments_without_an_annotation_are_refused(plain: Job[..., Any]) -> None:
    with pytest.raises(InvalidJob, match=r"args\[0\] is a datetime"):
        plain.perform_async(datetime(2026, 11, 24, tzinfo=UTC))


def test_perform_inline_goes_through_json_and_all_middleware(config: Config) -> None:
    seen: list[object] = []

    @config.client_middleware.add
    def client_side(job_class: str, job: Payload, queue: str, call_next: CallNext) -> object:
        job["locale"] = "fr"
        return call_next()

    @config.server_middleware.add
    def server_side(job: Payload, queue: str, call_next: CallNext) -> object:
        seen.append((queue, job["locale"]))
        return call_next()

    @job("InlineJob", queue="low")
    def inline(options: dict[str, object]) -> object:
        return options

    given = {"a": [1]}
    result = inline.perform_inline(given)

    assert result == given
    assert result is not given
    assert seen == [("low", "fr")]
    assert testing.jobs() == []


def test_perform_inline_returns_none_when_client_middleware_stops_it(
    config: Config, hard_job: Job[..., Any]
) -> None:
    config.client_middleware.add(lambda job_class, job, queue, call_next: None)

    assert hard_job.perform_inline("bob") is None
    assert hard_job.perform_async("bob") is None


def test_perform_inline_raises_what_the_job_raises() -> None:
    @job("BoomJob")
    def boom() -> None:
        raise ZeroDivisionError("boom")

    with pytest.raises(ZeroDivisionError, match="boom"):
        boom.perform_inline()


def test_callbacks_are_kept_on_the_handler(hard_job: Job[..., Any]) -> None:
    @hard_job.retry_in
    def wait(count: int, error: BaseException, payload: Payload) -> int:
        return 10 * count

    @hard_job.retries_exhausted
    def give_up(payload: Payload, error: BaseException) -> str:
        return "discard"

    handler = registry.lookup("HardJob")
    assert handler.retry_in is wait
    assert handler.retries_exhausted is give_up


def test_the_decorator_without_a_name_asks_for_one() -> None:
    def send_welcome_mail() -> None: ...

    with pytest.raises(InvalidHandler, match=r'as in @job\("SendWelcomeMail"\)'):
        job(send_welcome_mail)  # type: ignore[arg-type]
    with pytest.raises(InvalidHandler, match=r'as in @job\("HardJob"\)'):
        job(queue="low")  # type: ignore[call-arg]


async def later(*_: object) -> None: ...


@pytest.mark.parametrize("hook", ["retry_in", "retries_exhausted"])
@pytest.mark.parametrize(
    ("function", "reason"),
    [(later, "is an `async def`"), (5, "5 can't be called"), (lambda: None, "is called with .*payload")],
)
def test_a_hook_that_could_not_be_asked_is_refused(
    hard_job: Job[..., Any], hook: str, function: Any, reason: str
) -> None:
    with pytest.raises(InvalidHandler, match=f"{hook} of HardJob: .*{reason}"):
        getattr(hard_job, hook)(function)


def test_a_name_that_is_taken_is_refused(hard_job: Job[..., Any]) -> None:
    with pytest.raises(InvalidHandler, match="HardJob has two handlers"):

        @job("HardJob")
        def another() -> None: ...


def test_a_job_pushes_through_another_client_when_told(hard_job: Job[..., Any]) -> None:
    def mark(job_class: str, job: Payload, queue: str, call_next: CallNext) -> object:
        job["via"] = "other"
        return call_next()

    hard_job.set(queue="high").via(Client(middleware=Chain([mark]))).perform_async("bob")

    assert (pushed()["via"], pushed()["queue"]) == ("other", "high")
