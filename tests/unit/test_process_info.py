"""Who a process says it is: the parts of its `info` that no beat shows."""

from __future__ import annotations

import json
import os
import re

import pytest

from sidekiq_py.config import Config
from sidekiq_py.process_info import ProcessInfo, resident_kilobytes
from sidekiq_py.version import VERSION


def info(**options: object) -> ProcessInfo:
    config = Config(hostname="worker-1", **options)
    config.freeze()
    return ProcessInfo.of_this_process(config, now=1_795_490_000)


def test_an_identity_is_host_pid_and_a_nonce_as_ruby_s_is():
    assert re.fullmatch(rf"worker-1:{os.getpid()}:[0-9a-f]{{12}}", info().identity)


def test_two_lives_of_one_process_id_have_two_identities():
    assert len({info().identity for _ in range(50)}) == 50


@pytest.mark.parametrize(
    ("labels", "shown"),
    [([], ["python"]), (["blue"], ["blue", "python"]), (["python", "x", "x"], ["python", "x"])],
)
def test_the_label_that_tells_our_kind_is_there_once(labels, shown):
    assert json.loads(info(labels=labels).json)["labels"] == shown


def test_started_at_keeps_its_point():
    assert b'"started_at":1795490000.0,' in info().json


@pytest.mark.parametrize(
    ("tag", "busy", "quiet", "title"),
    [
        ("shop", 0, False, f"sidekiq-py {VERSION} shop [0 of 5 busy]"),
        ("shop", 5, True, f"sidekiq-py {VERSION} shop [5 of 5 busy] stopping"),
        ("", 1, False, f"sidekiq-py {VERSION}  [1 of 5 busy]"),
    ],
)
def test_the_title_has_sidekiq_s_form(tag, busy, quiet, title):
    assert info(tag=tag).title(busy, quiet=quiet) == title


def test_memory_is_told_in_kilobytes():
    ballast = bytearray(64 * 1024 * 1024)
    ballast[::4096] = b"x" * len(ballast[::4096])

    assert 64 * 1024 < resident_kilobytes() < 64 * 1024 * 1024
