"""The live server processes, Ruby's and ours, as their heartbeats describe them, and the signals they obey.

Ruby twins: Sidekiq::ProcessSet, Sidekiq::Process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sidekiq_py import keys
from sidekiq_py.api.round_trip import json_object, names, read, whole_number
from sidekiq_py.errors import EmbeddedProcess
from sidekiq_py.redis_connection import Redis, usable
from sidekiq_py.scripts import load

CLEANUP_LOCK_TTL: Final = 60  # seconds
_LOCK: Final = load("lock")
_SIGNAL: Final = load("signal")
_FIELDS: Final = ("info", "concurrency", "busy", "beat", "quiet", "rss", "rtt_us", "lag_us", "stalls")


@dataclass(frozen=True)
class ProcessCapsule:
    """A named group of queues in a process, with its own concurrency."""

    concurrency: int
    mode: str  # strict, random or weighted; "" when the process is too old to say
    weights: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Process:
    """One process at its last beat. What it didn't say, or said in another type, is "", 0 or empty.

    The verbs leave a signal which the process obeys at its next beat: within 10 seconds, ours within one.
    Redis: `LPUSH <identity>-signals`, gone after 60 s.
    """

    identity: str
    hostname: str
    pid: int
    tag: str
    labels: list[str]
    queues: list[str]
    capsules: dict[str, ProcessCapsule]
    version: str  # "" for Sidekiq 6, and 7.0.1 and before
    embedded: bool
    started_at: float  # epoch seconds
    concurrency: int
    busy: int
    beat: float  # epoch seconds of the last heartbeat
    is_quiet: bool  # it takes no new jobs
    rss: int  # kB
    rtt_us: int  # microseconds to Redis and back
    lag_us: int  # microseconds that its event loop last took to turn; 0 for Ruby
    stalls: int  # times that the loop stood still for long since the start; 0 for Ruby
    redis: Redis = field(repr=False, compare=False)

    def quiet(self) -> None:
        """Take no new jobs. Raises EmbeddedProcess for a process that lives inside another program."""
        self._refuse_if_embedded("quieted")
        self._signal("TSTP")

    def stop(self) -> None:
        """Finish what runs within the process's timeout, and exit. Raises EmbeddedProcess as `quiet`."""
        self._refuse_if_embedded("stopped")
        self._signal("TERM")

    def dump_threads(self) -> None:
        """Log what every thread (or greenlet) is doing."""
        self._signal("TTIN")

    def _refuse_if_embedded(self, what: str) -> None:
        if self.embedded:
            raise EmbeddedProcess(
                f"{self.identity} is embedded in another program and can't be {what} from outside: "
                "stop or deploy that program instead"
            )

    def _signal(self, name: str) -> None:
        _signal(self.redis, [self.identity], name)


