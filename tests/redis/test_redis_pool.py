"""Sharing connections: between threads, across a fork, and at the limit."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from sidekiq_py.errors import RedisDown, RedisError
from sidekiq_py.redis_connection import RedisOptions, RedisPool
from sidekiq_py.scripts import Script
from tests.helpers import run_python


def test_the_three_verbs_work_on_a_borrowed_connection(redis):
    assert redis.call("SET", "a", 1) == b"OK"
    assert redis.pipeline([("INCR", "a"), ("GET", "a")]) == [2, b"2"]
    assert redis.run_script(Script("get", "return redis.call('GET', KEYS[1])"), ["a"]) == b"2"


def test_the_connection_used_last_is_lent_first(redis):
    with redis.connection() as one, redis.connection() as two:
        ids = [one.call("CLIENT", "ID"), two.call("CLIENT", "ID")]

    assert [redis.call("CLIENT", "ID") for _ in range(3)] == [ids[0]] * 3


def test_an_unused_pool_opens_no_connection(redis_options, raw):
    before = len(raw.client_list())

    RedisPool(redis_options, size=50)

    assert len(raw.client_list()) == before


def test_never_more_connections_than_its_size(redis_options, raw):
    pool = RedisPool(redis_options, size=3)
    before = len(raw.client_list())

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(lambda n: pool.call("INCRBY", "n", n), range(300)))

    assert raw.get("n") == b"44850"
    assert len(raw.client_list()) - before <= 3
    pool.close()


def test_each_thread_reads_its_own_replies(redis_options):
    pool = RedisPool(redis_options, size=3)

    with ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(lambda n: pool.call("ECHO", n), range(500)))

    assert replies == [str(n).encode() for n in range(500)]
    pool.close()


def test_a_borrower_that_waits_too_long_learns_size_and_timeout(redis_options):
    pool = RedisPool(redis_options, size=2, timeout=0.05)

    with (
        pool.connection(),
        pool.connection(),
        pytest.raises(RedisError, match=r"all 2 Redis connections .* busy for 0\.05 s"),
    ):
        pool.call("PING")


def test_a_waiting_borrower_gets_the_connection_that_comes_back(redis_options):
    pool = RedisPool(redis_options, size=1, timeout=5)
    replies = []
    with pool.connection():
        waiting = threading.Thread(target=lambda: replies.append(pool.call("PING")))
        waiting.start()

    waiting.join()

    assert replies == [b"PONG"]
    pool.close()


def test_a_failed_call_leaves_the_pool_whole(tmp_path, redis_options):
    pool = RedisPool(RedisOptions.from_url(f"unix://{tmp_path}/none.sock"), size=1, timeout=0.05)

    for _ in range(3):
        with pytest.raises(RedisDown):
            pool.call("PING")


def test_an_error_of_the_borrower_brings_the_connection_back(redis_options):
    pool = RedisPool(redis_options, size=1, timeout=0.05)

    with pytest.raises(ZeroDivisionError), pool.connection():
        _ = 1 / 0

    assert pool.call("PING") == b"PONG"
    pool.close()


def test_a_closed_pool_leaves_no_connection_and_opens_again_when_used(redis_options, raw):
    pool = RedisPool(redis_options)
    before = len(raw.client_list())
    with pool.connection() as lent:
        lent.call("PING")
        pool.call("PING")

        pool.close()

    assert len(raw.client_list()) == before
    assert pool.call("PING") == b"PONG"
    pool.close()


FORK = """
    import os, sys
    from sidekiq_py.redis_connection import RedisOptions, RedisPool

    pool = RedisPool(RedisOptions.from_url(sys.argv[1]), size=2, timeout=1)
    with pool.connection() as held:
        before = held.call("CLIENT", "ID"), pool.call("CLIENT", "ID")
        child = os.fork()
        if child == 0:
            after = pool.call("CLIENT", "ID"), held.call("CLIENT", "ID")
            os._exit(0 if not set(before) & set(after) else 1)
        _, status = os.waitpid(child, 0)
        assert status == 0
        assert (held.call("CLIENT", "ID"), pool.call("CLIENT", "ID")) == before
    print("parent and child kept apart")
"""


@pytest.mark.row("J5")
@pytest.mark.parametrize(
    "patch", ["", "from gevent import monkey; monkey.patch_all()\n"], ids=["plain", "gevent"]
)
def test_after_a_fork_the_child_opens_its_own_connections(redis_url, patch):
    printed = run_python(patch + FORK.replace("\n    ", "\n"), redis_url)

    assert printed == "parent and child kept apart\n"


def test_names_itself_without_its_password():
    pool = RedisPool(RedisOptions.from_url("redis://user:s3cret@example.test/2"), size=7)

    assert repr(pool) == "<RedisPool of 7 to redis://user:***@example.test/2>"
