"""What a log line looks like, in every format."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from sidekiq_py.logger import bind_job, context, current_tid, release_job
from sidekiq_py.logger.formats import JsonFormatter, LogfmtFormatter, TextFormatter

CREATED = 1795489027.0567  # 2026-11-24T02:57:07.056Z
JOB = {
    "class": "HardJob",
    "jid": "96be2c4f463a75fe8ee4044e",
    "queue": "default",
    "args": ["canary"],
    "tags": ["t1", "t2"],
}


@pytest.fixture(autouse=True)
def processor():
    token = current_tid.set("3il")
    yield
    current_tid.reset(token)


@pytest.fixture
def job():
    """JOB is bound."""
    token = bind_job(JOB, "default")
    yield JOB
    release_job(token)


def a_record(message="done", *args, level=logging.INFO, name="sidekiq.job", **attributes):
    record = logging.LogRecord(name, level, __file__, 1, message, args, None)
    record.created = CREATED
    record.process = 5445
    record.__dict__.update(attributes)
    return record


def with_error(record, error):
    try:
        raise error
    except type(error):
        record.exc_info = sys.exc_info()
    return record


def test_a_plain_line_is_the_line_that_sidekiq_writes(job):
    with context(elapsed=0.0):
        line = TextFormatter().format(a_record())

    assert line == (
        "INFO  2026-11-24T02:57:07.056Z pid=5445 tid=3il jid=96be2c4f463a75fe8ee4044e class=HardJob "
        "tags=t1,t2 elapsed=0.0: done"
    )


def test_outside_a_job_a_line_has_process_and_thread_only():
    line = TextFormatter().format(a_record("Bye!"))

    assert line == "INFO  2026-11-24T02:57:07.056Z pid=5445 tid=3il: Bye!"


def test_a_line_without_timestamp_begins_with_level_and_pid():
    line = TextFormatter(timestamp=False).format(a_record("start"))

    assert line == "INFO  pid=5445 tid=3il: start"


@pytest.mark.parametrize(
    ("level", "word"),
    [(10, "DEBUG"), (20, "INFO "), (30, "WARN "), (40, "ERROR"), (50, "FATAL")],
)
def test_levels_are_called_as_ruby_calls_them(level, word):
    line = TextFormatter(timestamp=False).format(a_record("x", level=level))

    assert line == f"{word} pid=5445 tid=3il: x"


def test_colour_wraps_the_level_and_nothing_else():
    line = TextFormatter(colour=True, timestamp=False).format(a_record("x"))

    assert line == "\x1b[1;32mINFO \x1b[0m pid=5445 tid=3il: x"


def test_a_traceback_follows_the_line(job):
    line = TextFormatter().format(with_error(a_record("fail"), ValueError("boom")))

    first, second, *_, last = line.split("\n")
    assert first.endswith(": fail")
    assert second == "Traceback (most recent call last):"
    assert last == "ValueError: boom"


def test_queue_and_attempt_join_a_text_line_only_as_logged_attributes():
    token = bind_job({**JOB, "retry_count": 1}, "low", ["attempt", "queue", "tags"])

    line = TextFormatter(timestamp=False, attributes=["attempt", "queue", "tags"]).format(a_record())
    release_job(token)

    assert line.endswith("class=HardJob attempt=3 queue=low tags=t1,t2: done")


def test_a_tag_with_a_line_break_can_not_forge_a_line():
    token = bind_job({**JOB, "tags": ["é\nFATAL gone", "\x1b[2J"]}, "default")

    line = TextFormatter(timestamp=False).format(a_record())
    release_job(token)

    assert r"tags=é\nFATAL gone,\x1b[2J: done" in line
    assert "\n" not in line


def test_json_has_sidekiqs_keys_in_sidekiqs_order(job):
    with context(elapsed=0.105):
        line = JsonFormatter().format(a_record())

    assert line.startswith(
        '{"ts":"2026-11-24T02:57:07.056Z","pid":5445,"tid":"3il","lvl":"INFO","msg":"done",'
        '"ctx":{"jid":"96be2c4f463a75fe8ee4044e","class":"HardJob","tags":["t1","t2"],'
    )
    assert json.loads(line)["ctx"]["elapsed"] == 0.105


def test_json_context_has_queue_and_attempt(job):
    entry = json.loads(JsonFormatter().format(a_record()))

    assert entry["ctx"]["queue"] == "default"
    assert entry["ctx"]["attempt"] == 1


def test_json_without_context_has_no_ctx():
    line = JsonFormatter().format(a_record("Bye!"))

    assert line == '{"ts":"2026-11-24T02:57:07.056Z","pid":5445,"tid":"3il","lvl":"INFO","msg":"Bye!"}'


def test_json_tells_class_message_and_stack_of_an_error():
    entry = json.loads(JsonFormatter().format(with_error(a_record("fail"), ValueError("boom"))))

    assert entry["err"]["class"] == "ValueError"
    assert entry["err"]["message"] == "boom"
    assert entry["err"]["stack"].endswith("ValueError: boom")


def test_json_names_a_logger_that_is_not_ours():
    entry = json.loads(JsonFormatter().format(a_record("GET /", name="urllib3.connectionpool")))

    assert entry["logger"] == "urllib3.connectionpool"


def test_json_takes_extra_fields_of_the_call_into_the_context():
    entry = json.loads(JsonFormatter().format(a_record("paid", amount=12)))

    assert entry["ctx"] == {"amount": 12}


def _circular():
    value: list[object] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), 2**80, "a\nb\u2028c", "\ud800", object(), {(1, 2): b"\xff"}, _circular()],
    ids=["nan", "infinity", "big", "breaks", "surrogate", "object", "odd-dict", "circular"],
)
def test_json_stays_one_valid_line_whatever_is_in_it(value):
    line = JsonFormatter().format(a_record("x", odd=value, nan=float("nan")))

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    entry = json.loads(line, parse_constant=refuse)
    assert "odd" in entry["ctx"]
    assert "\n" not in line


def test_logfmt_is_flat_and_quotes_what_needs_it():
    token = bind_job({**JOB, "tags": ["a b", 'c"d']}, "default")

    line = LogfmtFormatter().format(a_record("order %s is = done", "x\ny", nested={"a": 1}))
    release_job(token)

    assert line == (
        'ts=2026-11-24T02:57:07.056Z pid=5445 tid=3il lvl=INFO msg="order x\\ny is = done" '
        'jid=96be2c4f463a75fe8ee4044e class=HardJob tags="a b,c\\"d" queue=default attempt=1 '
        'nested="{\\"a\\":1}"'
    )


def test_logfmt_tells_of_an_error_in_flat_keys():
    line = LogfmtFormatter().format(with_error(a_record("fail"), ValueError("boom")))

    assert " err.class=ValueError err.message=boom err.stack=" in line
    assert "\n" not in line


@pytest.mark.row("K3")
def test_arguments_are_in_no_format_even_as_a_logged_attribute():
    token = bind_job(JOB, "default", ["args", "tags"])

    lines = [each.format(a_record()) for each in (TextFormatter(), JsonFormatter(), LogfmtFormatter())]
    release_job(token)

    assert not any("canary" in line for line in lines)
