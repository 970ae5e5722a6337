"""What of a job's arguments people get to see."""

from __future__ import annotations

import pytest

from sidekiq_py.redaction import ArgsFilter


def a_job(*args, **fields):
    return {"class": "HardJob", "args": list(args), **fields}


@pytest.mark.parametrize(
    "key", ["password", "PASSWORD", "user_password", "api_token", "client_secret", "cvv"]
)
def test_values_under_telling_keys_are_hidden_at_any_depth(key):
    shown = ArgsFilter()(a_job(1, {"user": [{key: "canary", "name": "bob"}]}))

    assert shown == [1, {"user": [{key: "[FILTERED]", "name": "bob"}]}]


def test_patterns_are_globs_for_the_whole_key():
    shown = ArgsFilter(["pin*"])(a_job({"pin_code": 1, "opinion": 2, "password": 3}))

    assert shown == [{"pin_code": "[FILTERED]", "opinion": 2, "password": 3}]


def test_without_patterns_nothing_is_hidden():
    assert ArgsFilter([])(a_job({"password": 1, "": 2})) == [{"password": 1, "": 2}]


def test_the_last_argument_of_an_encrypted_job_is_named_as_such():
    assert ArgsFilter()(a_job("plain", "Y2lwaGVy", encrypt=True)) == ["plain", "[encrypted data]"]


def test_a_function_of_the_application_has_the_last_word():
    shown = ArgsFilter(custom=lambda job, args: [job["class"], *args])(a_job({"token": 1}))

    assert shown == ["HardJob", {"token": "[FILTERED]"}]


def test_nothing_is_shown_when_that_function_fails():
    def broken(job, args):
        raise ValueError("boom")

    assert ArgsFilter(custom=broken)(a_job("canary", 2)) == ["[FILTERED]", "[FILTERED]"]


def test_the_job_itself_is_left_as_it_is():
    job = a_job({"password": "canary"}, encrypt=True)

    ArgsFilter()(job)

    assert job == a_job({"password": "canary"}, encrypt=True)
