"""A slot that a watched queue reserves comes back, however the wait for it ends."""

from __future__ import annotations

import pytest
from gevent import GreenletExit

from sidekiq_py.errors import RedisError
from sidekiq_py.idle_wait import IdleWait, Watcher
from sidekiq_py.redis_connection import RedisOptions
from tests.redis.parts import IDENTITY, soon

pytestmark = pytest.mark.usefixtures("hub")


@pytest.mark.parametrize("error", [MemoryError, GreenletExit])
def test_a_wait_that_is_killed_reserves_no_slot_and_keeps_no_fetcher_waiting(
    redis_options: RedisOptions, raw, error: type[BaseException]
):
    heard = []
    connection = redis_options.connect(read_timeout=30.0)
    watcher = Watcher(
        "default", "claim", block=10, connection=connection, is_over=lambda *told: heard.append(told)
    )

    watcher.arm()
    soon(lambda: any(each["cmd"] == "blmove" for each in raw.client_list()))
    assert watcher.greenlet is not None
    watcher.greenlet.kill(error)

    assert not watcher.is_armed
    assert heard == [("default", None)]
    watcher.disconnect()


def test_the_fetcher_hears_of_a_wait_in_vain_also_when_complaining_of_it_fails(
    redis_options: RedisOptions, raw
):
    heard = []

    def complain(_queue: str, problem: str) -> None:
        raise RedisError(problem)

    idle = IdleWait(
        identity=IDENTITY,
        block=1.0,
        connect=redis_options.connect,
        deliver=lambda *told: heard.append(told),
        complain=complain,
        went_down=lambda _error: None,
    )
    raw.set("queue:default", "no list")

    idle.arm(["default"], free=1)

    soon(lambda: heard == [("default", None)])
    idle.disconnect()
