"""Names, functions and options that make a handler, and those that don't."""

from __future__ import annotations

import functools
from datetime import timedelta

import pytest

from sidekiq_py.errors import InvalidHandler, InvalidJob, UnknownJobClass
from sidekiq_py.job import Job
from sidekiq_py.registry import Handler, Registry


def hard_job(name: str, count: int = 1) -> None: ...


def other_job() -> None: ...


async def asynchronous() -> None: ...


async def asynchronous_steps():
    yield 1


def steps():
    yield 1


class CallsAsynchronously:
    async def __call__(self) -> None: ...


class Mailer:
    def send(self, address: str) -> str:
        return f"to {address}"

    @staticmethod
    def ping(address: str) -> str:
        return address


@pytest.mark.parametrize(
    "name", ["HardJob", "Billing::SendInvoice", "A", "A1::B_2", "Größe", "Äpfel::Éclair", "ǅ"]
)
def test_ruby_constants_are_job_classes(name: str) -> None:
    assert Handler(name, hard_job).name == name


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("send_mail", "SendMail"),
        ("tasks.send", "Tasks::Send"),
        ("app/mail:send-all", "App::Mail::SendAll"),
        ("hard job", "HardJob"),
        ("Orders::ship", "Orders::Ship"),
        ("größe", "Größe"),
    ],
)
def test_another_name_is_refused_with_a_ruby_constant_to_use_instead(name: str, suggestion: str) -> None:
    with pytest.raises(InvalidHandler, match=f"lose a job .* how about '{suggestion}'"):
        Handler(name, hard_job)


@pytest.mark.parametrize("name", ["", "1", "仕事", "HardJob\n", "::HardJob", "Hard::", None, 5])
def test_a_name_that_suggests_nothing_is_refused_with_examples(name: object) -> None:
    with pytest.raises(InvalidHandler, match="'SendMail' and 'Billing::SendInvoice'"):
        Handler(name, hard_job)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (asynchronous, "is an `async def`.*plain `def`"),
        (functools.partial(asynchronous), "is an `async def`"),
        (CallsAsynchronously(), "is an `async def`"),
        (asynchronous_steps, "asynchronous generator"),
        (steps, "a generator"),
        (Mailer, "Mailer is a class"),
        (
            Mailer.send,
            r"Mailer.send is a method, and a job brings no self .* job\('HardJob'\)\(Mailer\(\).send\)",
        ),
        (None, "can't be called"),
    ],
)
def test_what_a_call_would_not_run_is_refused(function: object, reason: str) -> None:
    with pytest.raises(InvalidHandler, match=f"HardJob: .*{reason}"):
        Handler("HardJob", function)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "function",
    [
        hard_job,
        Mailer().send,
        Mailer.ping,
        functools.partial(hard_job, "bob"),
        functools.wraps(asynchronous)(lambda: 1),  # a decorator that may well run it
        print,
        lambda: 1,
    ],
)
def test_functions_methods_and_partials_are_fine(function) -> None:
    assert Handler("HardJob", function).function is function


def test_options_begin_with_retry_and_queue_and_keep_their_order() -> None:
    handler = Handler("HardJob", hard_job, {"tags": ("a", "b"), "queue": "low", "lock": "until_executed"})

    assert list(handler.options.items()) == [
        ("retry", True),
        ("queue", "low"),
        ("tags", ["a", "b"]),
        ("lock", "until_executed"),
    ]


