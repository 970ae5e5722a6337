"""Every Redis key this project touches, with its type and how long it lives.

The names are Sidekiq's own (no prefix). Keys that only sidekiq-py knows begin with `sidekiq-py:`, which
no other tool's pattern matches.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Final

QUEUES: Final = "queues"  # SET of queue names, without prefix
SCHEDULE: Final = "schedule"  # ZSET payload -> due time, epoch seconds
RETRY: Final = "retry"  # ZSET payload -> due time, epoch seconds
DEAD: Final = "dead"  # ZSET payload -> time of death, epoch seconds; trimmed by age and count
PROCESSES: Final = "processes"  # SET of identities
PAUSED: Final = "paused"  # SET of queue names nobody should fetch from (Sidekiq Pro's)
PROCESS_CLEANUP: Final = "process_cleanup"  # STRING "1", the lock of whoever prunes `processes`; 60 s
DEAR_LEADER: Final = "dear-leader"  # STRING identity of the Enterprise leader; we only read it

STAT_PROCESSED: Final = "stat:processed"  # STRING counter
STAT_FAILED: Final = "stat:failed"  # STRING counter

HEARTBEAT_TTL: Final = 60  # seconds; of <identity>, <identity>:work, <identity>-signals
STAT_DAY_TTL: Final = 5 * 365 * 24 * 60 * 60  # seconds; five years, as Sidekiq keeps its daily counters
METRICS_MINUTE_TTL: Final = 8 * 60 * 60  # seconds; minute hashes and histograms
METRICS_TEN_MINUTES_TTL: Final = 3 * 24 * 60 * 60  # seconds; 8.x only
DEPLOY_MARKS_TTL: Final = 90 * 24 * 60 * 60  # seconds
DEPLOY_LOCK_TTL: Final = 60  # seconds

CLAIM_OWNERS: Final = "sidekiq-py:processes"  # HASH identity -> JSON {hostname, pid, started_at, queues}
CLAIM_PREFIX: Final = "sidekiq-py:claim:"  # what claim lists begin with; see `claim`
NOBODY: Final = "sidekiq-py:nobody"  # never exists: the heartbeat of those whose death was seen
SWEEP_LOCK: Final = "sidekiq-py:sweep"  # STRING, the lock of whoever looks for dead processes; seconds
CRASHES_TTL: Final = 72 * 60 * 60  # seconds; a job that kills its process three times in these is dead


def queue(name: str) -> str:
    """LIST of payloads: LPUSH to enqueue, right end runs next."""
    return f"queue:{name}"


def claim(identity: str, queue_name: str) -> str:
    """LIST of payloads a process has taken from one queue and not finished; newest at the left.

    An identity holds no `|`, so the first one splits the key whatever the queue is called.
    """
    return f"{CLAIM_PREFIX}{identity}|{queue_name}"


def crashes(jid: str) -> str:
    """SET of identities: the processes that died while they ran this job; gone 72 h after the last."""
    return f"sidekiq-py:crashes:{jid}"


def hand_backs(jid: str) -> str:
    """STRING counter: how often a job of an unknown class was handed back; 24 h after the last."""
    return f"sidekiq-py:hand-backs:{jid}"


def rights(token: str) -> str:
    """What a server tries its rights on while it starts; never longer than 60 s."""
    return f"sidekiq-py:rights:{token}"


def work(identity: str) -> str:
    """HASH thread id -> JSON {queue, payload, run_at}: what runs now; 60 s. Sidekiq 6.4.2 and later."""
    return f"{identity}:work"


def workers(identity: str) -> str:
    """The same hash under the name that Sidekiq 6.4.1 and earlier read."""
    return f"{identity}:workers"


def signals(identity: str) -> str:
    """LIST of signal names (TSTP, TERM, TTIN) for a process: LPUSH to send, RPOP to obey; 60 s."""
    return f"{identity}-signals"


def stat_processed_on(day: date) -> str:
    """STRING counter of one UTC day; five years."""
    return f"{STAT_PROCESSED}:{day:%Y-%m-%d}"


def stat_failed_on(day: date) -> str:
    """STRING counter of one UTC day; five years."""
    return f"{STAT_FAILED}:{day:%Y-%m-%d}"


def metrics_minute_7(at: datetime) -> str:
    """HASH `<Class>|p`, `|f`, `|ms` of one UTC minute, as Sidekiq 7.x reads it (hour, minute unpadded)."""
    return f"j|{at:%Y%m%d}|{at.hour}:{at.minute}"


def metrics_minute(at: datetime) -> str:
    """The same as Sidekiq 8.x reads it: two-digit year, hour unpadded, minute padded."""
    return f"j|{at:%y%m%d}|{at.hour}:{at.minute:02d}"


def metrics_ten_minutes(at: datetime) -> str:
    """HASH of ten UTC minutes, 8.x only: the minute key without its last digit; 3 days."""
    return f"j|{at:%y%m%d}|{at.hour}:{at.minute // 10}"


def histogram_7(name: str, at: datetime) -> str:
    """STRING of 26 u16 counters, as 7.x reads it: day and hour padded, minute not."""
    return f"{name}-{at:%d-%H}:{at.minute}"


def histogram(name: str, at: datetime) -> str:
    """STRING of 26 u16 counters, as 8.x reads it: nothing padded."""
    return f"h|{name}-{at.day}-{at.hour}:{at.minute}"


def deploy_marks(at: datetime) -> str:
    """HASH minute (ISO 8601, UTC) -> label of one day; 90 days."""
    return f"{at:%Y%m%d}-marks"


def deploy_lock(label: str) -> str:
    """STRING, one mark per label and minute; 60 s."""
    return f"deploylock-{label}"
