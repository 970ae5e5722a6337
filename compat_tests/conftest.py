"""Fixtures for tests with real Ruby Sidekiq. All of it runs on one private Redis, emptied before each test.

    def test_ruby_shows_our_job(ruby, redis):          # runs three times: 6.4, 7.3, 8.1
        ...
        assert ruby.queue("default")["jobs"][0]["jid"] == jid

`ruby` (compat_tests/ruby.py; `@pytest.mark.parametrize("ruby", ["8.1"], indirect=True)` narrows it):
    ruby.release "8.1"   ruby.major 8   ruby.version "8.1.7"   ruby.redis_url
    ruby.push("HardJob", 1, 2, queue="low", at=…)  → jid       class as a string, as another language pushes
    ruby.push_bulk("HardJob", [[1], [2]])          → jids
    ruby.perform_async("HardJob", 1, tags=["x"])   → jid       a class of ruby_fixtures/jobs.rb with set(…)
    ruby.perform_in("HardJob", 60, 1)              → jid
    ruby.queue("default")     → {name, size, latency, jobs: [entry…]}           newest first
    ruby.entries("retry")     → [entry…]  also "schedule", "dead"               newest first
        entry: jid klass display_class display_args args queue tags bid created_at enqueued_at
               error_backtrace value (stored text) item (parsed) score at; times are float seconds
    ruby.entry_action("retry", jid, "kill")   retry, kill, delete, add_to_queue, reschedule + seconds
    ruby.set_action("dead", "retry_all")      retry_all, kill_all, clear
    ruby.processes()   ruby.work()   ruby.stats()
    ruby.process_action(identity, "quiet!")   quiet!, stop!, dump_threads: through Redis
    ruby.get("/busy") → Page(status, headers, body)     ruby.post("/retries/…", retry="Retry")
    ruby.call("metrics", {"minutes": 60})     any method of ruby_fixtures/inspect.rb: history, scan,
        find_job, delete_from_queue, clear_queue, process_count, metrics_for, mark_deploy, deploys…
    ruby.eval("Sidekiq::Queue.new(args[0]).size", "low")   any Ruby; the value must fit JSON
    ruby.run("enqueue.rb", "queue", env={…})  a script in a process of its own; its printed JSON, parsed
    ruby.server(queues=["critical,3", "default"], concurrency=2, timeout=3, poll_interval=0.3, tag=…,
                labels=[…], hostname=…, require="jobs.rb", more={yaml keys}, env={…}) → RubyServer
        .pid .identity .log .returncode .quiet() .dump_threads() .stop() .wait() .kill()
        returns after the first heartbeat; killed when the test ends. stop() is TERM and takes Ruby 2 s
    ruby.ran(jid)   ruby.wait_until_ran(jid)  what the jobs of jobs.rb told: {class, jid, args}
    ruby.on(url)    the same Sidekiq on another Redis, for this test
A Ruby exception is a compat_tests.console.RubyError (.ruby_class, .message). A call costs a millisecond.

`rubies`      all three at once: {"6.4": Ruby, "7.3": Ruby, "8.1": Ruby}
`redis_url`   where everybody connects: redis://127.0.0.1:<free port>
`raw`         a plain redis-py client; replies are bytes
`redis`       our own RedisPool
`sidekiq_py`  starts our real server: `from compat_tests import HANDLERS`, then
    server = sidekiq_py(HANDLERS, "-c", "2", "-q", "default", environ={…})     see tests/server_process.py
    returns after the first heartbeat
    .identity .pid .worker_pid .log .signal("TSTP") .wait() .stop() → exit code; killed when the test ends
    HANDLERS is compat_tests/handlers.py: Python under the class names of jobs.rb, telling in the same list,
    so ruby.ran(jid) and ruby.wait_until_ran(jid) see both languages' executions

Ruby comes from root directories that are built once per machine (compat_tests/roots.py), before the first
test, so that no test's time limit counts it. What can't be had is skipped with one line, and fails the run
when CI=true.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py

from compat_tests.roots import RELEASES, RubyUnavailable, build_all
from compat_tests.ruby import Ruby, interpreter_for
from sidekiq_py.redis_connection import RedisOptions, RedisPool
from tests.helpers import eventually
from tests.server_process import BOOT_TIMEOUT, ServerProcess, server_starter
from tests.servers import Server, start_server

ROOTS = pytest.StashKey[dict[str, Path | RubyUnavailable]]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build the Rubies that the collected tests ask for."""
    if session.config.option.collectonly:
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    say = reporter.write_line if reporter else print
    session.config.stash[ROOTS] = build_all(_wanted(session.items), say)