def test_retry_for_is_kept_in_whole_seconds() -> None:
    assert Handler("HardJob", hard_job, {"retry_for": timedelta(hours=1)}).options["retry_for"] == 3600


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"queue": ""}, "'queue' is a queue's name, as in 'default', got a str: ''"),
        ({"queue": None}, "'queue' is a queue's name, as in 'default', got None"),
        ({"queue": "queue:low"}, "without 'queue:' in front"),
        ({"retry_queue": 5}, "'retry_queue' is a queue's name"),
        ({"retry": "3"}, "'retry' is True, False or a number of retries, got a str: '3'"),
        ({"tags": "urgent"}, r"'tags' is a list of strings, as in \['urgent'\], got a str: 'urgent'"),
        ({"tags": [1]}, "'tags' is a list of strings"),
        ({"retry_for": 2_000_000_000}, "at most 1,000,000,000; 2000000000 looks like a moment in time"),
        ({"retry_for": "1h"}, "'retry_for' is a number of seconds, got a str: '1h'"),
        ({"at": 5.0}, "'at' belongs to one push"),
        ({"wait": 5.0}, "'wait' belongs to one push"),
        ({"max_retries": 3}, r"'max_retries' is no option of a job; did you mean 'retry'\?"),
        ({"quue": "low"}, r"'quue' is no option of a job; did you mean 'queue'\?"),
        ({"retires": 4}, r"'retires' is no option of a job; did you mean 'retry'\?"),
        ({"Retry": 4}, r"'Retry' is no option of a job; did you mean 'retry'\?"),
        ({"tag": "mail"}, r"'tag' is no option of a job; did you mean 'tags'\?"),
        ({"backtraces": 4}, r"did you mean 'backtrace'\?"),
        ({"time_limit": 3}, r"'time_limit' is no option of a job; did you mean 'timeout'\?"),
        ({"custom": object}, "custom is a type"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(options: dict[str, object], reason: str) -> None:
    with pytest.raises(InvalidHandler, match=f"HardJob: .*{reason}"):
        Handler("HardJob", hard_job, options)


@pytest.mark.parametrize(
    "key",
    ["bid", "unique_for", "lock", "cattr", "locale", "encrypt", "expires_in", "track", "pool", "priority"]
    + ["deadline", "rate_limit", "throttle", "tenant", "idempotent", "headers", "trace", "version"],
)
def test_keys_of_gems_and_of_your_own_are_carried_along(key: str) -> None:
    assert Handler("HardJob", hard_job, {key: "x"}).options[key] == "x"


def test_set_refuses_a_misspelt_option_too() -> None:
    with pytest.raises(InvalidJob, match="'quue' is no option of a job; did you mean 'queue'"):
        Job(Handler("HardJob", hard_job), hard_job).set(quue="low")


def test_a_handler_is_found_by_its_name() -> None:
    registry = Registry()
    handler = Handler("HardJob", hard_job)

    registry.add(handler)

    assert registry.get("HardJob") is handler
    assert registry.lookup("HardJob") is handler
    assert registry.names() == ["HardJob"]


def test_an_unknown_class_has_ruby_s_words() -> None:
    registry = Registry()

    assert registry.get("NoJob") is None
    with pytest.raises(UnknownJobClass, match="^uninitialized constant NoJob$"):
        registry.lookup("NoJob")


def test_two_functions_under_one_name_are_refused_with_both_places() -> None:
    registry = Registry()
    registry.add(Handler("HardJob", hard_job))

    with pytest.raises(InvalidHandler) as caught:
        registry.add(Handler("HardJob", other_job))

    message = str(caught.value)
    assert message.startswith("HardJob has two handlers: ")
    assert f"{__name__}.hard_job ({__file__}:" in message
    assert f"{__name__}.other_job ({__file__}:" in message


def test_a_second_import_of_the_same_module_is_fine() -> None:
    registry = Registry()
    registry.add(Handler("HardJob", hard_job))
    source = compile("def hard_job(name, count=1): ...", __file__, "exec")
    namespace: dict[str, object] = {"__name__": "__main__"}
    exec(source, namespace)
    again = Handler("HardJob", namespace["hard_job"])  # type: ignore[arg-type]

    registry.add(again)

    assert registry.get("HardJob") is again


def test_two_lambdas_of_one_module_are_two_functions() -> None:
    registry = Registry()
    registry.add(Handler("HardJob", lambda: 1))

    with pytest.raises(InvalidHandler, match="two handlers"):
        registry.add(
            Handler("HardJob", lambda: 2),
        )


def test_discarded_names_are_free_again() -> None:
    registry = Registry()
    registry.add(Handler("HardJob", hard_job))

    registry.discard(["HardJob", "NeverThere"])
    registry.add(Handler("HardJob", other_job))

    assert registry.names() == ["HardJob"]


@pytest.mark.parametrize(("given", "seconds"), [(None, None), (30, 30.0), (timedelta(minutes=1), 60.0)])
def test_a_timeout_is_seconds_or_a_timedelta(given, seconds):
    assert Handler("HardJob", hard_job, timeout=given).timeout == seconds


@pytest.mark.parametrize("given", [0, -1, True, "5", float("inf"), float("nan"), timedelta(0)])
def test_a_timeout_that_is_none_is_refused(given):
    with pytest.raises(InvalidHandler, match="HardJob: timeout is a number of seconds above 0"):
        Handler("HardJob", hard_job, timeout=given)
