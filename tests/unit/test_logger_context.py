"""Which job a record belongs to."""

from __future__ import annotations

import contextvars
import logging
import threading

import gevent
import pytest

from sidekiq_py.logger import (
    JobContextFilter,
    bind_job,
    context,
    current_tid,
    fields,
    install_record_factory,
    new_tid,
    release_job,
    remove_record_factory,
    sidekiq_context,
    tid,
)

JOB = {"class": "HardJob", "jid": "j1", "queue": "default", "args": []}


@pytest.fixture
def factory():
    """Our record factory is in place."""
    install_record_factory()
    yield
    remove_record_factory()


@pytest.fixture
def job():
    token = bind_job(JOB, "default")
    yield JOB
    release_job(token)


def test_there_are_no_fields_outside_a_job():
    assert fields() == {}


def test_fields_come_in_sidekiqs_order_and_ours_after_them():
    token = bind_job({**JOB, "tags": ["x"], "bid": "b1"}, "low")

    found = list(fields())
    release_job(token)

    assert found == ["tid", "jid", "class", "bid", "tags", "queue", "attempt"]


def test_the_queue_is_the_one_the_job_was_fetched_from(job):
    token = bind_job({**JOB, "queue": "other"}, "low")

    found = fields()["queue"]
    release_job(token)

    assert found == "low"


def test_an_activejob_is_called_by_its_own_class():
    token = bind_job({**JOB, "class": "Sidekiq::ActiveJob::Wrapper", "wrapped": "MailJob"}, "default")

    found = fields()["class"]
    release_job(token)

    assert found == "MailJob"


@pytest.mark.parametrize(
    ("retry", "attempt"),
    [({}, 1), ({"retry_count": 0}, 2), ({"retry_count": -1}, 1), ({"retry_count": 4}, 6)],
    ids=["first", "retry", "retried-by-hand", "sixth"],
)
def test_attempt_counts_executions_from_one(retry, attempt):
    token = bind_job({**JOB, **retry}, "default")

    found = fields()["attempt"]
    release_job(token)

    assert found == attempt


def test_releasing_an_inner_job_brings_back_the_outer_one(job):
    inner = bind_job({**JOB, "jid": "j2"}, "default")

    release_job(inner)

    assert fields()["jid"] == "j1"


def test_context_adds_fields_for_the_length_of_a_block(job):
    with context(order=7), context(line=1):
        inside = fields()

    assert (inside["order"], inside["line"]) == (7, 1)
    assert "order" not in fields()


@pytest.mark.row("J4")
def test_each_greenlet_has_its_own_job():
    seen = {}

    def run(jid):
        token = bind_job({**JOB, "jid": jid}, "default")
        current_tid.set(f"tid-{jid}")
        gevent.sleep(0)  # let the others bind theirs
        seen[jid] = (fields()["jid"], tid())
        release_job(token)

    gevent.joinall([gevent.spawn(run, f"j{n}") for n in range(20)], raise_error=True)

    assert seen == {f"j{n}": (f"j{n}", f"tid-j{n}") for n in range(20)}
    assert fields() == {}


def test_a_copied_context_takes_the_job_into_a_greenlet(job):
    greenlet = gevent.spawn(contextvars.copy_context().run, fields)

    found = greenlet.get()

    assert found["jid"] == "j1"


def test_another_thread_does_not_see_the_job(job):
    seen = []

    thread = threading.Thread(target=lambda: seen.append(fields()))
    thread.start()
    thread.join()

    assert seen == [{}]


def test_tids_of_processors_are_unique_and_never_a_native_threads():
    made = [new_tid() for _ in range(1000)]

    assert len({*made, tid()}) == 1001


def test_every_record_of_any_logger_carries_the_job(factory, job, caplog):
    with caplog.at_level(logging.INFO):
        logging.getLogger("some.library").info("hello")

    assert caplog.records[0].sidekiq["jid"] == "j1"


def test_a_record_outside_a_job_is_left_alone(factory, caplog):
    with caplog.at_level(logging.INFO):
        logging.getLogger("some.library").info("hello")

    assert not hasattr(caplog.records[0], "sidekiq")


def test_extra_fields_named_like_ours_do_no_harm_inside_a_job(factory, job, caplog):
    extra = {"tags": ["theirs"], "queue": "theirs", "jid": "theirs", "class": "theirs"}

    with caplog.at_level(logging.INFO):
        logging.getLogger("some.library").info("hello", extra=extra)

    assert caplog.records[0].tags == ["theirs"]
    assert caplog.records[0].sidekiq["jid"] == "j1"


def test_installing_the_factory_twice_wraps_once(factory):
    before = logging.getLogRecordFactory()

    install_record_factory()

    assert logging.getLogRecordFactory() is before


def test_the_filter_lets_an_applications_format_name_the_job(job):
    record = logging.makeLogRecord({"msg": "hello", "levelname": "INFO"})

    let_through = JobContextFilter().filter(record)

    assert let_through
    assert logging.Formatter("%(jid)s %(class)s %(queue)s %(message)s").format(record) == (
        "j1 HardJob default hello"
    )


def test_the_filter_leaves_blanks_outside_a_job():
    record = logging.makeLogRecord({"msg": "hello"})

    JobContextFilter().filter(record)

    assert logging.Formatter("[%(jid)s] %(message)s").format(record) == "[] hello"


def test_the_structlog_processor_adds_the_job_and_overwrites_nothing(job):
    event = sidekiq_context(None, "info", {"event": "paid", "queue": "theirs"})

    assert event["jid"] == "j1"
    assert event["queue"] == "theirs"
