"""A server inside another program: jobs are greenlets where gevent has patched that, threads elsewhere."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis as redis_py

from tests.helpers import eventually
from tests.process.stage import LONG, PRELUDE, Stage, payload
from tests.server_process import ServerProcess, run_program
from tests.servers import start_server

KINDS = ("threads", pytest.param("greenlets", marks=pytest.mark.soak))  # gunicorn -k gevent is tried always
SHORT_LIFE = {"SIDEKIQ_HEARTBEAT_TTL": "2"}

BEGIN = """
import sys
if sys.argv[1] == "greenlets":
    from gevent import monkey
    monkey.patch_all()
import logging
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
"""
MIDDLE = """
from sidekiq_py import Shutdown, configure_embed, run_async

@configure_embed
def server(config):
    config.concurrency = 3
    config.timeout = 1
"""
STOP_WHEN_TOLD = """
wait_for("end")
server.stop()
note("stopped")
"""
END = "\nserver.run()" + STOP_WHEN_TOLD
FAILS = """
@job("Fails")
def fails():
    raise LookupError("nothing here")
"""

Host = Callable[..., ServerProcess]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def host(stage: Stage, kind: str) -> Iterator[Host]:
    """`host(HANDLERS, middle=…, end=…)` starts a program with a server in it."""

    def start(
        handlers: str = "",
        *,
        middle: str = MIDDLE,
        end: str = END,
        boots: bool = True,
        environ: dict[str, str] | None = None,
    ) -> ServerProcess:
        text = BEGIN + PRELUDE + handlers + middle + end
        program = run_program(stage.directory, stage.redis_url, text, kind, environ=environ)
        stage.servers.append(program)
        return program.wait_until_booted() if boots else program

    return start


def info_of(stage: Stage, identity: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(stage.raw.hget(identity, "info"))
    return found


def test_jobs_run_fail_and_wait_as_in_any_server(stage: Stage, host: Host):
    program = host(FAILS)
    stage.push("Canary", "now")
    failing = json.loads(stage.push("Fails"))
    stage.raw.zadd("schedule", {stage.push("Canary", "later", queue="elsewhere"): 1.0})

    stage.wait_for_note("canary now")
    assert stage.retry_of(failing["jid"])["error_message"] == "nothing here"
    eventually(lambda: stage.raw.zcard("schedule") == 0, LONG)
    stage.let("end")
    stage.wait_for_note("stopped")

    assert program.wait() == 0
    assert stage.claimed() == []
    assert stage.raw.smembers("processes") == set()
    assert stage.raw.get("stat:processed") == b"2"


def test_it_is_shown_as_embedded_and_obeys_nobody_outside(stage: Stage, host: Host):
    program = host()
    identity = program.identity
    eventually(lambda: stage.raw.sismember("processes", identity), LONG)
    assert info_of(stage, identity)["embedded"] is True
    assert info_of(stage, identity)["concurrency"] == 3

    stage.raw.lpush(f"{identity}-signals", "TERM")
    program.wait_for_log("TERM was left for this process, and is ignored")

    stage.push("Canary")
    stage.wait_for_note("canary tweet")


def test_jobs_wait_side_by_side(stage: Stage, host: Host):
    host('@job("Waits")\ndef waits(n):\n    note("waits", n)\n    wait_for("go")\n    note("waited", n)\n')
    for number in range(3):
        stage.push("Waits", number)
    for number in range(3):
        stage.wait_for_note(f"waits {number}")
    stage.let("go")
    for number in range(3):
        stage.wait_for_note(f"waited {number}")


LONG_JOB = """
@job("Long")
def long():
    note("begun")
    try:
        wait_for("never")
    finally:
        note("cleaned up")
