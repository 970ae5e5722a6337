"""Puts jobs into Redis, where a Ruby or a Python server finds them. Needs no gevent and no server.

Ruby twin: Sidekiq::Client.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from sidekiq_py import job_util
from sidekiq_py.bulk import AlikeJobs, Plan
from sidekiq_py.client_defaults import defaults
from sidekiq_py.clock import Clock
from sidekiq_py.dialect import UNKNOWN, Dialect
from sidekiq_py.enqueue import Commands, commands_for, push_commands, spell, store_in_batches
from sidekiq_py.errors import InvalidConfig, InvalidJob
from sidekiq_py.middleware import Chain, ClientMiddleware, compose
from sidekiq_py.payload import Payload
from sidekiq_py.peers import DialectWatch

if TYPE_CHECKING:
    from sidekiq_py.redis_connection import Redis

Detour: TypeAlias = Callable[[Sequence[Payload]], None]

detours: Final[list[Detour | None]] = []
"""Where jobs go instead of Redis; the last one counts. `sidekiq_py.testing` puts its modes here."""


class Client:
    """Pushes jobs. Safe to share between threads and greenlets.

    Without `url` and `redis` it speaks to the configured Redis (`configure_client`, REDIS_URL), and without
    `middleware` its jobs go through the configured client middleware. `dialect` (6, 7 or 8) fixes how
    timestamps are written; otherwise the oldest live Ruby server decides, else float seconds.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        redis: Redis | None = None,
        middleware: Chain[ClientMiddleware] | None = None,
        dialect: int | None = None,
        clock: Clock | None = None,
    ) -> None:
        if url is not None and redis is not None:
            raise InvalidConfig("a client speaks to one Redis: give it url or redis, not both")
        self._clock = clock
        self._redis = _pool(url) if url is not None else _usable(redis)
        self._middleware = middleware
        self._dialect = None if dialect is None else Dialect(dialect)
        self._watch = DialectWatch(clock)

    @property
    def clock(self) -> Clock:
        """What it takes the time from: in a server that server's clock, which goes by Redis'."""
        return defaults.clock if self._clock is None else self._clock

    @property
    def redis(self) -> Redis:
        """The Redis this client pushes to."""
        return defaults.redis if self._redis is None else self._redis

    @property
    def middleware(self) -> Chain[ClientMiddleware]:
        """The links around each push, the first outermost."""
        return defaults.config.client_middleware if self._middleware is None else self._middleware

    def push(self, item: Mapping[str, Any]) -> str | None:
        """Store one job; returns its jid, or None when client middleware stopped it.

        `item` has `class` (a name) and `args` (a list of JSON values), and may have `queue`, `retry`, `at`
        (epoch seconds: the job waits in the schedule, past or not), `jid`, `tags` and any other key; all but
        `at` are stored. One round trip: `SADD queues` and `LPUSH queue:<name>`, or `ZADD schedule`.

        Raises InvalidJob before anything is sent; RedisDown or RedisError when nothing was stored;
        MaybeEnqueued when the connection broke after sending.
        """
        dialect = self._dialect_to_write()
        job = self.prepare(item, dialect)
        if job is None:
            return None
        self._deliver([job], dialect)
        return str(job["jid"])

    def push_bulk(self, items: Mapping[str, Any], *, batch_size: int | None = None) -> list[str | None]:
        """Store many jobs of one class; returns a jid for each, None for one that client middleware stopped.

        `items` is as for `push`, with `args` an iterable of lists, one for each job; `at` may be a list as
        long; `spread_interval` (seconds) in its place spreads the jobs over that time at random. All are
        checked before the first is sent, then 1,000 go in one round trip, 100 when scheduled.

        Raises as `push` does, and MaybeEnqueued when a later batch failed: `.jids` are those of all jobs that
        are stored or may be.
        """
        plan = Plan.of(items, batch_size, self.clock.now())
        if not plan.rows:
            return []
        dialect = self._dialect_to_write()
        created_at = dialect.timestamp(self.clock.now())
        if self._may_push_alike(plan):
            return [*self._deliver_alike(plan.alike(created_at, dialect), dialect, plan.batch_size)]
        jobs = [self._one_of_many(index, job, dialect) for index, job in enumerate(plan.jobs(created_at))]
        self._deliver([job for job in jobs if job is not None], dialect, plan.batch_size)
        return [None if job is None else str(job["jid"]) for job in jobs]

    def prepare(self, item: Mapping[str, Any], dialect: Dialect = UNKNOWN) -> Payload | None:
        """The checked payload that `push` would store; None when client middleware stopped it."""
        job_util.validate(item)
        return self._through_middleware(job_util.normalize(item, dialect.timestamp(self.clock.now())))

    def _through_middleware(self, job: Payload) -> Payload | None:
        chain = self.middleware
        if len(chain):
            result = compose(chain, (job["class"], job, job["queue"]), lambda: job)()
            if not result:
                return None
            job = result if isinstance(result, dict) else job
            job_util.check_options(job)
        job_util.verify_json(job)  # after the links: they may turn rich arguments into plain ones
        return job

    def _one_of_many(self, index: int, job: Payload, dialect: Dialect) -> Payload | None:
        """The job behind its middleware. Raises InvalidJob, with its number, when it could not be written."""
        try:
            passed = self._through_middleware(job)
            if passed is not None:
                spell(passed, modern_floats=dialect.modern_floats)
        except InvalidJob as error:
            raise InvalidJob(f"number {index} of a bulk push: {error}") from error
        return passed

    def _dialect_to_write(self) -> Dialect:
        """Given, configured, or as Redis tells; a push that takes a detour asks nobody."""
        if self._dialect is not None:
            return self._dialect
        if _detour() is not None:
            return UNKNOWN
        if self._redis is None and defaults.config.dialect is not None:
            return Dialect(defaults.config.dialect)
        return self._watch.current(self.redis)

    def _deliver(self, jobs: Sequence[Payload], dialect: Dialect, batch_size: int = 1) -> None:
        detour = _detour()
        if detour is not None:
            detour(jobs)
            return
        modern = dialect.modern_floats

        def commands(start: int, stop: int) -> Commands:
            return commands_for(jobs[start:stop], dialect.timestamp(self.clock.now()), modern_floats=modern)

        store_in_batches(self.redis, commands, [str(job["jid"]) for job in jobs], batch_size)

    def _may_push_alike(self, plan: Plan) -> bool:
        detoured = _detour() is not None
        return not (detoured or len(self.middleware) or plan.ats is not None or plan.item.get("jid"))

    def _deliver_alike(self, jobs: AlikeJobs, dialect: Dialect, batch_size: int) -> list[str]:
        def commands(start: int, stop: int) -> Commands:
            return push_commands({jobs.queue: jobs.texts(start, stop, dialect.timestamp(self.clock.now()))})

        store_in_batches(self.redis, commands, jobs.jids, batch_size)
        return jobs.jids


def _detour() -> Detour | None:
    return detours[-1] if detours else None


def _pool(url: str) -> Redis:
    from sidekiq_py.redis_connection import RedisOptions, RedisPool  # only who pushes pays

    return RedisPool(RedisOptions.from_url(url))


def _usable(redis: Redis | None) -> Redis | None:
    if redis is None:
        return None
    from sidekiq_py.redis_connection import usable

    return usable(redis)


default_client: Final = Client()
"""What `@job` objects push through: the configured Redis and middleware."""
