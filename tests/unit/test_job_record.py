"""What a stored job says of itself, whoever wrote it and however damaged it is."""

from __future__ import annotations

import json

import pytest

from sidekiq_py.api import JobRecord
from sidekiq_py.payload import encode_backtrace
from tests.golden import VERSIONS, golden
from tests.helpers import StillClock

NOW = 1_795_490_000.5


def record(**fields: object) -> JobRecord:
    job = {"class": "HardJob", "args": [], "jid": "j1", "queue": "default", **fields}
    return JobRecord(json.dumps(job).encode(), clock=StillClock(NOW))


def stored(version: str, name: str, key: str) -> list[JobRecord]:
    entries = golden(version, name)[key]
    texts = [entry["value"] if isinstance(entry, dict) else entry for entry in entries]
    return [JobRecord(text.encode(), clock=StillClock(NOW)) for text in texts]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_job_that_ruby_buried_tells_its_whole_story(version):
    dead = stored(version, "dead", "dead")[0]

    assert dead.problem is None
    assert (dead.job_class, dead.queue, dead.args) == ("BoomJob", "default", ["x"])
    assert (dead.error_class, dead.error_message) == ("ArgumentError", "boom é <b>")
    assert len(dead.error_backtrace) == 2
    assert all("jobs.rb" in line or ":in " in line for line in dead.error_backtrace)
    assert dead.retry_count == 1
    for moment in (dead.created_at, dead.enqueued_at, dead.failed_at, dead.retried_at):
        assert moment is not None
        assert 1_795_490_000 < moment < 1_795_492_000


@pytest.mark.parametrize("version", VERSIONS)
def test_text_that_ruby_buried_unread_has_a_problem_and_no_fields(version):
    dead = stored(version, "dead", "dead")[2]

    assert "not JSON" in (dead.problem or "")
    assert dead.payload == {}
    assert (dead.jid, dead.job_class, dead.display_class, dead.args) == ("", "", "", [])


@pytest.mark.parametrize("version", VERSIONS)
def test_an_active_job_is_shown_by_the_class_and_the_arguments_it_wraps(version):
    first = stored(version, "activejob", "queue:default")[0]

    assert first.job_class.endswith("Wrapper")
    assert (first.display_class, first.display_args) == ("AjOk", [2])


@pytest.mark.parametrize(
    ("form", "shown"),
    [
        ("symbol", ["sym"]),
        ("hash symbol keys", [{"a": 1, "b": 2}]),
        ("kwargs", [1, {"user_id": 5, "opts": {"x": "y"}}]),
        ("globalid nested", [["gid://shop/Person/a+b%2Fc", {"p": "gid://shop/Person/8"}]]),
        ("Time", ["2024-01-02T03:04:05.123456000Z"]),
        ("Duration", [300]),
        ("Range int", [{"begin": 1, "end": 10, "exclude_end": False}]),
        ("custom", [{"amount": 100, "currency": "EUR"}]),
    ],
)
def test_arguments_that_rails_serialised_are_shown_as_what_they_stand_for(form, shown):
    forms = golden("activejob", "rails-8.0.2")["forms"]
    job = record(
        **{"class": "Sidekiq::ActiveJob::Wrapper", "wrapped": "RJob", "args": [{"arguments": forms[form]}]}
    )

    assert job.display_args == shown


def test_a_mail_is_shown_by_mailer_and_action_with_its_own_arguments():
    job = record(
        **{
            "class": "Sidekiq::ActiveJob::Wrapper",
            "wrapped": "ActionMailer::MailDeliveryJob",
            "args": [
                {
                    "arguments": [
                        "UserMailer",
                        "welcome",
                        "deliver_now",
                        {"args": [7], "_aj_ruby2_keywords": ["args"]},
                    ]
                }
            ],
        }
    )

    assert (job.display_class, job.display_args) == ("UserMailer#welcome", [7])


def test_a_display_class_that_the_job_brings_wins():
    job = record(display_class="Nightly report", wrapped="Report")

    assert job.display_class == "Nightly report"


def test_the_last_argument_of_an_encrypted_job_is_masked_for_people_only():
    job = record(args=[1, "c2VjcmV0"], encrypt=True)

    assert job.display_args == [1, "[encrypted data]"]
    assert job.args == [1, "c2VjcmV0"]


