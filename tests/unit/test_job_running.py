"""What a handler can learn about the job it runs."""

from __future__ import annotations

import threading

import pytest

from sidekiq_py.job import RunningJob, current_job
from sidekiq_py.logger import bind_job, fields, job_level, release_job
from sidekiq_py.payload import Payload
from sidekiq_py.running_job import running

PAYLOAD: Payload = {
    "class": "HardJob",
    "args": ["bob"],
    "jid": "abc",
    "retry_count": 2,
    "tags": ["x"],
    "bid": "b",
}


def test_the_running_job_shows_its_payload() -> None:
    with running(PAYLOAD, "low"):
        seen = current_job()

    assert (seen.jid, seen.job_class, seen.queue) == ("abc", "HardJob", "low")
    assert (seen.args, seen.retry_count, seen.tags) == (["bob"], 2, ["x"])
    assert seen.payload["bid"] == "b"
    assert seen.logger.name == "sidekiq.job"
    assert repr(seen) == "<RunningJob HardJob abc of queue low>"


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
    job = RunningJob({"class": "HardJob", "args": [], **payload}, "low")

    assert job.retry_count == retry_count
    assert job.tags == tags
    assert job.jid == ""


def test_a_job_run_inside_a_job_is_current_until_it_ends() -> None:
    with running(PAYLOAD, "low"):
        with running({**PAYLOAD, "jid": "inner"}, "low"):
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

    with running(PAYLOAD, "low"):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()

    assert found == [LookupError]


@pytest.mark.row("J4")
def test_the_job_is_gone_also_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), running(PAYLOAD, "low"):
        raise ZeroDivisionError

    with pytest.raises(LookupError):
        current_job()


def test_log_lines_of_a_job_run_inside_a_job_are_its_own_and_chosen_as_the_outer_one_s() -> None:
    token = bind_job(PAYLOAD, "low", attributes=["locale"], level=10)

    with running({**PAYLOAD, "jid": "inner", "locale": "fr"}, "low"):
        inner, level = fields(), job_level()
    release_job(token)

    assert (inner["jid"], inner["locale"], level) == ("inner", "fr", 10)
    assert "tags" not in inner
