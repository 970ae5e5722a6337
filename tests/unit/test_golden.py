"""The bytes that real Sidekiq wrote, read by us and written again: not one of them may change."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from sidekiq_py.errors import InvalidPayload
from sidekiq_py.payload import decode_backtrace, encode_backtrace, fields, generate, parse, rebuild
from sidekiq_py.ruby_json import tidy, unreadable_by_ruby
from tests.golden import DIRECTORY, VERSIONS, golden

OF_ALL_FAILURES = ["error_message", "error_class", "failed_at", "retry_count"]


def texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from texts(item)


def jobs(version: str, pattern: str = "*") -> list[bytes]:
    """Every distinct payload of a version, wherever it was found."""
    found = {
        text: None
        for file in sorted((DIRECTORY / version).glob(f"{pattern}.json"))
        for text in texts(json.loads(file.read_text()))
        if is_job(text)
    }
    return [text.encode() for text in found]


def is_job(text: str) -> bool:
    try:
        job = json.loads(text)
    except ValueError:
        return False
    return isinstance(job, dict) and "class" in job and "args" in job


def entries(version: str, name: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = golden(version, name)[name]
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_there_are_samples_to_prove_it_by(version):
    assert len(jobs(version)) > 40


@pytest.mark.parametrize("version", VERSIONS)
def test_a_payload_that_is_parsed_and_generated_has_the_same_bytes(version):
    for raw in jobs(version):
        assert generate(parse(raw), modern_floats=version == "8.1.7") == raw


@pytest.mark.parametrize("version", VERSIONS)
def test_a_payload_whose_fields_are_taken_apart_and_joined_has_the_same_bytes(version):
    for raw in jobs(version):
        assert rebuild(fields(raw)) == raw


@pytest.mark.parametrize("version", VERSIONS)
def test_ruby_s_own_text_needs_no_tidying(version):
    for raw in jobs(version):
        assert tidy(raw) == raw
        assert unreadable_by_ruby(raw) is None


@pytest.mark.parametrize("version", VERSIONS)
def test_a_backtrace_that_ruby_stored_is_read_and_stored_as_the_same_lines(version):
    lines = decode_backtrace(parse(entries(version, "retry")[0]["value"].encode())["error_backtrace"])

    assert len(lines) == 2
    assert decode_backtrace(encode_backtrace(lines)) == lines


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["retry", "dead"])
def test_failures_append_their_fields_in_the_order_we_do(version, name):
    """The order that the tests of failures hold us to is the one in the samples."""
    for entry in entries(version, name):
        try:
            names = list(parse(entry["value"].encode()))
        except InvalidPayload:
            continue
        at = names.index("error_message")
        assert names[at : at + 4] == OF_ALL_FAILURES
        later = [each for each in names[at + 4 :] if each != "error_backtrace"]
        assert later in ([], ["retried_at"])
