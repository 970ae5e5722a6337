"""Jobs that ran when their process died: one of them may have killed it.

Each gets its crash counted and runs again, alone in a process of its own. Most prove innocent; the third
crash within 72 hours ends in the dead set. Jobs that were merely fetched are no suspects.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final, NamedTuple

import msgspec

from sidekiq_py import keys
from sidekiq_py.redis_connection import Redis
from sidekiq_py.scripts import load

MOST_CRASHES: Final = 3  # the last of them was alone in its process
LONGEST_JID: Final = 64  # Sidekiq's have 24 characters

_COUNT_CRASH: Final = load("count_crash")
_JID: Final = re.compile(rb'"jid"\s*:\s*"([^"\\]{1,64})"')


class _Named(msgspec.Struct):
    """All that is read of a payload."""

    jid: str = ""


class Suspect(NamedTuple):
    """A job still claimed by a process that is gone."""

    identity: str  # of that process
    queue: str
    raw: bytes
    crashes: int  # within 72 hours, this one too
    story: str  # how the process ended, for people: "was killed by SIGKILL after 3.2 s"

    @property
    def is_convicted(self) -> bool:
        return self.crashes >= MOST_CRASHES


def count_crash(redis: Redis, raw: bytes, *, identity: str, was_alone: bool) -> int:
    """Note that this process died while it ran this job; returns how many did within 72 hours.

    Noted again, the same death counts no more. One of many jobs is not convicted: three that were unlucky
    together are innocent, so the count that convicts is only reached by a process that ran nothing else.
    """
    counter = keys.crashes(crash_id(raw))
    count = int(redis.run_script(_COUNT_CRASH, [counter], [identity, keys.CRASHES_TTL]))
    return count if was_alone else min(count, MOST_CRASHES - 1)


def acquit(redis: Redis, raw: bytes) -> None:
    """The job has run to its end."""
    redis.call("DEL", keys.crashes(crash_id(raw)))


def crash_id(raw: bytes) -> str:
    """What a job's crashes are counted by: its jid, else a digest of its bytes."""
    return jid_of(raw) or hashlib.sha256(raw).hexdigest()[:24]


def jid_of(raw: bytes) -> str:
    """The jid in a payload; empty when there is none that could be one.

    Nothing else of it is built: its arguments may be what kills. Bytes that are no JSON are searched for one.
    """
    try:
        jid = msgspec.json.decode(raw, type=_Named).jid
    except msgspec.ValidationError:  # of another type
        return ""
    except (msgspec.DecodeError, RecursionError):
        found = _JID.search(raw)
        return found[1].decode("utf-8", "replace") if found else ""
    return jid if len(jid) <= LONGEST_JID else ""
