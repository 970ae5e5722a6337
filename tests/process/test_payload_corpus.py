"""Whatever bytes somebody pushes: the job runs, waits in the retry set or is dead, and the server goes on."""

from __future__ import annotations

import json

import pytest

from tests.helpers import eventually
from tests.process.stage import LONG, Place, Stage, new_jid, payload

HANDLERS = """
import sys

@job("Run")
def run(*args):
    note("ran", current_job().jid)

@job("Fail")
def fail(*args):
    raise ValueError("on purpose")

@job("GiveUp")
def give_up(*args):
    raise ValueError("for good")

@give_up.retries_exhausted
def _(job, error):
    job["last_words"] = str(error)

def imported(event, args):
    if event in ("import", "exec", "os.system", "subprocess.Popen") and armed:
        note(event, args[0])

armed = []
sys.addaudithook(imported)

@job("Arm")
def arm():
    armed.append(True)
    note("armed")

@job("Disarm")
def disarm():
    armed.clear()
    note("disarmed")
"""
ODD_QUEUES = ["a:b", "x|y", "with space", "ünïcode", "queue:queue", "*?[a]"]


@pytest.fixture(scope="module")
def stage(shared_stage: Stage) -> Stage:
    shared_stage.start(HANDLERS, "-c", "2", "-q", "default", *[f"-q{name}" for name in ODD_QUEUES])
    return shared_stage


def fate(stage: Stage, raw: bytes, queue: str = "default") -> tuple[Place, bytes]:
    """Push the bytes and see where they end up, and as what; then a job for each processor must still run."""
    stage.raw.delete("retry", "dead")
    stage.raw.lpush(f"queue:{queue}", raw)
    stage.wait_until_settled(queue)
    retries, dead = stage.retries(), stage.dead()
    word = new_jid()
    stage.push("Canary", word)
    stage.wait_for_note(f"canary {word}")
    if retries:
        return "retry", *retries
    return ("dead", *dead) if dead else ("ran", raw)


@pytest.mark.row("E1", "E2", "E5")
@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"not JSON",
        b'{"class":"Run","args":[]',
        b'{"class":"Run","args":[]}}',
        b"{'class':'Run','args':[]}",
        b'{"class":"Run","args":[NaN]}',
        b'{"class":"Run","args":["\xff\xfe"]}',
        b'{"class":"Run","args":["\xed\xa0\x80"]}',
        b"\x00\x01\x02",
        b'\xef\xbb\xbf{"class":"Run","args":[]}',
        b'{"class":"Run","args":[' + b"[" * 100_000 + b"]" * 100_000 + b"]}",
    ],
    ids=lambda raw: repr(raw[:40]),
)
def test_bytes_that_are_not_json_are_dead_byte_for_byte(stage: Stage, raw):
    assert fate(stage, raw) == ("dead", raw)


@pytest.mark.row("E3")
@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"[]", "a JSON array, expected an object"),
        (b"null", "a JSON null, expected an object"),
        (b"7", "a JSON number, expected an object"),
        (b'"Run"', "a JSON string, expected an object"),
        (b"{}", "no usable class: expected a non-empty string"),
        (b'{"class":null,"args":[]}', "no usable class: expected a non-empty string"),
        (b'{"class":["Run"],"args":[]}', "no usable class: expected a non-empty string"),
        (b'{"class":"Run","args":{"a":1}}', "args is a JSON object, expected an array"),
        (b'{"class":"Run","args":"a"}', "args is a JSON string, expected an array"),
        (b'{"class":"Run","args":null}', "args is a JSON null, expected an array"),
    ],
)
def test_json_that_is_no_job_is_dead_inside_a_job_that_says_why(stage: Stage, raw, reason):
    place, stored = fate(stage, raw)

    job = json.loads(stored)
    assert (place, job["args"], job["error_message"]) == ("dead", [raw.decode()], reason)
    assert job["queue"] == "default"


@pytest.mark.row("E4")
@pytest.mark.parametrize(
    "odd",
    [
        {"jid": None},
        {"jid": 7},
        {"jid": ["a", {"b": 1}]},
        {"jid": ""},
        {"jid": "a" * 10_000},
        {"queue": None},
        {"queue": {"name": "x"}},
        {"retry": "yes"},
        {"retry": [1]},
        {"retry": 1e300},
        {"retry_count": "many"},
        {"retry_count": {"n": 1}},
        {"created_at": "yesterday"},
        {"created_at": {"a": 1}},
        {"created_at": None},
        {"enqueued_at": 1.76e90},
        {"failed_at": [], "retry_count": 3},
        {"at": 99999999999},
        {"tags": 5},
        {"tags": {"a": "b"}},
        {"bid": ["x"]},
        {"wrapped": {"a": 1}},
        {"wrapped": 5},
        {"wrapped": ["Run"]},
        {"display_class": ["Run"]},
        {"log_level": {"a": 1}},
        {"log_level": 99},
        {"backtrace": "all"},
        {"backtrace": -1},
        {"retry_for": "long"},
        {"retry_queue": 5},
        {"retry_queue": ["low"]},
        {"error_backtrace": 5, "error_message": None, "error_class": {}},
        {"dead": "no"},
        {"cattr": "x", "locale": 5, "encrypt": True},
    ],
    ids=str,
)
def test_odd_values_in_any_field_keep_no_job_from_running_or_from_its_retry(stage: Stage, odd):
    assert fate(stage, payload("Run", 1, **odd))[0] == "ran"

    place, stored = fate(stage, payload("Fail", 1, **odd))

    assert place == "retry"
    assert json.loads(stored)["error_message"] == "on purpose"


