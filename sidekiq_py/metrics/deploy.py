"""Deploy marks: a line in Sidekiq's metrics graphs that says what went live when.

Ruby twin: Sidekiq::Deploy.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sidekiq_py import keys
from sidekiq_py.redis_connection import Redis


def mark_deploy(redis: Redis, label: str, at: float) -> bool:
    """Mark the minute of epoch second `at`; False when this label was marked within the last minute.

    Many hosts of one deploy may all call it: the first one wins. Redis: `deploylock-<label>` (60 s) and
    `<YYYYMMDD>-marks` (90 days). Ruby twin: Sidekiq::Deploy#mark!.
    """
    moment = datetime.fromtimestamp(at, UTC).replace(second=0, microsecond=0)
    minute = f"{moment:%Y-%m-%dT%H:%M:%SZ}"
    is_first = redis.call("SET", keys.deploy_lock(label), minute, "NX", "EX", keys.DEPLOY_LOCK_TTL)
    if not is_first:
        return False
    marks = keys.deploy_marks(moment)
    redis.transaction([("HSETNX", marks, minute, label), ("EXPIRE", marks, keys.DEPLOY_MARKS_TTL)])
    return True