class ProcessSet:
    """The processes that are alive: members of `processes` whose heartbeat has not expired.

    Iterating yields them by identity; each time reads Redis anew, in two round trips.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = usable(redis)

    def __iter__(self) -> Iterator[Process]:
        identities = names(self._redis.call("SMEMBERS", keys.PROCESSES))
        hashes = read(self._redis, [("HMGET", identity, *_FIELDS) for identity in identities])
        for identity, values in zip(identities, hashes, strict=True):
            if values is not None and values[0] is not None:
                yield _process(identity, values, self._redis)

    def find(self, identity: str) -> Process | None:
        """The live process of this identity. One round trip."""
        is_member, values = read(
            self._redis, [("SISMEMBER", keys.PROCESSES, identity), ("HMGET", identity, *_FIELDS)]
        )
        if not is_member or values is None or values[0] is None:
            return None
        return _process(identity, values, self._redis)

    @property
    def leader(self) -> str:
        """Identity of the leader that Sidekiq Enterprise elected; "" without Enterprise."""
        leader: bytes | None = self._redis.call("GET", keys.DEAR_LEADER)
        return leader.decode(errors="replace") if leader else ""

    def quiet_all(self) -> int:
        """Quiet every process that may be (embedded ones are left alone); returns how many."""
        return self._signal_all("TSTP")

    def stop_all(self) -> int:
        """Stop every process that may be (embedded ones are left alone); returns how many."""
        return self._signal_all("TERM")

    def cleanup(self) -> int:
        """Strike processes off the list that died without signing off; returns how many.

        At most once a minute over all who ask, by the lock `process_cleanup`; 0 when it isn't our turn.
        """
        if not self._redis.run_script(_LOCK, [keys.PROCESS_CLEANUP], [CLEANUP_LOCK_TTL * 1000]):
            return 0
        identities = names(self._redis.call("SMEMBERS", keys.PROCESSES))
        infos = self._redis.pipeline([("HGET", identity, "info") for identity in identities])
        dead = [identity for identity, info in zip(identities, infos, strict=True) if info is None]
        return int(self._redis.call("SREM", keys.PROCESSES, *dead)) if dead else 0

    def _signal_all(self, name: str) -> int:
        willing = [process.identity for process in self if not process.embedded]
        _signal(self._redis, willing, name)
        return len(willing)


def _signal(redis: Redis, identities: Sequence[str], name: str) -> None:
    redis.run_script(_SIGNAL, [keys.signals(each) for each in identities], [name, keys.HEARTBEAT_TTL])


def _process(identity: str, values: Sequence[bytes | None], redis: Redis) -> Process:
    raw = dict(zip(_FIELDS, values, strict=True))
    info = json_object(raw["info"])
    capsules = _capsules(info)
    return Process(
        identity=identity,
        hostname=_text(info.get("hostname")),
        pid=_whole(info.get("pid")),
        tag=_text(info.get("tag")),
        labels=_texts(info.get("labels")),
        queues=_texts(info.get("queues")) or _queues_of(capsules),
        capsules=capsules,
        version=_text(info.get("version")),
        embedded=info.get("embedded") is True,
        started_at=_number(info.get("started_at")),
        concurrency=_concurrency(raw["concurrency"], info, capsules),
        busy=whole_number(raw["busy"]),
        beat=_seconds(raw["beat"]),
        is_quiet=raw["quiet"] == b"true",
        rss=whole_number(raw["rss"]),
        rtt_us=whole_number(raw["rtt_us"]),
        lag_us=whole_number(raw["lag_us"]),
        stalls=whole_number(raw["stalls"]),
        redis=redis,
    )


def _capsules(info: dict[str, Any]) -> dict[str, ProcessCapsule]:
    """By name; of processes that list only weights (7.x) as "default", "1", "2"…"""
    given = info.get("capsules")
    if isinstance(given, dict):
        return {
            name: ProcessCapsule(
                _whole(one.get("concurrency")), _text(one.get("mode")), _weights(one.get("weights"))
            )
            for name, one in given.items()
            if isinstance(one, dict)
        }
    weights = info.get("weights")
    listed = weights if isinstance(weights, list) else []
    return {str(index or "default"): ProcessCapsule(0, "", _weights(one)) for index, one in enumerate(listed)}


def _weights(value: object) -> dict[str, int]:
    return {name: _whole(weight) for name, weight in value.items()} if isinstance(value, dict) else {}


def _queues_of(capsules: dict[str, ProcessCapsule]) -> list[str]:
    return list(dict.fromkeys(name for capsule in capsules.values() for name in capsule.weights))


def _concurrency(in_hash: bytes | None, info: dict[str, Any], capsules: dict[str, ProcessCapsule]) -> int:
    """Sidekiq 8.1.2 moved it from `info` to the hash; before, the capsules have it too."""
    return (
        whole_number(in_hash)
        or _whole(info.get("concurrency"))
        or sum(capsule.concurrency for capsule in capsules.values())
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def _seconds(text: bytes | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0