def _wanted(items: list[pytest.Item]) -> list[str]:
    wanted: set[str] = set()
    for item in items:
        if "rubies" in getattr(item, "fixturenames", ()):
            wanted.update(RELEASES)
        elif hasattr(item, "callspec") and "ruby" in item.callspec.params:
            wanted.add(item.callspec.params["ruby"])
    return [name for name in RELEASES if name in wanted]


class Stock:
    """The session's Rubies, each made when a test first asks for it."""

    def __init__(self, roots: dict[str, Path | RubyUnavailable], redis_url: str) -> None:
        self._roots = roots
        self._redis_url = redis_url
        self._made: dict[str, Ruby] = {}

    def get(self, release: str) -> Ruby:
        if release not in self._made:
            try:
                interpreter = interpreter_for(release, self._roots[release])
            except RubyUnavailable as error:
                (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(error))
            self._made[release] = Ruby(release, interpreter, self._redis_url)
        return self._made[release]

    def end_test(self) -> None:
        for ruby in self._made.values():
            ruby.end_test()

    def close(self) -> None:
        for ruby in self._made.values():
            ruby.close()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Server]:
    directory = Path(tempfile.mkdtemp(prefix="sidekiq-py-compat-"))
    server = start_server("default", directory, port=True)
    yield server
    server.stop()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def raw(redis_server: Server) -> Iterator[redis_py.Redis]:
    """A plain redis-py client for arranging and asserting; replies are bytes. Empties the server first."""
    client = redis_py.Redis.from_url(redis_server.url)
    client.flushall()
    yield client
    client.close()


@pytest.fixture
def redis_url(redis_server: Server, raw: redis_py.Redis) -> str:
    """The URL of an empty server."""
    return redis_server.url


@pytest.fixture
def redis(redis_url: str) -> Iterator[RedisPool]:
    """Our own pool on the same server."""
    pool = RedisPool(RedisOptions.from_url(redis_url))
    yield pool
    pool.close()


@pytest.fixture
def sidekiq_py(tmp_path: Path, redis_url: str, raw: redis_py.Redis) -> Iterator[Callable[..., ServerProcess]]:
    """Starts our real server, on the compat Redis: `sidekiq_py(HANDLERS, "-c", "2", environ={…})`.

    Returns after the first heartbeat, unless `boot=False` or another `redis_url` is given.
    """
    with server_starter(tmp_path, redis_url) as start:

        def start_and_wait(handlers: str, *arguments: str, **more: Any) -> ServerProcess:
            server = start(handlers, *arguments, **more)
            if more.get("boot", True) and "redis_url" not in more:
                eventually(lambda: raw.exists(server.identity), BOOT_TIMEOUT)
            return server

        yield start_and_wait


@pytest.fixture(scope="session")
def ruby_stock(request: pytest.FixtureRequest, redis_server: Server) -> Iterator[Stock]:
    stock = Stock(request.config.stash[ROOTS], redis_server.url)
    yield stock
    stock.close()


@pytest.fixture(params=RELEASES)
def ruby(request: pytest.FixtureRequest, ruby_stock: Stock, redis_url: str) -> Iterator[Ruby]:
    """Real Sidekiq, each generation in turn, on an empty Redis."""
    yield ruby_stock.get(request.param)
    ruby_stock.end_test()


@pytest.fixture
def rubies(ruby_stock: Stock, redis_url: str) -> Iterator[dict[str, Ruby]]:
    """All generations at once, on one empty Redis."""
    yield {name: ruby_stock.get(name) for name in RELEASES}
    ruby_stock.end_test()