"""


def test_a_job_that_is_not_done_in_time_is_interrupted_and_back_on_its_queue(stage: Stage, host: Host):
    program = host(LONG_JOB)
    raw = stage.push("Long")
    stage.wait_for_note("begun")

    stage.let("end")

    stage.wait_for_note("stopped")
    assert program.wait() == 0
    assert "cleaned up" in stage.notes
    assert stage.queue() == [raw]
    assert stage.claimed() == []


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ('server.run()\nwait_for("end")\n', 0),
        ('with server:\n    wait_for("end")\n    raise KeyError("the program")\n', 1),
    ],
    ids=["at its end", "by an error"],
)
def test_a_program_that_ends_without_a_stop_stops_all_the_same(stage: Stage, host: Host, end: str, code: int):
    program = host(LONG_JOB, end=end)
    raw = stage.push("Long")
    stage.wait_for_note("begun")

    stage.let("end")

    assert program.wait() == code
    assert stage.queue() == [raw]
    assert stage.claimed() == []
    assert stage.raw.smembers("processes") == set()


def test_a_handler_in_a_thread_that_hears_nothing_keeps_the_program_no_longer(stage: Stage):
    text = (
        BEGIN + PRELUDE + '@job("Deaf")\ndef deaf():\n    note("begun")\n    time.sleep(600)\n' + MIDDLE + END
    )
    program = run_program(stage.directory, stage.redis_url, text, "threads")
    stage.servers.append(program)
    raw = stage.push("Deaf")
    stage.wait_for_note("begun")

    stage.let("end")

    assert program.wait() == 0
    assert stage.queue() == [raw]
    assert stage.raw.smembers("processes") == set()


def test_jobs_of_a_program_that_is_killed_run_elsewhere(stage: Stage, host: Host):
    program = host(LONG_JOB, environ=SHORT_LIFE)
    raw = stage.push("Long")
    stage.wait_for_note("begun")
    program.kill()
    assert stage.claimed() == [raw]

    stage.start(LONG_JOB, environ=SHORT_LIFE)

    eventually(lambda: stage.notes.count("begun") == 2, LONG)


def test_a_job_has_its_timeout(stage: Stage, host: Host):
    host('@job("Slow", timeout=0.2)\ndef slow():\n    wait_for("never")\n')
    job = json.loads(stage.push("Slow"))

    stored = stage.retry_of(job["jid"])

    assert stored["error_message"] == "Slow ran for longer than its timeout, 0.2 s"
    assert stored["error_class"] == "Timeout::Error"


@pytest.mark.row("B3")
def test_a_handler_that_computes_does_not_look_dead(stage: Stage, host: Host):
    program = host(
        '@job("Computes")\ndef computes(seconds):\n    end = time.monotonic() + seconds\n    note("begun")\n'
        "    while time.monotonic() < end: pass\n"
        '    note("computed")\n',
        environ=SHORT_LIFE,
    )
    identity = program.identity
    stage.push("Computes", 6)
    stage.wait_for_note("begun")

    def still_lives() -> bool:
        assert stage.raw.exists(identity), "its heartbeat has expired"
        return "computed" in stage.notes

    eventually(still_lives, LONG, every=0.1)


def test_hooks_that_wait_hold_up_no_other_job(stage: Stage, host: Host):
    middle = MIDDLE + (
        "    config.death_handlers.append(lambda job, error: wait_for('go'))\n"
        "    config.server_middleware.add(noted)\n"
        "\ndef noted(payload, queue, call_next):\n"
        "    note('middleware', payload['class'])\n"
        "    return call_next()\n"
    )
    host('@job("Dies")\ndef dies():\n    raise ValueError("dead")\n', middle=middle)
    stage.push("Dies", retry=0)
    eventually(stage.dead, LONG)

    stage.push("Canary", "meanwhile")

    stage.wait_for_note("canary meanwhile")
    assert "middleware Canary" in stage.notes
    stage.let("go")
    stage.wait_until_settled()


def test_handlers_push_and_know_their_job_and_run_coroutines(stage: Stage, host: Host):
    handlers = (
        '@job("Pushes")\n'
        "def pushes():\n"
        "    import asyncio\n"
        "    async def word():\n"
        "        await asyncio.sleep(0.01)\n"
        "        return current_job().jid\n"
        "    canary.perform_async(run_async(word()))\n"
    )
    host("from sidekiq_py import run_async\n" + handlers)
    job = json.loads(stage.push("Pushes"))

    stage.wait_for_note(f"canary {job['jid']}")


def test_the_program_keeps_its_signals_and_its_logging(stage: Stage, host: Host):
    end = (
        "import signal\n"
        "def state():\n"
        "    names = ('INT', 'TERM', 'TSTP', 'TTIN', 'HUP', 'USR1', 'USR2')\n"
        "    signals = [signal.getsignal(getattr(signal, 'SIG' + name)) for name in names]\n"
        "    return signals, list(logging.root.handlers), logging.root.level, logging.getLogRecordFactory()\n"
        "before = state()\n"
        "server.run()\n"
        "note('same while it runs', state()[:3] == before[:3])\n"
        "canary.perform_async('here')\n"
        "wait_for('end')\n"
        "server.stop()\n"
        "note('same afterwards', state() == before)\n"
    )
    host(end=end)
    stage.wait_for_note("canary here")
    stage.let("end")

    stage.wait_for_note("same afterwards True")
    assert "same while it runs True" in stage.notes


def test_a_quiet_server_takes_no_new_jobs(stage: Stage, host: Host):
    begin = 'server.run()\nwait_for("quiet")\nserver.quiet()\nnote("quiet")\n'
    host(end=begin + STOP_WHEN_TOLD)
    stage.push("Canary", "before")
    stage.wait_for_note("canary before")
    stage.let("quiet")
    stage.wait_for_note("quiet")

    raw = stage.push("Canary", "after")

    stage.let("end")
    stage.wait_for_note("stopped")
    assert stage.queue() == [raw]


def test_it_may_run_again_after_a_stop(stage: Stage, host: Host):
    host(end="server.run()\nserver.stop()\nserver.stop()\n" + END)
    stage.push("Canary", "again")
    stage.wait_for_note("canary again")
    stage.let("end")
    stage.wait_for_note("stopped")


@pytest.mark.row("J5")
def test_a_child_of_the_program_has_no_server(stage: Stage, host: Host):
    end = (
        "server.run()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    note('child runs a server', server.is_running)\n"
        "    canary.perform_async('from the child')\n"
        "    server.stop()\n"
        "    time.sleep(0.5)\n"
        "    sys.exit(7)\n"
        "note('child', os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        "canary.perform_async('from the parent')\n"
        "wait_for('end')\n"
        "server.stop()\n"
        "note('stopped')\n"
    )
    program = host(end=end)

    stage.wait_for_note("child 7")
    stage.wait_for_note("canary from the parent")
    assert stage.notes.count("canary from the child") == 1
    assert "child runs a server False" in stage.notes
    stage.let("end")
    assert program.wait() == 0


@pytest.mark.row("J5")
def test_a_child_that_a_handler_forks_ends_with_the_handler(stage: Stage, host: Host):
    handlers = (
        '@job("Forks")\n'
        "def forks():\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        time.sleep(0.2)\n"
        "        return\n"
        "    note('child', os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    host(handlers)
    stage.push("Forks")

    stage.wait_for_note("child 0")
    stage.push("Canary")
    stage.wait_for_note("canary tweet")
    stage.wait_until_settled()
    assert stage.raw.get("stat:failed") in (None, b"0")


WRONG = (
    "for attempt in range(2):\n"
    "    try:\n"
    "        server.run()\n"
    "    except Exception as error:\n"
    "        note(type(error).__name__, error)\n"
    "import threading\n"
    "note('left', [each.name for each in threading.enumerate() if each.name == 'sidekiq'])\n"
)


def test_a_redis_that_is_not_there_is_an_error_of_run(stage: Stage, host: Host):
    program = host(end=WRONG, boots=False, environ={"REDIS_URL": "redis://localhost:1"})

    assert program.wait() == 0, program.log
    first, second, left = stage.notes
    assert first == second
    assert first.startswith("RedisDown cannot reach Redis at localhost:1")
    assert left == "left []"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("config.concurrency = 0", "InvalidConfig"),
        ("config.wrong = 1", "InvalidConfig @configure_embed server"),
        ("config.on('startup', lambda: 1 // 0)", "HandlersNotLoaded a callback for 'startup' failed with"),
    ],
)
def test_what_is_configured_wrong_is_an_error_of_run(stage: Stage, host: Host, line: str, said: str):
    program = host(middle=MIDDLE + f"    {line}\n", end=WRONG, boots=False)

    assert program.wait() == 0, program.log
    first, second, left = stage.notes
    assert first == second
    assert first.startswith(said), first
    assert left == "left []"
    assert stage.raw.smembers("processes") == set()


def test_without_a_handler_it_does_not_run(stage: Stage, kind: str):
    text = BEGIN + PRELUDE.partition("@job")[0] + MIDDLE + WRONG
    program = run_program(stage.directory, stage.redis_url, text, kind)
    stage.servers.append(program)

    assert program.wait() == 0, program.log
    assert stage.notes[0].startswith("HandlersNotLoaded no handler is registered: import the modules")


def test_what_the_program_decides_is_told_to_count_for_nothing(stage: Stage, host: Host):
    program = host(middle=MIDDLE + "    config.max_memory = '512M'\n")

    assert "config.max_memory counts for nothing here: the server is embedded" in program.log


def test_both_hooks_of_the_program_count(stage: Stage, host: Host):
    handlers = (
        "from sidekiq_py import configure_client\n"
        "@configure_client\n"
        "def client(config):\n"
        "    config.client_middleware.add(marked)\n"
        "@configure_server\n"
        "def general(config):\n"
        "    config.on('startup', lambda: note('startup'))\n"
        "def marked(job_class, payload, queue, call_next):\n"
        "    payload['marked'] = True\n"
        "    return call_next()\n"
        "@job('Shows')\n"
        "def shows():\n"
        "    note('marked', current_job().payload.get('marked'))\n"
    )
    host(handlers, end="server.run()\nshows.perform_async()\n" + STOP_WHEN_TOLD)

    stage.wait_for_note("marked True")
    assert "startup" in stage.notes


@pytest.mark.parametrize("name", ["INT", "TERM"])
def test_signals_mean_the_program_wherever_they_strike(stage: Stage, host: Host, name: str):
    """Python calls their handlers in whichever greenlet runs: here nearly always in one of the server's."""
    end = (
        "import signal\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "with server:\n"
        "    note('runs')\n"
        "    wait_for('end')\n"
    )
    busy = (
        '@job("Busy")\n'
        "def busy():\n"
        "    note('busy')\n"
        "    while True:\n"
        "        sum(range(2000))\n"
        "        time.sleep(0)\n"
    )
    program = host(busy, end=end)
    stage.push("Busy")
    stage.wait_for_note("busy")

    program.signal(name)

    assert program.wait() == (7 if name == "TERM" else -signal.SIGINT), program.log
    assert "KeyboardInterrupt" in program.log or name == "TERM"
    assert stage.raw.smembers("processes") == set()
    assert stage.claimed() == []


