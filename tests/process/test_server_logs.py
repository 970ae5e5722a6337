"""What the real server prints about its jobs."""

from __future__ import annotations

from collections.abc import Callable

from sidekiq_py import Client
from tests.server_process import ServerProcess

Start = Callable[..., ServerProcess]

HANDLERS = """
    from sidekiq_py import configure_server, job

    @configure_server
    def _(config):
        @config.server_middleware.add
        def only_wanted(job, queue, call_next):
            return call_next() if job["args"] != ["unwanted"] else None

    @job("HardJob")
    def hard_job(name):
        if name == "bad":
            raise ValueError(name)
"""


def job_lines(log: str, jid: str) -> list[str]:
    """The job's lines, without what comes before its jid."""
    return [line.split("jid=")[1] for line in log.splitlines() if f"jid={jid}" in line]


def test_a_job_that_a_middleware_keeps_from_running_is_logged_as_dropped(
    sidekiq_py: Start, redis_url: str
) -> None:
    client = Client(redis_url)
    server = sidekiq_py(HANDLERS, "-c", "1")

    jids = [client.push({"class": "HardJob", "args": [name]}) for name in ("unwanted", "bad", "wanted")]
    log = server.wait_for_log(": done")

    dropped, failed, done = [[line.rsplit(": ", 1)[-1] for line in job_lines(log, str(jid))] for jid in jids]
    assert dropped == ["start", "dropped"]
    assert failed[:2] == ["start", "fail"]
    assert done == ["start", "done"]
    assert " class=HardJob reason=middleware elapsed=0.0" in log


def test_on_heroku_lines_have_no_time_and_the_dyno_is_the_host(sidekiq_py: Start) -> None:
    server = sidekiq_py(HANDLERS, environ={"DYNO": "worker.1"})

    assert server.identity.startswith("worker.1:")
    assert server.log.startswith("INFO  pid=")
