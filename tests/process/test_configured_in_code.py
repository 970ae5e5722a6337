"""What the application sets under `@configure_server` counts in workers and supervisor; and when it fails."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import redis as redis_py

from sidekiq_py.exit_code import ExitCode
from tests.helpers import eventually
from tests.process.stage import LONG, PRELUDE, Stage
from tests.server_process import run_sidekiq_py
from tests.servers import free_port, start_server

NOWHERE = {"REDIS_URL": "redis://nowhere.invalid:1"}


def test_redis_set_in_code_is_where_jobs_run_and_where_those_of_a_killed_worker_come_back(stage: Stage):
    jid = stage.push("Killer")
    code = f"""
@configure_server
def configure(config):
    config.redis = {{"url": {stage.redis_url!r}, "read_timeout": 10.0}}

@job("Killer")
def killer():
    note("runs")
    wait_for("end")
"""
    server = stage.start(code, environ=NOWHERE)
    stage.wait_for_note("runs")

    os.kill(server.worker_pid, signal.SIGKILL)

    eventually(lambda: stage.notes == ["runs", "runs"], LONG)
    stage.let("end")
    eventually(lambda: stage.claimed() == [], LONG)
    assert jid not in stage.queue()
    assert "the supervisor waits" not in server.log


def test_limits_set_in_code_are_the_supervisors_too(stage: Stage):
    stage.push("Canary")

    server = stage.start("configure_server(lambda config: setattr(config, 'max_jobs', 1))")

    server.wait_for_log(f"worker {server.worker_pid} has run 1 jobs", LONG)


def test_processes_set_in_code_come_too_late_and_the_log_says_so(stage: Stage):
    server = stage.start("configure_server(lambda config: setattr(config, 'processes', 4))")

    server.wait_for_log("config.processes = 4 comes too late: 1 was started; give -p 4")


@pytest.mark.parametrize("mode", ["-p0", "-p1"])
def test_a_function_under_configure_server_that_fails_is_named_and_nothing_starts(stage: Stage, mode: str):
    server = stage.launch("@configure_server\ndef setup(config):\n    config.concurency = 3\n", mode)

    assert server.wait() == ExitCode.HANDLERS

    last = server.log.splitlines()[-1]
    assert last.startswith("sidekiq-py: @configure_server setup (")
    assert "no option 'concurency'; did you mean 'concurrency'?" in last
    assert "config.concurency = 3" in server.log
    assert "apply_server_hooks" not in server.log


@pytest.mark.parametrize("callback", ["lambda: exit(9)", "lambda: {}['no such key']"])
@pytest.mark.parametrize("mode", ["-p0", "-p1"])
def test_a_startup_callback_that_fails_ends_with_a_documented_code(stage: Stage, mode: str, callback: str):
    code = f"configure_server(lambda config: config.on('startup', {callback}) and None)"

    server = stage.launch(code, mode)

    assert server.wait() == ExitCode.HANDLERS
    assert "sidekiq-py: a callback for 'startup' failed with " in server.log.splitlines()[-1]
    assert stage.raw.smembers("processes") == set()


@pytest.mark.parametrize(
    ("url", "sentences"),
    [
        ("unix://{socket}", ["NOAUTH", "wants a password: put it into the URL"]),
        ("unix://:wrong@{socket}", ["WRONGPASS", "take this password of the default user"]),
        ("unix://:s3cret@{socket}?db=99", ["has no database 99", "give a lower number"]),
        ("unix://al:pass@{socket}", ["NOPERM", "lets user 'al' do less", "ACL SETUSER"]),
        ("redis://localhost:{port}/0", ["cannot reach Redis", "start it, or say where it is"]),
    ],
    ids=["no password", "wrong password", "no such database", "no permission", "no server"],
)
def test_a_redis_that_refuses_at_start_is_named_with_its_origin_and_a_way_out(
    tmp_path: Path, url: str, sentences: list[str]
):
    redis = start_server("default", tmp_path / "redis", extra_args=("--requirepass", "s3cret"))
    try:
        with redis_py.Redis(unix_socket_path=str(redis.socket_path), password="s3cret") as admin:
            admin.execute_command("ACL", "SETUSER", "al", "on", ">pass", "~*", "+info")
        given = url.format(socket=redis.socket_path, port=free_port())

        server = run_sidekiq_py(tmp_path, given, PRELUDE, "-p0")

        assert server.wait() == ExitCode.REDIS
        last = server.log.splitlines()[-1]
        assert last.startswith("sidekiq-py: ")
        assert all(sentence in last for sentence in [*sentences, "from env REDIS_URL"])
        assert not any(password in server.log for password in (":wrong", ":s3cret", ":pass"))
    finally:
        redis.stop()