# -- what a host program may do with it ----------------------------------------------------------------


def test_whoever_calls_stop_waits_for_the_same_end(stage: Stage, host: Host, kind: str):
    end = (
        "import signal, threading\n"
        "def on_term(*_):\n"
        "    note('asked to stop')\n"
        "    server.stop()\n"
        "    note('stopped in the handler')\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, on_term)\n"
        "server.run()\n"
        "wait_for('end')\n"
        "server.stop()\n"
    )
    program = host(LONG_JOB, middle=MIDDLE.replace("timeout = 1", "timeout = 3"), end=end)
    raw = stage.push("Long")
    stage.wait_for_note("begun")
    stage.let("end")
    program.wait_for_log("shutting down")

    program.signal("TERM")

    if kind == "threads":
        assert program.wait() == 0, program.log
        assert "stopped in the handler" in stage.notes
    else:  # gevent calls handlers in its event loop, where nobody may wait: an error, and the program's end
        assert program.wait() == 1
        assert "stop() was called in gevent's event loop, which can't wait" in program.log
    assert stage.queue() == [raw]
    assert stage.claimed() == []
    assert stage.raw.smembers("processes") == set()


def test_a_stop_that_is_interrupted_goes_on_and_can_be_called_again(stage: Stage, host: Host):
    end = (
        "server.run()\n"
        "try:\n"
        "    wait_for('end')\n"
        "    server.stop()\n"
        "except KeyboardInterrupt:\n"
        "    note('interrupted')\n"
        "    server.stop()\n"
        "note('running', server.is_running)\n"
    )
    program = host(LONG_JOB, middle=MIDDLE.replace("timeout = 1", "timeout = 3"), end=end)
    raw = stage.push("Long")
    stage.wait_for_note("begun")
    stage.let("end")
    program.wait_for_log("shutting down")

    program.signal("INT")

    stage.wait_for_note("running False")
    assert program.wait() == 0, program.log
    assert "interrupted" in stage.notes
    assert stage.queue() == [raw]
    assert stage.raw.smembers("processes") == set()


