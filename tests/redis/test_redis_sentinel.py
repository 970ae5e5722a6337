"""Sentinel: who is master is asked at every connect, so a failover is over with the next call."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from sidekiq_py.errors import RedisDown
from sidekiq_py.redis_connection import RedisConnection, RedisOptions, RedisPool
from tests.helpers import eventually, run_python
from tests.servers import Server, free_port, start_sentinel, start_server


class Family(NamedTuple):
    master: Server
    replica: Server
    sentinels: list[Server]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://:s3cret@{hosts}/main/2"


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    """A master with a replica and three sentinels that give up on a silent master after 300 ms."""
    guard = ("--requirepass", "s3cret", "--masterauth", "s3cret", "--repl-diskless-sync-delay", "0")
    master = start_server("default", tmp_path / "one", port=True, extra_args=guard)
    follow = ("--replicaof", f"127.0.0.1 {master.port}")
    replica = start_server("default", tmp_path / "two", port=True, extra_args=(*guard, *follow))
    eventually(lambda: b"master_link_status:up" in directly(replica).call("INFO", "replication"))
    sentinels = [
        start_sentinel("default", tmp_path / f"sentinel{n}", master=master, password="s3cret", quorum=2)
        for n in range(3)
    ]
    yield Family(master, replica, sentinels)
    for server in (*sentinels, replica, master):
        server.kill()


def directly(server: Server) -> RedisConnection:
    """A connection to this very server, whatever the sentinels say."""
    guarded = "--requirepass" in server.flags
    return RedisOptions.from_url(server.url, password="s3cret" if guarded else None).connect()


def know_each_other(family: Family) -> bool:
    """Every sentinel knows the replica and both other sentinels: a failover would succeed."""
    reports = [RedisOptions.from_url(s.url).connect().call("INFO", "sentinel") for s in family.sentinels]
    return all(b"slaves=1,sentinels=3" in report for report in reports)


@pytest.mark.row("D7")
def test_the_master_is_found_and_after_its_death_the_next_one(family):
    eventually(lambda: know_each_other(family), timeout=15)
    pool = RedisPool(RedisOptions.from_url(family.url))
    pool.call("SET", "key", "before")
    assert directly(family.master).pipeline([("SELECT", 2), ("GET", "key")])[1] == b"before"
    eventually(lambda: directly(family.replica).pipeline([("SELECT", 2), ("GET", "key")])[1] == b"before")

    family.master.kill()

    with pytest.raises(RedisDown):
        pool.call("SET", "key", "during")
    eventually(lambda: writes(pool), timeout=20)
    assert pool.call("GET", "key") == b"after"
    assert directly(family.replica).pipeline([("SELECT", 2), ("GET", "key")])[1] == b"after"
    pool.close()


def writes(pool: RedisPool) -> bool:
    try:
        return bool(pool.call("SET", "key", "after") == b"OK")
    except RedisDown as error:
        assert "s3cret" not in str(error)
        return False


def test_a_dead_sentinel_is_passed_over(family):
    family.sentinels[0].kill()

    assert RedisOptions.from_url(family.url).connect().call("PING") == b"PONG"


@pytest.mark.row("D6")
def test_a_master_that_became_a_replica_is_left_for_the_new_one(tmp_path):
    old = start_server("default", tmp_path / "one", port=True)
    new = start_server("default", tmp_path / "two", port=True)
    sentinel = start_sentinel("default", tmp_path / "sentinel", master=old, quorum=1)
    connection = RedisOptions.from_url(f"redis+sentinel://127.0.0.1:{sentinel.port}/main").connect()
    connection.call("SET", "key", "before")

    directly(old).call("REPLICAOF", "127.0.0.1", new.port)
    directly(sentinel).pipeline(
        [("SENTINEL", "REMOVE", "main"), ("SENTINEL", "MONITOR", "main", "127.0.0.1", new.port, 1)]
    )

    with pytest.raises(RedisDown, match="READONLY") as caught:
        connection.call("SET", "key", "after")
    assert not caught.value.sent
    assert connection.call("SET", "key", "after") == b"OK"
    assert directly(new).call("GET", "key") == b"after"
    for server in (sentinel, old, new):
        server.kill()


def test_a_name_no_sentinel_knows_is_down_with_every_sentinel_s_answer(family):
    options = RedisOptions.from_url(family.url.replace("/main/", "/mian/"))

    with pytest.raises(RedisDown, match="no sentinel names the master 'mian'") as caught:
        options.connect().call("PING")

    assert str(caught.value).count("knows no such master") == 3
    assert not caught.value.sent


def test_no_reachable_sentinel_is_down_and_quick_to_say_so():
    options = RedisOptions.from_url(f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{free_port()}/main")
    started = time.monotonic()

    with pytest.raises(RedisDown, match="no sentinel names the master 'main': 127.0.0.1:.* fails: .*; 127"):
        options.connect().call("PING")

    assert time.monotonic() - started < 2


def test_a_sentinel_that_still_names_the_old_master_does_not_get_us_onto_a_replica(tmp_path):
    master = start_server("default", tmp_path / "one", port=True)
    replica = start_server(
        "default", tmp_path / "two", port=True, extra_args=("--replicaof", f"127.0.0.1 {master.port}")
    )
    late = start_sentinel("default", tmp_path / "sentinel", master=replica, quorum=1)

    with pytest.raises(RedisDown, match="is a slave and not \\(yet\\) the master") as caught:
        RedisOptions.from_url(f"redis+sentinel://127.0.0.1:{late.port}/main").connect().call("PING")

    assert not caught.value.sent
    for server in (late, replica, master):
        server.stop()


def test_a_sentinel_s_password_is_its_own(tmp_path):
    master = start_server("default", tmp_path / "one", port=True)
    sentinel = start_sentinel(
        "default", tmp_path / "sentinel", master=master, quorum=1, extra_args=("--requirepass", "other")
    )
    url = f"redis+sentinel://127.0.0.1:{sentinel.port}/main"

    with pytest.raises(RedisDown, match="fails: NOAUTH|fails: .*[Aa]uth"):
        RedisOptions.from_url(url).connect().call("PING")
    assert RedisOptions.from_url(url, sentinel_password="other").connect().call("PING") == b"PONG"

    sentinel.stop()
    master.stop()


def test_sentinel_works_under_gevent(family):
    code = """
        from gevent import monkey
        monkey.patch_all()
        import sys
        from sidekiq_py.redis_connection import RedisOptions
        print(RedisOptions.from_url(sys.argv[1]).connect().call("PING"))
    """

    assert run_python(code, family.url) == "b'PONG'\n"
