"""What others wrote into a job and Ruby can't take is mended before we store the job again."""

from __future__ import annotations

import json

import pytest

from sidekiq_py.dialect import Dialect
from sidekiq_py.mend import mend, shell_for
from sidekiq_py.payload import parse


def mended(dialect: Dialect = Dialect.SEVEN, **fields: object) -> dict[str, object]:
    job = dict(fields)
    mend(job, dialect)
    return job


def test_a_healthy_job_is_left_as_it_is():
    job = {"tags": ["a", 1], "retry_for": 3600, "created_at": 1.5, "failed_at": 1795490317987, "x": "at"}

    assert mended(**job) == job


def test_a_stored_at_would_schedule_the_job_again_and_goes():
    assert mended(at=1795490317.5, jid="j") == {"jid": "j"}


@pytest.mark.parametrize(
    ("tags", "kept"), [(["a"], ["a"]), (None, None), ("red", ["red"]), (7, ["7"]), ({"a": 1}, ["{'a': 1}"])]
)
def test_tags_become_a_list(tags, kept):
    assert mended(tags=tags) == {"tags": kept}


@pytest.mark.parametrize(
    ("retry_for", "kept"),
    [
        (3600, {"retry_for": 3600}),
        (0.5, {"retry_for": 0.5}),
        (2_000_000_000, {"retry_for": 1_000_000_000}),
        (None, {"retry_for": None}),
        ("3600", {}),
        (True, {}),
        ([], {}),
    ],
)
def test_retry_for_is_a_number_that_ruby_s_client_takes_or_gone(retry_for, kept):
    assert mended(retry_for=retry_for) == kept


@pytest.mark.parametrize("name", ["created_at", "enqueued_at", "failed_at", "retried_at"])
def test_a_time_in_words_becomes_one_in_figures(name):
    assert mended(**{name: "2026-11-24T03:18:37.250Z"}) == {name: 1795490317.25}
    assert mended(Dialect.EIGHT, **{name: "2026-11-24T03:18:37.250Z"}) == {name: 1795490317250}


def test_a_mended_time_has_the_style_of_created_at():
    job = mended(created_at=1795490317987, enqueued_at="2026-11-24T03:18:37.250Z")

    assert job["enqueued_at"] == 1795490317250


@pytest.mark.parametrize("name", ["created_at", "enqueued_at", "failed_at", "retried_at"])
@pytest.mark.parametrize("value", ["soon", None, True, [], {}])
def test_a_time_that_is_none_goes(name, value):
    assert mended(**{name: value}) == {}


# -- shells --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [b"{oops", b"\xff\xfe", b"", b"\x80\x04.", b"[" * 100_000])
def test_text_that_is_not_json_needs_no_shell(raw):
    assert shell_for(raw, queue="q", reason="r", failed_at=1.5) == raw


@pytest.mark.parametrize(
    "raw", [b"null", b"[1]", b'"x"', b'{"class":7}', b'{"class":"A","args":{"a":"\\u00e9"}}', b"9" * 5000]
)
def test_json_that_is_no_job_becomes_the_argument_of_one_that_ruby_s_pages_can_show(raw):
    shell = json.loads(shell_for(raw, queue="low", reason="no usable class", failed_at=1.5))

    assert parse(json.dumps(shell).encode())["args"] == [raw.decode()]
    assert (shell["queue"], shell["error_message"], shell["failed_at"]) == ("low", "no usable class", 1.5)
    assert (shell["retry"], shell["retry_count"]) == (False, 0)
    assert len(shell["jid"]) == 24
