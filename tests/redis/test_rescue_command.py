"""`sidekiq-py rescue`: the jobs of dead processes, put back by hand."""

from __future__ import annotations

import pytest

from sidekiq_py import keys
from sidekiq_py.cli import run
from sidekiq_py.exit_code import ExitCode

DEAD = "gone:1:aaaaaaaaaaaa"
ALIVE = "here:2:bbbbbbbbbbbb"
FORGOTTEN = "lost:3:cccccccccccc"


@pytest.fixture
def claims(raw):
    raw.hset(keys.CLAIM_OWNERS, DEAD, b'{"queues":["low"]}')
    raw.hset(keys.CLAIM_OWNERS, ALIVE, b'{"queues":["low"]}')
    raw.hset(ALIVE, "info", "{}")
    raw.lpush(keys.claim(DEAD, "low"), "first", "second")
    raw.lpush(keys.claim(ALIVE, "low"), "runs")
    raw.lpush(keys.claim(FORGOTTEN, "low"), "third")
    raw.rpush("queue:low", "waits")
    return raw


def test_jobs_of_the_dead_go_back_to_the_head_of_their_queue_in_order(claims, redis_url, capsys):
    assert run(["rescue", "--redis-url", redis_url]) == ExitCode.OK

    assert claims.lrange("queue:low", 0, -1) == [b"waits", b"second", b"first"]
    assert claims.lrange(keys.claim(ALIVE, "low"), 0, -1) == [b"runs"]
    assert capsys.readouterr().out == f"{DEAD}: 2 back on low\n2 jobs of 1 dead process\n"


def test_all_looks_for_claims_that_nobody_registered(claims, redis_url, capsys):
    run(["rescue", "--all", "--redis-url", redis_url])

    assert claims.keys(f"{keys.CLAIM_PREFIX}*") == [keys.claim(ALIVE, "low").encode()]
    assert "3 jobs of 2 dead processes" in capsys.readouterr().out


def test_nothing_to_do_is_said(raw, redis_url, capsys):
    assert run(["rescue", "--redis-url", redis_url]) == ExitCode.OK

    assert capsys.readouterr().out == "0 jobs of 0 dead processes\n"


def test_a_redis_that_is_down_is_named(capsys):
    assert run(["rescue", "--redis-url", "redis://127.0.0.1:1/0"]) == ExitCode.REDIS

    assert "127.0.0.1:1" in capsys.readouterr().err


def test_a_redis_that_can_not_be_reached_is_named_with_its_origin(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SIDEKIQ_REDIS_URL", f"unix://:s3cret@{tmp_path}/none")

    assert run(["rescue"]) == ExitCode.REDIS

    said = capsys.readouterr().err
    assert said.startswith("sidekiq-py: cannot reach Redis at ")
    assert f"unix://:***@{tmp_path}/none, from env SIDEKIQ_REDIS_URL: start it" in said
