"""Start, done and fail, as Sidekiq says them."""

from __future__ import annotations

import io
import json
import logging

import pytest

from sidekiq_py.job_logger import JobLogger
from sidekiq_py.logger import setup_logging
from sidekiq_py.redaction import ArgsFilter
from tests.unit.untouched_logging import untouched_logging

JOB = {"class": "HardJob", "jid": "j1", "queue": "default", "args": [{"password": "canary"}, 2]}

library = logging.getLogger("some.library")


@pytest.fixture
def out():
    return io.StringIO()


@pytest.fixture
def start(out):
    """Set logging up and give a job logger for it."""
    setups = []

    def run(format="plain", at="info", **options):  # noqa: A002
        forget_pytest()
        setups.append(setup_logging(format=format, level=at, stream=out))
        return JobLogger(levels=setups[-1].levels, **options)

    with untouched_logging() as forget_pytest:
        yield run
        for each in setups:
            each.close()


def lines(out):
    return out.getvalue().splitlines()


def entries(out):
    return [json.loads(line) for line in lines(out)]


def run_job(job_logger, job=JOB, error=None, **outcome):
    """What a processor does around a job."""
    token = job_logger.bind(job, "default")
    if job_logger.enabled:
        job_logger.start(job)
    library.debug("inside")
    if error is not None:
        job_logger.fail(0.1056, error, **outcome)
    elif job_logger.enabled:
        job_logger.done(0.1056)
    job_logger.release(token)


def test_a_job_gives_a_start_and_a_done_line(start, out):
    run_job(start())

    first, second = lines(out)
    assert first.endswith(" jid=j1 class=HardJob: start")
    assert second.endswith(" jid=j1 class=HardJob elapsed=0.106: done")


def test_a_failure_with_a_retry_ahead_is_a_warning(start, out):
    run_job(start("json"), error=ValueError("boom"), retry_count=0, retry_in=24.6)

    entry = entries(out)[-1]
    assert (entry["lvl"], entry["msg"]) == ("WARN", "fail")
    assert entry["ctx"].items() >= {"retry_count": 0, "retry_in": 25, "elapsed": 0.106}.items()
    assert (entry["err"]["class"], entry["err"]["message"]) == ("ValueError", "boom")


def test_a_failure_without_a_retry_ahead_is_an_error(start, out):
    run_job(start("json"), error=ValueError("boom"), retry_count=25)

    entry = entries(out)[-1]
    assert entry["lvl"] == "ERROR"
    assert "retry_in" not in entry["ctx"]


def test_elapsed_is_last_before_the_message_in_a_failure(start, out):
    run_job(start(), error=ValueError("boom"), retry_count=0, retry_in=15)

    assert lines(out)[1].endswith(" retry_count=0 retry_in=15 elapsed=0.106: fail")


def test_skipping_leaves_failures_in(start, out):
    job_logger = start(skip=True)

    run_job(job_logger)
    run_job(job_logger, error=ValueError("boom"))

    assert not job_logger.enabled
    assert [line for line in lines(out) if "jid=" in line] == [lines(out)[0]]
    assert lines(out)[0].endswith(": fail")


def test_above_info_it_is_not_enabled(start, out):
    job_logger = start(at="warn")

    run_job(job_logger)

    assert not job_logger.enabled
    assert lines(out) == []


def test_interrupted_and_dropped_are_told_at_info(start, out):
    job_logger = start()
    token = job_logger.bind(JOB, "default")

    job_logger.interrupted(2.0)
    job_logger.dropped(0.001, "unique")
    job_logger.release(token)

    assert lines(out)[0].endswith(" elapsed=2.0: interrupted")
    assert lines(out)[1].endswith(" reason=unique elapsed=0.001: dropped")


@pytest.mark.row("K3")
def test_arguments_are_not_logged_by_default(start, out):
    run_job(start("json"), error=ValueError("boom"), retry_in=1)

    assert "canary" not in out.getvalue()


def test_arguments_that_are_asked_for_go_through_the_filter(start, out):
    run_job(start("json", show_args=ArgsFilter()))

    assert entries(out)[0]["ctx"]["args"] == [{"password": "[FILTERED]"}, 2]
    assert "args" not in entries(out)[1]["ctx"]


def test_logged_attributes_are_those_that_were_chosen(start, out):
    job = {**JOB, "tags": ["t"], "locale": "fr"}

    run_job(start("json", attributes=["locale"]), job)

    assert entries(out)[0]["ctx"]["locale"] == "fr"
    assert "tags" not in entries(out)[0]["ctx"]


def test_a_job_with_a_lower_level_opens_every_logger_for_itself(start, out):
    run_job(start(at="warn"), {**JOB, "log_level": "debug"})

    assert [line.split(": ")[1] for line in lines(out)] == ["start", "inside", "done"]


def test_other_jobs_stay_quiet_while_one_runs_at_debug(start, out):
    job_logger = start()
    chatty = job_logger.bind({**JOB, "jid": "chatty", "log_level": "debug"}, "default")

    quiet = job_logger.bind({**JOB, "jid": "quiet"}, "default")
    library.debug("not to be seen")
    job_logger.release(quiet)
    library.debug("to be seen")
    job_logger.release(chatty)

    assert [line.split(": ")[1] for line in lines(out)] == ["to be seen"]


def test_levels_are_back_when_the_last_such_job_has_ended(start):
    job_logger = start()
    before = logging.root.level, library.getEffectiveLevel()

    run_job(job_logger, {**JOB, "log_level": "debug"})

    assert (logging.root.level, library.getEffectiveLevel()) == before


def test_a_job_with_a_higher_level_is_quieter(start, out):
    run_job(start(), {**JOB, "log_level": "error"})

    assert lines(out) == []


def test_an_unknown_level_is_ignored_with_one_warning(start, out):
    job_logger = start()

    run_job(job_logger, {**JOB, "log_level": "loud"})
    run_job(job_logger, {**JOB, "log_level": "loud"})

    assert [line.split(": ")[1] for line in lines(out)].count("start") == 2
    assert sum("'loud'" in line for line in lines(out)) == 1


def test_a_job_without_our_handler_is_logged_through_the_applications(caplog):
    job_logger = JobLogger()
    token = job_logger.bind(JOB, "default")

    with caplog.at_level(logging.INFO):
        job_logger.done(0.5)
    job_logger.release(token)

    assert caplog.records[0].message == "done"
    assert caplog.records[0].sidekiq["jid"] == "j1"
    assert caplog.records[0].sidekiq["elapsed"] == 0.5