def test_there_is_one_at_a_time(stage: Stage, host: Host):
    end = (
        "from sidekiq_py import Embedded\n"
        "def attempt(what, run):\n"
        "    try:\n"
        "        run()\n"
        "    except RuntimeError as error:\n"
        "        note(what, error)\n"
        "server.run()\n"
        "attempt('same', server.run)\n"
        "attempt('another', Embedded().run)\n"
    )
    host(end=end + STOP_WHEN_TOLD)
    sentence = "an embedded server is running in this process already: stop it first"
    stage.wait_for_note(f"another {sentence}")
    assert f"same {sentence}" in stage.notes
    stage.push("Canary")
    stage.wait_for_note("canary tweet")


def test_a_job_can_not_stop_its_own_server(stage: Stage, host: Host):
    handlers = (
        '@job("Stops", retry=0)\n'
        "def stops():\n"
        "    try:\n"
        "        server.stop()\n"
        "    except RuntimeError as error:\n"
        "        note(error)\n"
    )
    host(handlers)
    stage.push("Stops")
    stage.wait_for_note("a job can't stop the server that runs it: it would wait for itself")
    stage.push("Canary")
    stage.wait_for_note("canary tweet")


def test_where_redis_may_be_down_it_starts_when_redis_is_there(stage: Stage, host: Host, tmp_path: Path):
    redis = start_server("default", tmp_path / "redis")
    raw = redis_py.Redis(unix_socket_path=str(redis.socket_path))
    raw.lpush("queue:default", payload("Canary", "at last"))
    redis.stop()
    end = END.replace("server.run()", "server.run(redis_may_be_down=True)\nnote('returned')")
    program = host(end=end, boots=False, environ={"REDIS_URL": redis.url})
    stage.wait_for_note("returned")
    program.wait_for_log("The embedded server starts when it is back")
    assert program.is_running

    redis.start()

    raw.lpush("queue:default", payload("Canary", "at last"))
    stage.wait_for_note("canary at last")
    stage.let("end")
    assert program.wait() == 0, program.log
    assert raw.smembers("processes") == set()
    redis.stop()


