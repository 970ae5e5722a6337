"""The documents' and examples' Ruby halves, and the demo on a machine that has Ruby."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import redis as redis_py

from compat_tests.ruby import Ruby
from tests.documents import PAGES, ROOT, blocks_of
from tests.helpers import eventually
from tests.server_process import ServerProcess

SLOW = 30.0  # seconds; the machine may be busy
MIGRATION = ROOT / "examples" / "rails-migration"

SidekiqPy = Callable[..., ServerProcess]


def run_ruby(ruby: Ruby, script: str, **environ: str) -> str:
    """What the script printed."""
    return subprocess.run(
        ruby.command("ruby", script),
        env={**ruby.environment(), **environ},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_a_class_moves_to_python_and_back(ruby: Ruby, sidekiq_py: SidekiqPy) -> None:
    # Put beside the harness's own fixtures, where the enqueuer requires "jobs".
    ruby.write("migration.rb", (MIGRATION / "ruby" / "jobs.rb").read_text())
    enqueuer = (MIGRATION / "ruby" / "enqueue.rb").read_text().replace('"jobs"', '"migration"')
    enqueue = ruby.write("migration_enqueue.rb", enqueuer)
    theirs = ruby.server(queues=["default"], require="migration.rb")
    ours = sidekiq_py((MIGRATION / "python" / "handlers.py").read_text(), "-q", "python")

    run_ruby(ruby, enqueue)
    eventually(lambda: "Ruby writes the report of 2030-01 for account 7" in theirs.log, SLOW)
    eventually(lambda: theirs.log.count("Ruby mails the report of 2030-01 to account 7") == 1, SLOW)

    run_ruby(ruby, enqueue, REPORTS_QUEUE="python")
    ours.wait_for_log("Python writes the report of 2030-01 for account 7")
    eventually(lambda: theirs.log.count("Ruby mails the report of 2030-01 to account 7") == 2, SLOW)

    run_ruby(ruby, enqueue, REPORTS_QUEUE="default")
    eventually(lambda: theirs.log.count("Ruby writes the report") == 2, SLOW)
    assert ours.log.count("Python writes") == 1


def test_the_readme_s_ruby_class_and_python_handler_fit(
    ruby: Ruby, sidekiq_py: SidekiqPy, raw: redis_py.Redis
) -> None:
    found = {block.language: block.text for block in blocks_of(ROOT / "README.md") if "HardJob" in block.text}
    script = ruby.write("readme.rb", 'require "sidekiq"\n' + found["ruby"])
    handlers = next(block for block in blocks_of(ROOT / "README.md") if block.file == "app/jobs.py")
    sidekiq_py(handlers.text, "-q", "python")

    run_ruby(ruby, script)

    eventually(lambda: raw.llen("queue:default") == 1, SLOW)
    job = json.loads(raw.lindex("queue:default", 0))
    assert (job["class"], job["args"]) == ("ReportJob", ["bob", 5])


RUBY_BLOCKS = [block.text for page in PAGES for block in blocks_of(page) if block.language == "ruby"]


@pytest.mark.parametrize("text", RUBY_BLOCKS, ids=range(len(RUBY_BLOCKS)))
def test_every_ruby_block_of_the_pages_runs(ruby: Ruby, text: str) -> None:
    run_ruby(ruby, ruby.write("block.rb", 'require "sidekiq"\n' + text))


def test_the_demo_lets_ruby_push_where_there_is_one(ruby: Ruby, redis_url: str, tmp_path: Path) -> None:
    wrapper = tmp_path / "ruby"
    wrapper.write_text(f'#!/bin/sh\nexec {shlex.join(ruby.command("ruby"))} "$@"\n')
    wrapper.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"

    shown = subprocess.run(
        [sys.executable, "-m", "sidekiq_py", "demo"],
        env={**os.environ, **ruby.environment(), "PATH": path, "REDIS_URL": redis_url},
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    ).stdout

    assert f"Sidekiq {ruby.version} pushed 2 jobs for Python to run" in shown
    assert "hello Yukihiro" in shown
    assert "processed  20,011" in shown
