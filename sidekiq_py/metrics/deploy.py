"""Deploy marks: a line in Sidekiq's metrics graphs that says what went live when.

Ruby twin: Sidekiq::Deploy.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from sidekiq_py import keys
from sidekiq_py.errors import RedisDown
from sidekiq_py.redis_connection import Arg, Redis
from sidekiq_py.scripts import load

_MARK_DEPLOY: Final = load("mark_deploy")


def mark_deploy(redis: Redis, label: str, at: float) -> bool:
    """Mark the minute of epoch second `at`; False when this label was marked within the last minute.

    Many hosts of one deploy may all call it: the first one wins. Redis: `deploylock-<label>` (60 s) and
    `<YYYYMMDD>-marks` (90 days). Raises RedisDown, also when Redis is full: a mark needs memory.
    Ruby twin: Sidekiq::Deploy#mark!.
    """
    moment = datetime.fromtimestamp(at, UTC).replace(second=0, microsecond=0)
    minute = f"{moment:%Y-%m-%dT%H:%M:%SZ}"
    places = [keys.deploy_lock(label), keys.deploy_marks(moment)]
    words: list[Arg] = [minute, label, keys.DEPLOY_LOCK_TTL, keys.DEPLOY_MARKS_TTL]
    try:
        return bool(redis.run_script(_MARK_DEPLOY, places, words))
    except RedisDown as error:
        raise RedisDown(f"{error} (while marking deploy {label!r})", sent=error.sent) from None