def test_one_that_waits_for_redis_can_be_stopped(stage: Stage, host: Host):
    end = END.replace("server.run()", "server.run(redis_may_be_down=True)")
    program = host(end=end, boots=False, environ={"REDIS_URL": "redis://localhost:1"})
    program.wait_for_log("The embedded server starts when it is back")
    stage.let("end")

    assert program.wait() == 0, program.log
    assert "Traceback" not in program.log


def test_failures_are_logged_though_a_dict_config_put_the_loggers_to_sleep(stage: Stage, host: Host):
    middle = (
        "import logging.config\n"
        "out = {'class': 'logging.StreamHandler', 'stream': sys.stdout}\n"
        "root = {'level': 'INFO', 'handlers': ['out']}\n"
        "logging.config.dictConfig({'version': 1, 'root': root, 'handlers': {'out': out}})\n"
    )
    program = host(FAILS, middle=middle + MIDDLE)
    stage.push("Fails")
    program.wait_for_log("LookupError: nothing here")


def test_a_slow_log_handler_of_the_program_holds_up_nobody(stage: Stage, host: Host):
    middle = MIDDLE + (
        "\nclass Slow(logging.Handler):\n"
        "    def emit(self, record):\n"
        "        note('logging')\n"
        "        wait_for('go')\n"
        "logging.getLogger('sidekiq').addHandler(Slow(logging.WARNING))\n"
    )
    host(FAILS, middle=middle)
    stage.push("Fails")
    stage.wait_for_note("logging")

    stage.push("Canary", "meanwhile")

    stage.wait_for_note("canary meanwhile")
    stage.let("go")