def test_a_job_without_args_runs_without_arguments(stage: Stage):
    assert fate(stage, b'{"class":"Run","jid":"bare"}')[0] == "ran"
    stage.wait_for_note("ran bare")


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@pytest.mark.row("E5")
@pytest.mark.parametrize("depth", [99, 150, 400, 800])
@pytest.mark.parametrize("job_class", ["Run", "Fail"])
def test_deep_arguments_are_run_and_retried(stage: Stage, depth, job_class):
    raw = payload(job_class, "here").replace(b'"here"', nested(depth))

    place, stored = fate(stage, raw)

    assert place == ("ran" if job_class == "Run" else "retry")
    assert nested(depth) in stored


@pytest.mark.row("E5")
@pytest.mark.parametrize("depth", [150, 400, 800])
def test_deep_arguments_neither_stop_the_scheduler_nor_keep_a_job_from_its_death(stage: Stage, depth):
    jid = new_jid()
    deep = payload("GiveUp", "here", retry=0).replace(b'"here"', nested(depth))
    stage.raw.delete("dead")
    stage.raw.zadd("schedule", {deep: 1, payload("Run", jid=jid): 2})

    stage.wait_for_note(f"ran {jid}")
    [stored] = eventually(stage.dead, LONG)

    assert nested(depth) in stored
    assert b'"last_words":"for good"' in stored


@pytest.mark.row("E6")
@pytest.mark.parametrize(
    "text",
    [
        b"12345678901234567890",
        b"-12345678901234567890123",
        b"9" * 4000,
        b"0.1",
        b"1.0e+20",
        b"1e+20",
        b"1.5e-09",
        b"9007199254740993",
        b'"caf\xc3\xa9 \xe2\x80\xa8 \\" \\\\ \\n"',
        b'{"b":1,"a":{"":null}}',
    ],
    ids=lambda text: repr(text[:30]),
)
def test_a_failed_job_keeps_its_arguments_byte_for_byte(stage: Stage, text):
    raw = payload("Fail", "here").replace(b'"here"', text)

    place, stored = fate(stage, raw)

    assert place == "retry"
    assert b'"args":[' + text + b"]" in stored


@pytest.mark.row("E7")
@pytest.mark.parametrize(
    "number", [b"9" * 5000, b"1e400", b"-1e999"], ids=["5,000 digits", "1e400", "-1e999"]
)
def test_a_number_that_python_refuses_fails_the_job_and_stays_as_it_is(stage: Stage, number):
    raw = payload("Run", "here").replace(b'"here"', number)

    place, stored = fate(stage, raw)

    assert place == "retry"
    assert b'"args":[' + number + b"]" in stored
    assert "arguments that Python can't read" in json.loads(stored.replace(number, b"0"))["error_message"]


@pytest.mark.row("E9")
def test_fields_that_are_not_ours_pass_through_a_retry_untouched(stage: Stage):
    foreign = (
        b'"bid":"abc","cattr":{"Current":{"user":"gid://app/User/1"}},"wrapped":"MailJob",'
        b'"tags":["a","b"],"traceparent":"00-x","big":123456789012345678901234567890,"f":1.0e+25,'
        b'"deep":{"z":[1,{"y":null}],"a":"\xe2\x82\xac"}'
    )
    raw = payload("Fail")[:-1] + b"," + foreign + b"}"

    place, stored = fate(stage, raw)

    assert place == "retry"
    assert stored.startswith(
        raw[:-1] + b',"error_message":"on purpose","error_class":"ValueError","failed_at":'
    )


@pytest.mark.row("E10")
@pytest.mark.parametrize(
    "created_at",
    [b"1763952000123", b"1763952000", b"1763952000.25", b'"2026-11-24T02:57:07Z"', b"1.76e90", b"-5", b'"x"'],
)
def test_any_form_of_time_survives_a_failure(stage: Stage, created_at):
    raw = payload("Fail", retry_for=3600).replace(b'"created_at":1763952000.5', b'"created_at":' + created_at)

    place, stored = fate(stage, raw)

    job = json.loads(stored)
    assert place == "retry"
    assert isinstance(job["failed_at"], int | float)
    assert isinstance(job.get("created_at", 0), int | float)


@pytest.mark.row("E14")
@pytest.mark.parametrize(
    "name", ["os.system", "__class__", "subprocess.Popen", "sidekiq_py.cli", "Run.__globals__", "../x", "é"]
)
def test_a_class_name_is_a_key_and_nothing_is_imported_by_it(stage: Stage, name):
    stage.push("Arm")
    stage.wait_for_note("armed")

    place, stored = fate(stage, payload(name, "echo pwned"))

    stage.push("Disarm")
    stage.wait_for_note("disarmed")
    job = json.loads(stored)
    assert (place, job["error_class"]) == ("retry", "NameError")
    assert job["error_message"] == f"uninitialized constant {name}"
    assert not [line for line in stage.notes if line.startswith(("exec", "os.system", "subprocess"))]
    assert not [line for line in stage.notes if line.startswith("import") and name.split(".")[0] in line]


@pytest.mark.row("E15")
def test_two_identical_payloads_both_run_and_each_leaves_once(stage: Stage):
    raw = payload("Run", jid="twin")
    stage.raw.lpush("queue:default", raw, raw, raw)

    stage.wait_until_settled()

    assert stage.notes.count("ran twin") == 3


@pytest.mark.row("E16")
@pytest.mark.parametrize("queue", ODD_QUEUES)
def test_queues_of_any_name_are_served_and_retried_to(stage: Stage, queue):
    jid = new_jid()

    assert fate(stage, payload("Run", jid=jid, queue=queue), queue)[0] == "ran"
    place, stored = fate(stage, payload("Fail", queue=queue), queue)

    stage.wait_for_note(f"ran {jid}")
    assert (place, json.loads(stored)["queue"]) == ("retry", queue)
