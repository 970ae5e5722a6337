"""The same behaviour unpatched, under gevent, and in a native thread of a gevent process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import run_python

UNPATCHED = """
def run(check):
    check()

def on_main(act):
    act()
"""
GEVENT = """
from gevent import monkey
monkey.patch_all()
import gevent

def run(check):
    gevent.spawn(check).get()

def on_main(act):
    act()
"""
NATIVE_THREAD = """
from gevent import monkey
monkey.patch_all()
import gevent
gevent.get_hub()  # as in a server: two threads that make their first hub at once can wait for each other
start_new_thread = monkey.get_original("_thread", "start_new_thread")
allocate_lock = monkey.get_original("_thread", "allocate_lock")
wanted = []

def run(check):
    ended = []
    def guarded():
        try:
            check()
            ended.append(None)
        except BaseException as error:
            ended.append(error)
    start_new_thread(guarded, ())
    while not ended:
        gevent.sleep(0.005)
        while wanted:
            wanted.pop()()
    if ended[0]:
        raise ended[0]

def on_main(act):
    "Child processes belong to the main thread's hub."
    done = allocate_lock()
    done.acquire()
    wanted.append(lambda: (act(), done.release()))
    done.acquire()
"""
MODES = pytest.mark.parametrize("mode", [UNPATCHED, GEVENT, NATIVE_THREAD], ids=["plain", "gevent", "native"])

CHECK = """
import sys, time
from pathlib import Path
from sidekiq_py.embedded_redis import EmbeddedRedis
from sidekiq_py.errors import RedisDown
from sidekiq_py.redis_connection import RedisOptions, RedisPool
from sidekiq_py.scripts import Script

server = EmbeddedRedis(Path(sys.argv[1]), port=sys.argv[2] == "tcp").start()
options = RedisOptions.from_url(server.url)

def raises_down(call):
    try:
        call()
    except RedisDown as error:
        return error
    raise AssertionError("no RedisDown")

def check():
    connection, pool = options.connect(), RedisPool(options, size=2)
    large = [b"x" * 100_000] * 20
    assert connection.run_script(Script("echo", "return ARGV"), [], large) == large
    assert pool.pipeline([("INCR", "n")] * 3)[2] - pool.pipeline([("INCR", "n")])[0] == -1
    assert connection.call("BLPOP", "empty", 0.05) is None

    error = raises_down(lambda: options.connect(read_timeout=0.05).call("BLPOP", "empty", 1))
    assert error.sent and "Timeout" in str(error), error

    pool.call("CLIENT", "KILL", "ID", connection.call("CLIENT", "ID"))
    time.sleep(0.2)
    assert connection.call("PING") == b"PONG", "a connection that was closed at rest is replaced"

    on_main(server.kill)
    time.sleep(0.2)
    assert not raises_down(lambda: connection.call("PING")).sent
    assert not raises_down(lambda: pool.call("PING")).sent
    on_main(server.start)
    assert connection.call("PING") == pool.call("PING") == b"PONG"
    connection.disconnect()
    pool.close()

try:
    run(check)
    run(check)
finally:
    server.stop()
print("fine")
"""


@MODES
@pytest.mark.parametrize("transport", ["unix", "tcp"])
def test_calls_timeouts_kills_and_restarts_behave_the_same(mode, transport, tmp_path):
    assert run_python(mode + CHECK, str(tmp_path), transport) == "fine\n"


SHARED_POOL = """
import sys
from concurrent.futures import ThreadPoolExecutor
from sidekiq_py.redis_connection import RedisOptions, RedisPool

pool = RedisPool(RedisOptions.from_url(sys.argv[1]), size=2)

def echo(number):
    return pool.call("ECHO", number)

def check():
    assert [echo(number) for number in range(100)] == [str(number).encode() for number in range(100)]

hub_threads = gevent.get_hub().threadpool
jobs = [hub_threads.spawn(echo, number) for number in range(200)]
greenlets = [gevent.spawn(echo, number) for number in range(200)]
run(check)
assert [job.get() for job in jobs] == [str(number).encode() for number in range(200)]
assert [greenlet.get() for greenlet in greenlets] == [str(number).encode() for number in range(200)]
print("fine")
"""


def test_greenlets_and_native_threads_share_a_pool_object_but_never_a_socket(redis_url):
    assert run_python(NATIVE_THREAD + SHARED_POOL, redis_url) == "fine\n"


def test_importing_the_connection_brings_no_gevent():
    printed = run_python("import sys, sidekiq_py.redis_connection; print('gevent' in sys.modules)")

    assert printed == "False\n"


OTHERS_RUN_ON = """
from gevent import monkey
monkey.patch_all()
import gevent, sys
from sidekiq_py.redis_connection import RedisOptions

waiting = gevent.spawn(RedisOptions.from_url(sys.argv[1]).connect().call, "BLPOP", "empty", 0.3)
ticks = 0
while not waiting.ready():
    gevent.sleep(0.01)
    ticks += 1
print(ticks > 10)
"""


def test_a_greenlet_that_waits_for_redis_lets_the_others_run(redis_url):
    assert run_python(OTHERS_RUN_ON, redis_url) == "True\n"


RECONNECTS = """
import os, sys
from sidekiq_py.redis_connection import RedisOptions

connection = RedisOptions.from_url(sys.argv[1]).connect()

def open_files():
    return len(os.listdir("/proc/self/fd"))

def check():
    connection.call("PING")
    before = open_files()
    for _ in range(1000):
        connection.disconnect()
        connection.call("PING")
    assert open_files() == before, (open_files(), before)
    connection.disconnect()

run(check)
print("fine")
"""


@pytest.mark.row("C20")
@MODES
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files as Linux shows them")
def test_a_thousand_reconnects_leave_no_open_file(mode, redis_url):
    assert run_python(mode + RECONNECTS, redis_url) == "fine\n"