def test_masking_a_job_without_arguments_shows_none():
    assert record(args=[], encrypt=True).display_args == []


@pytest.mark.parametrize(
    ("stored", "seconds"),
    [
        (NOW - 10, 10.0),
        (int((NOW - 10) * 1000), 10.0),
        (int(NOW) - 10, 10.5),
        ("2026-11-24T03:13:10.500Z", 10.0),
    ],
)
def test_latency_reads_every_style_of_time(stored, seconds):
    assert record(enqueued_at=stored).latency == pytest.approx(seconds, abs=0.001)


@pytest.mark.parametrize("stored", ["soon", None, 1.76e90, -5, True, [], {}])
def test_a_time_that_is_none_is_unknown(stored):
    job = record(enqueued_at=stored, created_at=stored, failed_at=stored)

    assert (job.enqueued_at, job.created_at, job.failed_at, job.latency) == (None, None, None, 0.0)


def test_latency_falls_back_to_when_the_job_was_made():
    assert record(created_at=NOW - 3).latency == pytest.approx(3.0)


def test_a_clock_that_runs_behind_shows_no_negative_latency():
    assert record(enqueued_at=NOW + 60).latency == 0.0


HOSTILE = [
    b"",
    b"\x00",
    b"\xff\xfe{}",
    b"null",
    b"[1]",
    b'"x"',
    b"12",
    b"{",
    b"{}",
    b'{"class":7,"args":"x","jid":[],"queue":{}}',
    b'{"class":"A","args":{"a":1},"tags":"t","retry_count":"3","error_backtrace":{},"cattr":"x"}',
    b'{"class":"A","args":[1e400],"retry_count":1e400,"created_at":1.76e90}',
    b'{"class":"A","args":[' + b"9" * 5000 + b"]}",
    b'{"class":"A","args":["\\ud800"]}',
    b'{"class":"Sidekiq::ActiveJob::Wrapper","wrapped":{"a":1},"args":[]}',
    b'{"class":"Sidekiq::ActiveJob::Wrapper","wrapped":"ActionMailer::MailDeliveryJob","args":[{"arguments":[]}]}',
    b'{"class":"Sidekiq::ActiveJob::Wrapper","wrapped":"A","args":[{"arguments":7}]}',
    b'{"class":"A","args":[1],"wrapped":["x"],"error_backtrace":"eJw="}',
    b'{"class":"A","args":' + b"[" * 400 + b"]" * 400 + b"}",
    b'{"class":"A","args":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
]


@pytest.mark.parametrize("raw", HOSTILE, ids=lambda raw: repr(raw[:40]))
def test_no_payload_makes_a_view_raise(raw):
    job = JobRecord(raw, clock=StillClock(NOW))

    seen = {
        name: getattr(job, name) for name in dir(JobRecord) if isinstance(vars(JobRecord).get(name), property)
    }

    assert len(seen) > 15
    assert isinstance(job.error_backtrace, list)
    assert isinstance(job.display_class, str)
    assert job.raw == raw
    assert repr(job)


def test_a_backtrace_that_inflates_without_end_is_left_out():
    job = record(error_backtrace=encode_backtrace(["x" * 1000] * 2000))

    assert job.error_backtrace == []


def test_a_backtrace_in_plain_lines_is_read_too():
    assert record(error_backtrace=["a.rb:1", 2, "b.rb:2"]).error_backtrace == ["a.rb:1", "b.rb:2"]


@pytest.mark.parametrize(
    ("stored", "tags"), [(["a", 1], ["a", "1"]), ("a", ["a"]), (None, []), ({"a": 1}, [])]
)
def test_tags_are_always_a_list_of_text(stored, tags):
    assert record(tags=stored).tags == tags


@pytest.mark.parametrize("version", ["7.3.2", "8.1.7"])
def test_rails_current_attributes_are_read_in_both_forms(version):
    job = stored(version, "middleware_fields", "queue:default")[0]

    assert job.cattr["user_id"] == 5
    assert job.cattr["tenant"] == {"a": 1}


def test_a_job_without_current_attributes_has_none():
    assert record().cattr == {}
