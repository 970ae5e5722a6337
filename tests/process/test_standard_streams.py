"""A server whose stdout is closed, full or read by nobody runs its jobs; what handlers print is a record."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from sidekiq_py.exit_code import ExitCode
from tests.helpers import eventually
from tests.process.stage import LONG, PRELUDE, Stage

PRINTS = """
import sys
from sidekiq_py import job

@job("Prints")
def prints():
    print("one")
    print("two,", "still two")
    print("three\\nfour", end="")
    sys.stdout.flush()
    print('{"msg": "from a library of ours"}')
    print("not", "{json}", flush=True)
    sys.stdout.write("")
"""


@contextmanager
def shell(stage: Stage, script: str) -> Iterator[subprocess.Popen[str]]:
    """A line of shell in which `sidekiq-py` is the server of canaries. Nothing of it outlives the block."""
    (stage.directory / "handlers.py").write_text(PRELUDE)
    with subprocess.Popen(
        ["bash", "-c", script.replace("sidekiq-py", f"{sys.executable} -m sidekiq_py -r handlers.py")],
        cwd=stage.directory,
        env={"REDIS_URL": stage.redis_url, "PATH": os.environ["PATH"]},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("mode", ["-p0", "-p1"])
@pytest.mark.parametrize(
    ("where", "is_told"),
    [("| head -1", True), ("> /dev/full", True), (">&-", False), (">&- 2>&-", False), ("<&-", False)],
)
def test_jobs_run_and_the_end_is_in_order_wherever_stdout_leads(
    stage: Stage, where: str, is_told: bool, mode: str
):
    with shell(stage, f"(sidekiq-py {mode}; echo $? > code) {where}") as server:
        for number in range(20):
            stage.push("Canary", number)
        eventually(lambda: "canary 19" in stage.notes, LONG)

        [identity] = eventually(lambda: stage.raw.smembers("processes"), LONG)
        stage.raw.lpush(f"{identity.decode()}-signals", "TERM")
        _, said = server.communicate(timeout=LONG)

    assert (stage.directory / "code").read_text() == "0\n"
    assert "Traceback" not in said
    assert "Logging error" not in said
    assert ("log lines are lost, stdout can't be written to" in said) == is_told
    assert said.count("\n") <= 2  # once for each process


def records(stage: Stage) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stage.server.log.splitlines()]


def test_what_a_handler_prints_is_a_record_of_its_job_when_lines_are_for_machines(stage: Stage):
    server = stage.start(PRINTS, "--log-format", "json")
    stage.push("Prints", jid="a" * 24)
    stage.wait_until_settled()
    assert server.stop() == 0

    printed = [each for each in records(stage) if each.get("logger") == "stdout"]
    assert [each["msg"] for each in printed] == ["one", "two, still two", "three", "four", "not {json}"]
    assert {each["ctx"]["jid"] for each in printed} == {"a" * 24}
    assert {"msg": "from a library of ours"} in records(stage)


def test_the_log_level_keeps_back_no_print(stage: Stage):
    stage.launch(PRINTS, "--log-format", "json", "--log-level", "error")
    stage.push("Prints")

    assert '"msg":"two, still two"' in stage.server.wait_for_log("not {json}")


def test_in_logfmt_too(stage: Stage):
    server = stage.start(PRINTS, "--log-format", "logfmt")
    stage.push("Prints")

    assert "msg=one" in server.wait_for_log("logger=stdout")


def test_lines_for_people_show_prints_as_they_are(stage: Stage):
    server = stage.start(PRINTS)
    stage.push("Prints")

    assert "\ntwo, still two\n" in server.wait_for_log("not {json}")


def test_a_command_whose_reader_is_gone_says_nothing(tmp_path: Path):
    script = f"{sys.executable} -m sidekiq_py config | true; exit ${{PIPESTATUS[0]}}"

    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.stderr == ""
    assert done.returncode in (ExitCode.OK, ExitCode.CRASH)
