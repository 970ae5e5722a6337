"""What a handler can learn about the job it runs."""

from __future__ import annotations

import threading

import pytest

from sidekiq_py.job import bind, current_job
from sidekiq_py.payload import Payload

PAYLOAD: Payload = {
    "class": "HardJob",
    "args": ["bob"],
    "jid": "abc",
    "retry_count": 2,
    "tags": ["x"],
    "bid": "b",
}


def test_the_running_job_shows_its_payload() -> None:
    with bind(PAYLOAD, "low"):
        running = current_job()

    assert (running.jid, running.job_class, running.queue) == ("abc", "HardJob", "low")
    assert (running.args, running.retry_count, running.tags) == (["bob"], 2, ["x"])
    assert running.payload["bid"] == "b"
    assert running.logger.name == "sidekiq.job"
    assert repr(running) == "<RunningJob HardJob abc of queue low>"


@pytest.mark.parametrize(
    ("payload", "retry_count", "tags"),
    [
        ({}, None, []),
        ({"retry_count": None, "tags": None}, None, []),
        ({"retry_count": 1.0, "tags": "odd"}, 1, []),
        ({"retry_count": "1"}, None, []),
    ],
)
def test_fields_of_other_types_do_no_harm(payload: Payload, retry_count: int | None, tags: list[str]) -> None:
    running = bind({"class": "HardJob", "args": [], **payload}, "low")

    assert running.retry_count == retry_count
    assert running.tags == tags
    assert running.jid == ""


def test_a_job_run_inside_a_job_is_current_until_it_ends() -> None:
    with bind(PAYLOAD, "low"):
        with bind({**PAYLOAD, "jid": "inner"}, "low"):
            inner = current_job().jid
        outer = current_job().jid

    assert (inner, outer) == ("inner", "abc")


def test_outside_a_job_it_says_where_it_works() -> None:
    with pytest.raises(LookupError, match="no job runs here.*perform_inline"):
        current_job()


def test_other_threads_have_no_part_in_it() -> None:
    found: list[object] = []

    def look() -> None:
        try:
            found.append(current_job())
        except LookupError as error:
            found.append(type(error))

    with bind(PAYLOAD, "low"):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()

    assert found == [LookupError]


def test_the_job_is_gone_also_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), bind(PAYLOAD, "low"):
        raise ZeroDivisionError

    with pytest.raises(LookupError):
        current_job()
