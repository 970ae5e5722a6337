"""A payload is an open mapping: what we don't know passes through byte for byte, and little is refused."""

from __future__ import annotations

import base64
import json
import zlib

import pytest

from sidekiq_py.errors import InvalidPayload, UnknownJobClass
from sidekiq_py.payload import (
    UnreadableArguments,
    decode_backtrace,
    display_class,
    encode_backtrace,
    error_class,
    error_message,
    fields,
    new_jid,
    parse,
    put,
    read_timestamp,
    rebuild,
    write_changes,
)


def edited(raw: bytes, **changes: object) -> bytes:
    """The bytes after a job was parsed, changed and written back, as every failure does it."""
    before, after = parse(raw), parse(raw)
    after.update(changes)
    stored = fields(raw)
    write_changes(stored, before, after)
    return rebuild(stored)


# -- what runs, and what can't -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        b'{"class":"A","args":[]}',
        b'{"class":"A"}',
        b'{"class":"A","args":[],"jid":7,"retry":"x","queue":{},"created_at":[],"tags":1,"retry_count":"3"}',
        b' {\n"class" : "A" , "args" : [ ] } ',
        b'{"class":"os.system","args":["true"]}',
        b'{"class":"A","args":' + b"[" * 150 + b"]" * 150 + b"}",
    ],
    ids=lambda raw: repr(raw[:40]),
)
def test_odd_types_beside_class_and_args_are_no_reason_to_refuse_a_job(raw):
    job = parse(raw)

    assert isinstance(job["class"], str)
    assert isinstance(job["args"], list)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "not JSON"),
        (b"{oops", "not JSON"),
        (b"\x80\x04\x95", "not JSON"),
        (b'{"class":"A","args":["\xff"]}', "not JSON"),
        (b'{"class":"A","args":["\\ud800"]}', "not JSON"),
        (b'{"class":"A","args":[NaN]}', "not JSON"),
        (b'{"class":"A","args":[1,]}', "not JSON"),
        (b'{"class":"A","args":["\t"]}', "not JSON"),
        (b'\xef\xbb\xbf{"class":"A","args":[]}', "not JSON"),
        (b'{"class":"A","args":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "not JSON"),
        (b"[1]", "a JSON array, expected an object"),
        (b'"x"', "a JSON string, expected an object"),
        (b"null", "a JSON null, expected an object"),
        (b"12", "a JSON number, expected an object"),
        (b"true", "a JSON boolean, expected an object"),
        (b'{"args":[]}', "no usable class"),
        (b'{"class":null,"args":[]}', "no usable class"),
        (b'{"class":"","args":[]}', "no usable class"),
        (b'{"class":["A"],"args":[]}', "no usable class"),
        (b'{"class":"A","args":{"a":1}}', "args is a JSON object, expected an array"),
        (b'{"class":"A","args":null}', "args is a JSON null, expected an array"),
    ],
    ids=lambda value: repr(value[:40]),
)
def test_bytes_that_could_never_run_are_refused_with_the_reason(raw, reason):
    with pytest.raises(InvalidPayload, match=reason):
        parse(raw)


@pytest.mark.parametrize("args", [b"[1e400]", b"[" + b"9" * 5000 + b"]", b'[{"a":[-1e400]}]'])
def test_arguments_with_a_number_beyond_python_are_kept_for_the_job_to_fail_with(args):
    raw = b'{"class":"A","args":' + args + b',"jid":"j"}'

    job = parse(raw)

    assert isinstance(job["args"], UnreadableArguments)
    assert job["args"].reason
    assert job["jid"] == "j"
    assert edited(raw) == raw


@pytest.mark.parametrize(
    "raw",
    [
        b'{"class":"A","args":[1e400,"\xff"]}',
        b'{"class":"A","args":[1e400],"x":"\xff"}',
        b"[1e400]",
        b"1e400",
    ],
)
def test_a_number_beyond_python_excuses_nothing_else(raw):
    with pytest.raises(InvalidPayload):
        parse(raw)


# -- byte for byte -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        b"12345678901234567890",
        b"9" * 4000,
        b"9" * 5000,
        b"[1e400,1.50,1.0e+20,1e20,-0.0,1E5]",
        b'"\\u00e9\\/\\u001F"',
        b'{"b":1,"a":{"b":[ 1 , 2 ]},"a":2}',
        b"null",
        b'[["user_id",5]]',
    ],
    ids=lambda value: repr(value[:30]),
)
@pytest.mark.parametrize("key", ["args", "bid", "cattr", "unknown", "wrapped", "tags"])
def test_what_an_edit_does_not_concern_keeps_its_bytes(key, value):
    if key == "args":
        value = b"[" + value + b"]"
    raw = b'{"jid":"j","class":"A","' + key.encode() + b'":' + value + b',"z":1}'

    assert edited(raw, retry_count=0) == raw[:-1] + b',"retry_count":0}'


def test_a_changed_field_keeps_its_place_and_a_new_one_goes_last():
    raw = b'{"class":"A","queue":"a","args":[],"retry_count":0}'

    assert (
        edited(raw, retry_count=1, retried_at=1.0, queue="b")
        == b'{"class":"A","queue":"b","args":[],"retry_count":1,"retried_at":1.0}'
    )


