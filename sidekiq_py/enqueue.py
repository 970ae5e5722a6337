"""The one place where new jobs are written to Redis, and what may be said when that goes wrong.

Ruby twin: Sidekiq::Client#raw_push.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from sidekiq_py import keys
from sidekiq_py.errors import InvalidJob, MaybeEnqueued, RedisAuthError, RedisDown, RedisError
from sidekiq_py.job_util import surrogate_path
from sidekiq_py.payload import Payload
from sidekiq_py.ruby_json import float_text, generate

if TYPE_CHECKING:
    from sidekiq_py.redis_connection import Redis


Command: TypeAlias = Sequence[str | bytes | int | float]
Commands: TypeAlias = Sequence[Command]


def spell(value: object, *, modern_floats: bool, path: str = "") -> bytes:
    """JSON of a job or its arguments, known to be plain data.

    Raises InvalidJob for half a surrogate pair, and for integers of thousands of digits.
    """
    try:
        return generate(value, modern_floats=modern_floats)
    except UnicodeEncodeError as error:
        where = surrogate_path(value, path)
        raise InvalidJob(f"{where} holds half of a surrogate pair, which is no text in UTF-8") from error
    except ValueError as error:  # Python's guard against slow conversions
        raise InvalidJob(f"{path or 'the job'} holds an integer that can't be written: {error}") from error


def commands_for(jobs: Iterable[Payload], enqueued_at: float, *, modern_floats: bool) -> list[Command]:
    """What stores these jobs: `ZADD schedule` for those with `at`, `SADD queues` and LPUSH for others."""
    scheduled: list[str | bytes] = []
    queued: dict[str, list[bytes]] = {}
    for job in jobs:
        if "at" in job:
            waiting = {key: value for key, value in job.items() if key not in ("at", "enqueued_at")}
            scheduled += (score(job["at"]), spell(waiting, modern_floats=modern_floats))
        else:
            job["enqueued_at"] = enqueued_at
            queued.setdefault(job["queue"], []).append(spell(job, modern_floats=modern_floats))
    zadd: list[Command] = [("ZADD", keys.SCHEDULE, *scheduled)] if scheduled else []
    return zadd + push_commands(queued)


def push_commands(queued: Mapping[str, Sequence[bytes]]) -> list[Command]:
    """`SADD queues` with every name, then one LPUSH per queue; the first payload of each runs first."""
    if not queued:
        return []
    pushes: list[Command] = [("LPUSH", keys.queue(name), *texts) for name, texts in queued.items()]
    return [("SADD", keys.QUEUES, *queued), *pushes]


def score(at: float) -> str:
    """A due time as Ruby spells it for ZADD: an integer stays one."""
    return str(at) if isinstance(at, int) else float_text(at)


def store_in_batches(
    redis: Redis, commands: Callable[[int, int], Commands], jids: Sequence[str], batch_size: int
) -> None:
    """Run `commands(start, stop)` for one batch of jobs after the other.

    Once a batch is stored, whatever goes wrong later becomes MaybeEnqueued with the jids up to there.
    """
    for start in range(0, len(jids), batch_size):
        batch = jids[start : start + batch_size]
        try:
            store(redis, commands(start, start + batch_size), batch)
        except (RedisDown, RedisError, RedisAuthError) as error:
            if start == 0:
                raise
            doubtful = error.jids if isinstance(error, MaybeEnqueued) else []
            sentence = f"the first {start:,} of {len(jids):,} jobs are stored, then: {error}"
            raise MaybeEnqueued(sentence, [*jids[:start], *doubtful]) from error


def store(redis: Redis, commands: Commands, jids: Sequence[str]) -> None:
    """Run the commands of one push in one round trip, at most once.

    Tries again, once, when it is certain that nothing was stored. RedisDown and RedisError mean the same
    afterwards; MaybeEnqueued means that it is not known.
    """
    try:
        _store(redis, commands, jids)
    except MaybeEnqueued:
        raise
    except RedisDown:
        _store(redis, commands, jids)


def _store(redis: Redis, commands: Commands, jids: Sequence[str]) -> None:
    try:
        replies = redis.pipeline(commands)
    except RedisDown as error:
        if not error.sent:
            raise
        raise MaybeEnqueued(f"{_jobs(jids)} may be stored or not: {error}", [*jids]) from error
    failed = [reply for reply in replies if isinstance(reply, Exception)]
    if not failed:
        return
    if any(_stored(command, reply) for command, reply in zip(commands, replies, strict=True)):
        sentence = f"only a part of the push of {_jobs(jids)} was done: {failed[0]}"
        raise MaybeEnqueued(sentence, [*jids]) from failed[0]
    raise failed[0]


def _stored(command: Command, reply: Any) -> bool:
    return command[0] != "SADD" and not isinstance(reply, Exception)


def _jobs(jids: Sequence[str]) -> str:
    return f"job {jids[0]}" if len(jids) == 1 else f"{len(jids):,} jobs"
