"""What the server says of itself."""

from __future__ import annotations

import pytest

from sidekiq_py.banner import boot_lines, farewell, last_words
from sidekiq_py.config import Config
from sidekiq_py.errors import RedisDown
from sidekiq_py.redis_connection import RedisOptions, ServerInfo
from sidekiq_py.version import VERSION

SERVER = ServerInfo(name="redis", version="7.0.15", maxmemory_policy="noeviction", rtt_us=210)


@pytest.fixture
def config():
    config = Config(environment="production", tag="shop")
    config.redis = RedisOptions.from_url("redis://:canary@cache:6379/1")
    config.capsule("default", queues=["critical", "default"], concurrency=5)
    config.capsule("slow", queues=["reports,3", "low"], concurrency=1)
    return config


def boot(config, **options):
    return "\n".join(boot_lines(config, SERVER, ["HardJob", "AlbumJob"], identity="worker-1:1:ab", **options))


def test_the_boot_summary_answers_what_is_asked_first(config):
    text = boot(config, binds={"metrics": "http://0.0.0.0:9394/metrics"})

    assert f"sidekiq-py {VERSION}, Python 3." in text
    assert "environment production, tag shop, identity worker-1:1:ab" in text
    assert "redis 7.0.15 at redis://" in text
    assert "round trip 0.21 ms, maxmemory-policy noeviction" in text
    assert "capsule default: 5 at once, strict order, queues critical, default" in text
    assert "capsule slow: 1 at once, weighted order, queues reports 3, low 1" in text
    assert "2 handlers\nmetrics at http://0.0.0.0:9394/metrics" in text


@pytest.mark.row("K2")
def test_the_boot_summary_hides_the_password(config):
    assert "canary" not in boot(config)


def test_handlers_are_named_when_verbose(config):
    config.verbose = True

    assert "2 handlers: AlbumJob, HardJob" in boot(config)


def test_the_last_line_sums_the_process_up():
    line = farewell(done=1234, failed=5, requeued=2, uptime=3600.04, stopping=1.26)

    assert line == "Bye! 1234 done, 5 failed, 2 pushed back; up 3600.0 s, stopped in 1.3 s"


JOB = {"jid": "abc", "class": "Burn"}
HELD = "a job did not let the process stop (jid=abc class=Burn); "
LATE = "the process did not stop in time; "


@pytest.mark.parametrize(
    ("held_by", "running", "trouble", "line"),
    [
        (JOB, 2, None, HELD + "what ran is back on its queue"),
        (
            {"jid": "abc", "class": "Burn"},
            2,
            RedisDown("gone"),
            HELD + "jobs stay claimed until a rescue: gone",
        ),
        (None, 2, None, LATE + "what ran is back on its queue"),
        (None, 0, None, LATE + "no job ran any more"),
    ],
)
def test_the_last_words_say_only_what_is_so(held_by, running, trouble, line):
    assert last_words(held_by, running, trouble) == line


def test_a_server_that_tells_nothing_is_named_all_the_same(config):
    lines = boot_lines(config, ServerInfo(), [], identity="worker-1:1:ab")

    assert any("redis (version unknown) at redis://" in line for line in lines)
    assert any("maxmemory-policy unknown" in line for line in lines)


def test_no_line_begins_with_blanks_that_a_json_record_would_keep(config):
    assert not any(line.startswith(" ") for line in boot(config).splitlines())
