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


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("config.max_memory = '2 apples'", "max_memory must be a size of 16M or more, such as 512M or 2G"),
        ("config.max_jobs = 'many'", "max_jobs must be a whole number of 1 or more, got 'many'"),
        ("config.concurrency = 0", "concurrency"),
        ("config.unknown = 'handbak'", "unknown must be one of retry, handback, dead"),
        ("config.log_level = 'loud'", "log_level must be one of debug, info, warn, error, fatal"),
        ("config.dialect = 5", "dialect must be 6, 7 or 8, got 5"),
    ],
)
def test_what_a_file_may_not_say_code_may_not_say_either(stage: Stage, setting: str, sentence: str):
    server = stage.launch(f"@configure_server\ndef setup(config):\n    {setting}\n")

    assert server.wait() == ExitCode.HANDLERS
    last = server.log.splitlines()[-1]
    assert last.startswith("sidekiq-py: @configure_server")
    assert sentence in last


def test_code_may_say_what_a_file_may_say(stage: Stage):
    server = stage.start("@configure_server\ndef setup(config):\n    config.max_memory = '17M'\n")

    server.wait_for_log("max_memory can't be met: it is 17 MB", LONG)


def test_how_the_log_looks_may_be_set_in_code(stage: Stage):
    server = stage.start(
        """
@configure_server
def setup(config):
    config.log_format = "json"
    config.log_level = "debug"
    config.logged_job_attributes.append("tenant")

@job("Debugs")
def debugs():
    current_job().logger.debug("seen")
    print("told")
"""
    )
    stage.push("Debugs", tenant="acme")

    log = server.wait_for_log('"msg":"told"', LONG)
    assert '"msg":"seen"' in log
    assert '"tenant":"acme"' in log


def test_what_code_no_longer_sets_is_gone_with_a_rolling_restart(stage: Stage):
    server = stage.start("configure_server(lambda config: setattr(config, 'timeout', 7))")
    handlers = stage.directory / "server0_handlers.py"
    handlers.write_text(PRELUDE)

    server.signal("HUP")
    server.wait_for_log("takes over from")
    eventually(lambda: len(server.worker_pids) == 1, LONG)

    assert server.stop() == 0
    assert [line.split("have ")[1] for line in server.log.splitlines() if "shutting down" in line] == [
        "7 s to finish",
        "25 s to finish",
    ]


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
    assert "user_code" not in server.log  # nor any other line of ours


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
