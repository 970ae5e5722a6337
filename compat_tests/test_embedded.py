"""A server inside another program, as real Sidekiq sees it."""

from __future__ import annotations

from pathlib import Path

import pytest

from compat_tests import HANDLERS
from compat_tests.ruby import Ruby
from tests.helpers import eventually
from tests.server_process import run_program

DEADLINE = 30.0
PROGRAM = f"""{HANDLERS}
import logging, sys, time
from sidekiq_py import configure_embed

logging.basicConfig(level=logging.INFO, stream=sys.stdout)

@configure_embed
def server(config):
    config.queues = ["default", "low"]

with server:
    time.sleep(600)
"""


def test_ruby_shows_it_as_embedded_gives_it_jobs_and_leaves_it_alone(
    ruby: Ruby, redis_url: str, tmp_path: Path
) -> None:
    program = run_program(tmp_path, redis_url, PROGRAM).wait_until_booted()
    try:
        [seen] = eventually(ruby.processes, DEADLINE)
        assert (seen["identity"], seen["queues"], seen["concurrency"]) == (
            program.identity,
            ["default", "low"],
            2,
        )
        assert "embedded" in ruby.get("/busy").body or ruby.major == 6
        jid = ruby.push("HardJob", queue="low")
        ruby.wait_until_ran(jid, DEADLINE)

        if ruby.major == 6:  # it doesn't know of such processes, and sends what is ignored
            ruby.process_action(program.identity, "stop!")
            program.wait_for_log("TERM was left for this process, and is ignored")
        else:
            assert seen["embedded?()"] is True
            with pytest.raises(Exception, match="embedded"):
                ruby.process_action(program.identity, "stop!")
        assert program.is_running
    finally:
        program.kill()