def test_a_coroutine_is_cancelled_by_the_timeout_of_its_job(stage: Stage, host: Host):
    handlers = (
        "import asyncio\n"
        "from sidekiq_py import run_async\n"
        "async def waits():\n"
        "    try:\n"
        "        await asyncio.sleep(600)\n"
        "    except asyncio.CancelledError:\n"
        "        note('cancelled')\n"
        "        raise\n"
        '@job("Waits", timeout=0.5)\n'
        "def wait():\n"
        "    run_async(waits())\n"
    )
    host(handlers)
    job = json.loads(stage.push("Waits"))

    assert stage.retry_of(job["jid"])["error_message"] == "Waits ran for longer than its timeout, 0.5 s"
    assert "cancelled" in stage.notes


def test_a_job_that_wants_a_thread_at_the_end_of_the_program_is_put_back_and_does_not_fail(
    stage: Stage, host: Host
):
    handlers = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        '@job("Wants")\n'
        "def wants():\n"
        "    pool = ThreadPoolExecutor(1)\n"
        "    note('begun')\n"
        "    while True:\n"
        "        pool.submit(int).result()\n"
        "        time.sleep(0.01)\n"
    )
    program = host(handlers, end='server.run()\nwait_for("end")\n')
    raw = stage.push("Wants")
    stage.wait_for_note("begun")
    stage.let("end")

    assert program.wait() == 0, program.log
    assert stage.queue() == [raw]
    assert stage.retries() == []


def test_startup_callbacks_know_the_server(stage: Stage, host: Host):
    middle = MIDDLE + "    config.on('startup', lambda: note('identity', server.identity))\n"
    program = host(middle=middle)

    assert f"identity {program.identity}" in stage.notes


@pytest.mark.parametrize(
    ("begin", "said"),
    [
        (
            "monkey.patch_socket()\n",
            "gevent has patched socket of this program, but not threading, time: an embedded server needs",
        ),
        (
            "monkey.patch_all()\n",
            "run() was called in a native thread of a program that gevent has patched: call it in the main",
        ),
    ],
)
def test_where_jobs_could_not_run_run_says_so(stage: Stage, begin: str, said: str):
    text = f"from gevent import monkey, get_hub\n{begin}" + PRELUDE + MIDDLE
    text += (
        "def attempt():\n"
        "    try:\n"
        "        server.run()\n"
        "    except RuntimeError as error:\n"
        "        note(error)\n"
        "get_hub().threadpool.apply(attempt)\n"
    )
    program = run_program(stage.directory, stage.redis_url, text)
    stage.servers.append(program)

    assert program.wait() == 0, program.log
    assert stage.notes[0].startswith(said)