def test_a_field_that_was_taken_out_is_gone():
    stored = fields(b'{"class":"A","at":1,"args":[]}')

    write_changes(stored, {"class": "A", "at": 1}, {"class": "A"})

    assert rebuild(stored) == b'{"class":"A","args":[]}'


@pytest.mark.parametrize(("before", "after"), [(1, 1.0), (1.0, 1), (True, 1), (0, False)])
def test_a_change_of_type_alone_is_a_change(before, after):
    stored = fields(json.dumps({"a": before}).encode())

    write_changes(stored, {"a": before}, {"a": after})

    assert rebuild(stored) == json.dumps({"a": after}, separators=(",", ":")).encode()


@pytest.mark.parametrize(("number", "text"), [(1e20, b"1.0e+20"), (1e-5, b"1.0e-05"), (2.0, b"2.0")])
def test_a_float_that_is_put_in_is_spelt_as_ruby_does(number, text):
    stored = fields(b"{}")

    put(stored, "x", number)

    assert rebuild(stored) == b'{"x":' + text + b"}"


# -- times ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "seconds"),
    [
        (1795490317.25, 1795490317.25),
        (1795490317250, 1795490317.25),
        (1795490317, 1795490317.0),
        (99_999_999_999, 99_999_999_999.0),
        (100_000_000_000, 100_000_000.0),
        (0, 0.0),
        ("2026-11-24T03:18:37.250Z", 1795490317.25),
        ("2026-11-24T04:18:37.250+01:00", 1795490317.25),
    ],
)
def test_a_time_is_read_by_its_own_json_type(stored, seconds):
    assert read_timestamp(stored) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    "stored", [None, True, False, "", "soon", [], {}, -1, -0.5, 1.76e90, 10**40, 1e300, float("inf")]
)
def test_what_can_be_no_time_is_none(stored):
    assert read_timestamp(stored) is None


# -- errors --------------------------------------------------------------------------------------------


class Shouting(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


class Outer:
    class Inner(Exception):
        pass


def local_error() -> Exception:
    class Local(Exception):
        pass

    return Local()


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (ValueError(), "ValueError"),
        (zlib.error(), "zlib.error"),
        (json.JSONDecodeError("", "", 0), "json.decoder.JSONDecodeError"),
        (UnknownJobClass("x"), "NameError"),
        (Outer.Inner(), f"{__name__}.Outer.Inner"),
        (local_error(), f"{__name__}.local_error.Local"),
    ],
)
def test_an_error_class_has_a_name_without_angle_brackets(error, name):
    assert error_class(error) == name


@pytest.mark.row("E12")
@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("boom é <b>"), "boom é <b>"),
        (ValueError("x" * 1_000_000), "x" * 10_000),
        (ValueError("é" * 10_001), "é" * 10_000),
        (ValueError("half \ud800 pair"), "half \ufffd pair"),
        (Shouting(), "!!! ERROR MESSAGE THREW AN ERROR !!!"),
        (ValueError(), ""),
    ],
    ids=lambda value: repr(value)[:20] if isinstance(value, str) else type(value).__name__,
)
def test_an_error_message_can_always_be_stored(error, text):
    assert error_message(error) == text


# -- the backtrace codec -------------------------------------------------------------------------------

LINES = ["app/jobs.py:12:in 'perform'", "é"]


def test_a_backtrace_is_json_deflated_in_base64_on_one_line():
    text = encode_backtrace(LINES * 100)

    assert "\n" not in text
    assert json.loads(zlib.decompress(base64.b64decode(text, validate=True))) == LINES * 100


def test_a_backtrace_broken_into_lines_as_old_versions_do_is_read():
    assert decode_backtrace(base64.encodebytes(base64.b64decode(encode_backtrace(LINES))).decode()) == LINES


@pytest.mark.row("E13")
@pytest.mark.parametrize(
    "stored",
    [
        None,
        "",
        "no base64!",
        7,
        ["plain"],
        base64.b64encode(b"not zlib").decode(),
        base64.b64encode(zlib.compress(b'{"a":1}')).decode(),
        base64.b64encode(zlib.compress(b"[1,2]")).decode(),
        base64.b64encode(zlib.compress(b'["\xff"]')).decode(),
        encode_backtrace(["x" * (2 * 1024 * 1024)]),
    ],
    ids=lambda stored: repr(stored)[:20],
)
def test_a_damaged_or_endless_backtrace_is_no_lines(stored):
    assert decode_backtrace(stored) == []


# -- names ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields_", "name"),
    [
        ({}, "A"),
        ({"wrapped": "W"}, "W"),
        ({"wrapped": "W", "display_class": "D"}, "D"),
        ({"wrapped": ""}, "A"),
    ],
)
def test_a_job_is_shown_by_what_people_know_it_by(fields_, name):
    assert display_class({"class": "A", **fields_}) == name


def test_a_jid_is_24_hex_digits_and_new_each_time():
    jids = {new_jid() for _ in range(100)}

    assert len(jids) == 100
    assert all(len(jid) == 24 and int(jid, 16) and jid == jid.lower() for jid in jids)
