"""The client in a process of its own: what importing it costs, and how it finds its Redis."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import redis as redis_py

ROOT = Path(__file__).parents[2]


def python(source: str, **environ: str) -> str:
    """What a fresh interpreter prints when it runs the source."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("REDIS_", "SIDEKIQ_"))}
    done = subprocess.run(
        [sys.executable, "-c", source],
        cwd=ROOT,
        env={**kept, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_loads_no_gevent_no_redis_py_and_no_prometheus() -> None:
    loaded = python(
        "import sys, sidekiq_py\n"
        "from sidekiq_py import Client, current_job, job\n"
        "print({name.partition('.')[0] for name in sys.modules})"
    )

    assert "sidekiq_py" in loaded
    assert not [
        name for name in ("gevent", "redis", "prometheus_client", "click", "yaml") if f"'{name}'" in loaded
    ]


def test_importing_costs_less_than_importing_redis_py() -> None:
    # Side by side in one process, since the machine may be busy: the best of some runs.
    source = (
        "import asyncio, json, ssl, logging, msgspec, time\n"
        "marks = [time.process_time()]\n"
        "for name in ('redis', 'sidekiq_py'):\n"
        "    __import__(name)\n"
        "    marks.append(time.process_time())\n"
        "print((marks[2] - marks[1]) / (marks[1] - marks[0]))"
    )

    assert min(float(python(source)) for _ in range(5)) < 1.0


def test_a_push_without_any_setting_goes_where_redis_url_says(redis_url: str, raw: redis_py.Redis) -> None:
    jid = python(
        "import sidekiq_py\nprint(sidekiq_py.Client().push({'class': 'HardJob', 'args': [1]}))",
        REDIS_URL=redis_url,
    )

    [payload] = raw.lrange("queue:default", 0, -1)
    assert json.loads(payload)["jid"] == jid.strip()


def test_redis_provider_names_the_variable_to_read(redis_url: str, raw: redis_py.Redis) -> None:
    python(
        "import sidekiq_py\nsidekiq_py.Client().push({'class': 'HardJob', 'args': [1]})",
        REDIS_PROVIDER="MY_REDIS",
        MY_REDIS=redis_url,
        REDIS_URL="redis://nobody.invalid:1",
    )

    assert raw.llen("queue:default") == 1


@pytest.mark.parametrize("dialect", ["7", "8"])
def test_configure_client_is_asked_before_the_first_push(
    redis_url: str, raw: redis_py.Redis, dialect: str
) -> None:
    python(
        """
import os
from sidekiq_py import configure_client, configure_server, job

@configure_client
def _(config):
    from sidekiq_py.redis_connection import RedisOptions
    config.redis = RedisOptions.from_url(os.environ["HERE"])
    config.dialect = int(os.environ["DIALECT"])

    @config.client_middleware.add
    def mark(job_class, job, queue, call_next):
        job["locale"] = "fr"
        return call_next()

@configure_server
def _(config):
    raise AssertionError("this is no server")

@job("HardJob", queue="low")
def hard_job(name):
    pass

hard_job.perform_async("bob")
""",
        HERE=redis_url,
        DIALECT=dialect,
    )

    [payload] = map(json.loads, raw.lrange("queue:low", 0, -1))
    assert payload["locale"] == "fr"
    assert isinstance(payload["created_at"], int if dialect == "8" else float)
