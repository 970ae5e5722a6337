"""What the real server prints: the lines of a job in each format, whose lines they are, and where they go."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import eventually
from tests.process.stage import LONG, PRELUDE, Stage

HANDLERS = """
import logging, sys

@job("Log")
def log(word):
    logging.getLogger("app.mail").warning("mail to %s", word)
    current_job().logger.info("from the job's own logger")
    print("printed")

@job("Fail")
def fail(secret):
    raise ValueError("on purpose")
"""
STAMP = r"2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def work(stage: Stage, *arguments: str, environ: dict[str, str] | None = None) -> list[str]:
    """The lines of a server that ran a job, failed one with and one without a retry, and ended."""
    server = stage.start(HANDLERS, "-c", "1", *arguments, environ=environ)
    stage.push("Log", "ann", jid="good", tags=["t1", "t 2"])
    stage.push("Fail", "s3cret-argument", jid="bad")
    stage.push("Fail", "s3cret-argument", jid="worst", retry=0)
    eventually(stage.dead, LONG)
    server.wait_for_log("worst")
    stage.wait_until_settled()
    assert server.stop() == 0
    assert "s3cret" not in server.log
    return server.log.splitlines()


@pytest.mark.parametrize(
    ("name", "environ", "head"),
    [
        ("pretty", {}, rf"LEVEL {STAMP} pid=\d+ tid=\w+"),
        ("plain", {"FORCE_COLOR": "1"}, rf"LEVEL {STAMP} pid=\d+ tid=\w+"),
        ("no-timestamp", {}, r"LEVEL pid=\d+ tid=\w+"),
    ],
)
def test_text_lines_are_those_of_sidekiq(stage: Stage, name, environ, head):
    lines = work(stage, "--log-format", name, environ=environ)

    for level, rest in [
        ("INFO ", " jid=good class=Log tags=t1,t 2: start"),
        ("WARN ", " jid=good class=Log tags=t1,t 2: mail to ann"),
        ("INFO ", " jid=good class=Log tags=t1,t 2: from the job's own logger"),
        ("INFO ", r" jid=good class=Log tags=t1,t 2 elapsed=\d+\.\d+: done"),
        ("INFO ", " jid=bad class=Fail: start"),
        ("WARN ", r" jid=bad class=Fail retry_count=0 retry_in=\d+ elapsed=\d+\.\d+: fail"),
        ("ERROR", r" jid=worst class=Fail retry_count=0 elapsed=\d+\.\d+: fail"),
    ]:
        pattern = re.compile(head.replace("LEVEL", level) + rest)
        assert [line for line in lines if pattern.fullmatch(line)], pattern.pattern
    assert lines.count("ValueError: on purpose") == 2


def test_json_is_one_object_a_line_with_the_job_in_every_record(stage: Stage):
    lines = work(stage, "--log-format", "json")

    entries = [json.loads(line) for line in lines if line != "printed"]
    told = {(entry.get("ctx", {}).get("jid"), entry["msg"]): entry for entry in entries}

    assert all(list(entry)[:5] == ["ts", "pid", "tid", "lvl", "msg"] for entry in entries)
    mail, failure = told["good", "mail to ann"], told["bad", "fail"]
    assert (mail["logger"], mail["lvl"]) == ("app.mail", "WARN")
    assert mail["ctx"]["class"] == "Log"
    assert (mail["ctx"]["queue"], mail["ctx"]["attempt"]) == ("default", 1)
    assert failure["err"]["class"] == "ValueError"
    assert failure["err"]["message"] == "on purpose"
    assert 'raise ValueError("on purpose")' in failure["err"]["stack"]
    assert (failure["lvl"], told["worst", "fail"]["lvl"]) == ("WARN", "ERROR")
    assert "retry_in" in failure["ctx"]
    assert "retry_in" not in told["worst", "fail"]["ctx"]


def test_logfmt_is_flat(stage: Stage):
    lines = work(stage, "--log-format", "logfmt")

    done = [line for line in lines if " msg=done " in line]
    failed = [line for line in lines if " msg=fail " in line]
    assert re.fullmatch(
        rf"ts={STAMP} pid=\d+ tid=\w+ lvl=INFO msg=done jid=good class=Log tags=\S+ 2?\S* ?queue=default "
        r"attempt=1 elapsed=\d\.\d+",
        done[0].replace('"', ""),
    )
    assert len(failed) == 2
    assert all("err.class=ValueError err.message=" in line and "\\n" in line for line in failed)


def test_records_go_to_stdout_and_nothing_to_stderr(stage: Stage, tmp_path: Path):
    (tmp_path / "handlers.py").write_text(PRELUDE + HANDLERS)
    stage.push("Fail", "x", jid="bad")
    with (tmp_path / "out").open("wb") as out, (tmp_path / "err").open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "sidekiq_py", "-r", "handlers.py", "--log-format", "json"],
            **{"cwd": tmp_path, "stdout": out, "stderr": err, "stdin": subprocess.DEVNULL},
            env={**os.environ, "REDIS_URL": stage.redis_url},
        )
        try:
            eventually(stage.retries, LONG)
            process.terminate()
            assert process.wait(LONG) == 0
        finally:
            process.kill()

    assert (tmp_path / "err").read_text() == ""
    entries = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    assert entries[-1]["msg"].startswith(("Bye!", "worker"))


@pytest.mark.parametrize(
    ("environ", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colour_is_for_terminals(stage: Stage, tmp_path: Path, environ, coloured):
    (tmp_path / "handlers.py").write_text(PRELUDE)
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "sidekiq_py", "-r", "handlers.py"],
        **{"cwd": tmp_path, "stdin": theirs, "stdout": theirs, "stderr": theirs},
        env={**kept, "TERM": "xterm", "REDIS_URL": stage.redis_url, **environ},
    )
    os.close(theirs)
    try:
        shown = b""
        while b"handler" not in shown:
            shown += os.read(ours, 4096)
    finally:
        process.terminate()
        process.wait(LONG)
        os.close(ours)

    assert (b"\x1b[1;32mINFO \x1b[0m" in shown) is coloured
    assert (b"\x1b[" in shown) is coloured


def test_an_applications_own_logging_keeps_its_form_and_can_name_the_job(stage: Stage):
    stage.start(
        """
import logging
from sidekiq_py.logger import JobContextFilter
handler = logging.FileHandler("app.log")
handler.setFormatter(logging.Formatter("%(name)s %(jid)s %(queue)s %(message)s"))
handler.addFilter(JobContextFilter())
logging.basicConfig(handlers=[handler], level="INFO")
"""
        + HANDLERS
    )
    stage.push("Log", "ann", jid="good")

    app_log = stage.directory / "app.log"
    stage.server.wait_for_log(": done")
    eventually(lambda: "app.mail good default mail to ann\n" in app_log.read_text(), LONG)

    assert "mail to ann" not in stage.server.log
    assert "jid=good class=Log: from the job's own logger" in stage.server.log
    assert "done" not in app_log.read_text()


def test_arguments_are_shown_on_request_and_filtered(stage: Stage):
    stage.start(HANDLERS, environ={"SIDEKIQ_LOG_ARGS": "true"})
    stage.push("Log", "ann", jid="good")
    stage.push("Fail", {"password": "canary", "name": "ann"}, jid="bad")

    log = stage.server.wait_for_log(": fail")

    assert "args=ann: start" in log
    assert "canary" not in log
    assert "[FILTERED]" in log
