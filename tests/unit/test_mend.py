"""What others wrote into a job and Ruby can't take is mended before we store the job again."""

from __future__ import annotations

import json

import pytest

from sidekiq_py.dialect import Dialect
from sidekiq_py.mend import as_shown, mend, shell_for
from sidekiq_py.payload import decode_backtrace, parse

WRAPPER = "ActiveJob::QueueAdapters::SidekiqAdapter::JobWrapper"
HEALTHY = {"class": "HardJob", "args": [1], "jid": "f" * 24}


def mended(dialect: Dialect = Dialect.SEVEN, **fields: object) -> dict[str, object]:
    """What becomes of these fields in an otherwise healthy job."""
    job = {**HEALTHY, **fields}
    mend(job, dialect)
    return {name: value for name, value in job.items() if name in fields or name not in HEALTHY}


def test_a_healthy_job_is_left_as_it_is():
    job = {"tags": ["a", 1], "retry_for": 3600, "created_at": 1.5, "failed_at": 1795490317987, "x": "at"}

    assert mended(**job) == job


def test_a_stored_at_would_schedule_the_job_again_and_goes():
    assert mended(at=1795490317.5) == {}


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


@pytest.mark.parametrize("jid", [None, "", True, {}])
def test_an_entry_without_a_jid_gets_one(jid):
    assert len(str(mended(jid=jid)["jid"])) == 24


def test_a_jid_in_figures_becomes_text():
    assert mended(jid=5) == {"jid": "5"}


@pytest.mark.parametrize("backtrace", ["???", 5, {}, True, "eJwDAAAAAAE="])
def test_a_backtrace_that_no_page_can_read_goes(backtrace):
    assert mended(error_backtrace=backtrace) == {}


def test_a_backtrace_in_the_open_is_packed_and_a_packed_one_stays():
    packed = mended(error_backtrace=["a.py:1", "b.py:2"])

    assert decode_backtrace(packed["error_backtrace"]) == ["a.py:1", "b.py:2"]
    assert mended(**packed) == packed


@pytest.mark.parametrize("args", [[], [1], [None], [{}], [{"arguments": "x"}]])
@pytest.mark.parametrize("wrapper", [WRAPPER, "Sidekiq::ActiveJob::Wrapper"])
def test_what_lacks_active_jobs_envelope_is_not_called_an_active_job(wrapper, args):
    mended_job = mended(**{"class": wrapper, "args": args, "wrapped": "MailJob"})

    assert mended_job == {"class": wrapper, "args": args}


@pytest.mark.parametrize(
    ("wrapped", "arguments", "stays"),
    [
        ("MailJob", [], True),
        ("ActionMailer::DeliveryJob", [], True),
        ("ActionMailer::MailDeliveryJob", ["Mails", "hi", "deliver_now", {"args": []}], True),
        ("ActionMailer::MailDeliveryJob", ["Mails", "hi", "deliver_now"], False),
        ("ActionMailer::MailDeliveryJob", ["Mails", "hi", "deliver_now", 1], False),
    ],
)
def test_an_envelope_with_what_pages_look_for_stays(wrapped, arguments, stays):
    job = mended(**{"class": WRAPPER, "args": [{"arguments": arguments}], "wrapped": wrapped})

    assert ("wrapped" in job) is stays


def test_wrapped_of_any_other_class_is_none_of_our_business():
    assert mended(wrapped="X") == {"wrapped": "X"}


# -- on the busy page ----------------------------------------------------------------------------------


def test_a_running_job_is_shown_byte_for_byte():
    raw = b'{ "class":"HardJob", "args":[1.50],"tags":["a"],"at":"x","created_at":"soon"}'

    assert as_shown(raw) == raw


def test_what_would_make_the_busy_page_raise_is_shown_mended():
    assert as_shown(b'{"class":"A","args":[1.50],"tags":"a"}') == b'{"class":"A","args":[1.50],"tags":["a"]}'


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
