"""Lua scripts: found by name, known to Redis by digest."""

from __future__ import annotations

import hashlib

import pytest

from sidekiq_py import scripts
from sidekiq_py.scripts import Script


def test_the_digest_is_the_one_redis_computes():
    script = Script("one", "return 1")

    assert script.sha == hashlib.sha1(b"return 1").hexdigest()


def test_a_call_names_the_digest_and_can_be_put_in_full():
    call = Script("one", "return 1").command(["key"], ["a", 2])

    assert call == ("EVALSHA", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db", 1, "key", "a", 2)
    assert call.in_full() == ("EVAL", "return 1", 1, "key", "a", 2)


def test_a_script_that_does_not_exist_is_an_error_that_names_it():
    with pytest.raises(FileNotFoundError, match=r"no_such_script\.lua"):
        scripts.load("no_such_script")
