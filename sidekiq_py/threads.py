"""Native threads for a server inside a program that gevent hasn't patched.

There a job that waits would hold up the hub, and with it the server: so jobs run in threads, as Ruby's do,
and what the server itself waits for, Redis and the application's hooks, it waits for in threads too. A
greenlet of the hub stands for each. Everything else of the server is as it is elsewhere.
"""

from __future__ import annotations

from _thread import get_ident
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar, cast

import gevent
from gevent import get_hub
from gevent.lock import Semaphore
from gevent.threadpool import ThreadPool
from greenlet import getcurrent

from sidekiq_py.child_exit import leave
from sidekiq_py.errors import JobTimeout
from sidekiq_py.forked import Forks
from sidekiq_py.interrupt import Interruptible
from sidekiq_py.redis_connection import RedisOptions, RedisPool, Reply
from sidekiq_py.redis_connection.connection import RedisConnection
from sidekiq_py.user_code import called

T = TypeVar("T")
Outcome: TypeAlias = tuple[Any, "BaseException | None"]
Waiting: TypeAlias = Any  # gevent's AsyncResult, whose `get` it types as if it might wait for nothing

MOST: Final = 10_000  # of each kind; made when needed
INTERRUPT_EVERY: Final = 0.005  # seconds between two tries to interrupt a job where it does no harm


class Threads:
    """The threads of one server. Made, used and ended on its hub's thread.

    Jobs have threads of their own: what an application keeps for each thread, such as a database connection,
    it keeps for as many as there are jobs at once, and a few for hooks.
    """

    def __init__(self) -> None:
        self.forks = Forks(keeps_greenlet=False)
        self.may_grow = True  # false when the interpreter ends, and starts no thread any more
        self._hub = get_hub()
        self._for_jobs = ThreadPool(MOST)
        self._for_redis = ThreadPool(MOST)
        self._alarms: dict[Interruptible, gevent.Greenlet[..., None]] = {}

    def perform(
        self, function: Callable[..., BaseException | None], *arguments: object
    ) -> BaseException | None:
        """Run a job: what the function returns, or what was raised in it.

        What is raised in the greenlet that waits, such as Shutdown, is raised in the job, and the job's end
        is waited for.
        """
        job = Interruptible(function, *arguments)
        waiting: Waiting = self._for_jobs.spawn(copy_context().run, self._end_in_forks_after, job)
        while True:
            try:
                value, error = waiting.get()
            except BaseException as wish:
                if waiting.ready():
                    raise
                _interrupt(job, type(wish))
            else:
                return error or cast("BaseException | None", value)

    def within(
        self, seconds: float, timeout: JobTimeout, function: Callable[..., Any], *arguments: object
    ) -> object:
        """What the function returns; after so many seconds `timeout` is raised in it. In a job's thread."""
        call = Interruptible(function, *arguments)
        schedule = self._hub.loop.run_callback_threadsafe
        schedule(self._set_alarm, seconds, call, _class_of(timeout))
        value, error = call()
        schedule(self._stop_alarm, call)
        if error is not None:
            raise error
        return value

    def called(self, function: Callable[..., T], *arguments: object) -> T:
        """As `user_code.called`, in a thread where the hub would have to wait."""
        if self._must_stay_here(self._for_jobs):
            return called(function, *arguments)
        outcome = partial(_outcome, partial(called, function, *arguments))
        waiting: Waiting = self._for_jobs.spawn(copy_context().run, self._end_in_forks_after, outcome)
        return cast(T, _result(waiting.get()))

    def connect(self, options: RedisOptions, *, read_timeout: float | None = None) -> RedisConnection:
        """As `options.connect`, a connection for greenlets of the hub."""
        return options.connect(
            read_timeout=read_timeout, kind=partial(_Connection, wait=self._wait_for_redis)
        )

    def pool(self, options: RedisOptions, *, size: int) -> RedisPool:
        """A pool of such connections."""
        return _Pool(options, size=size, connect=partial(self.connect, options))

    def end(self, *, within: float) -> bool:
        """End them all, if the last job returns within so many seconds; whether it did."""
        gevent.with_timeout(within, self._for_jobs.join, timeout_value=None)
        if len(self._for_jobs):
            return False
        for pool in (self._for_jobs, self._for_redis):
            pool.kill()
        return True

    def _set_alarm(self, seconds: float, call: Interruptible, kind: type[JobTimeout]) -> None:
        self._alarms[call] = gevent.spawn_later(seconds, _interrupt, call, kind)

    def _stop_alarm(self, call: Interruptible) -> None:
        self._alarms.pop(call).kill(block=False)

    def _wait_for_redis(self, connection: RedisConnection, exchange: Callable[[], T]) -> T:
        if self._must_stay_here(self._for_redis):
            return exchange()
        waiting: Waiting = self._for_redis.spawn(_outcome, exchange)
        try:
            return cast(T, _result(waiting.get()))
        except BaseException:
            if not waiting.ready():
                connection.disconnect()  # which ends its wait
                waiting.wait()
            raise

    def _must_stay_here(self, pool: ThreadPool) -> bool:
        """Whether no greenlet of the hub asks, or no thread is free and none can be made."""
        if getcurrent() is self._hub or self._hub.thread_ident != get_ident():
            return True
        return not self.may_grow and len(pool) >= pool.size

    def _end_in_forks_after(self, run: Callable[[], Outcome]) -> Outcome:
        value, error = run()
        if self.forks.is_child:
            leave(value if isinstance(value, BaseException) else error)
        return value, error


class _Connection(RedisConnection):
    """One whose round trips are waited for in another thread."""

    def __init__(self, *arguments: Any, wait: Callable[..., list[Reply]], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._wait = wait

    def _exchange(self, packed: bytes, count: int) -> list[Reply]:
        return self._wait(self, partial(super()._exchange, packed, count))


class _Pool(RedisPool):
    """One whose borrowers are greenlets of one hub."""

    def __init__(self, options: RedisOptions, *, size: int, connect: Callable[[], RedisConnection]) -> None:
        super().__init__(options, size=size)
        self._new = connect

    def _connect(self) -> RedisConnection:
        return self._new()

    def _permits(self) -> Semaphore:
        return Semaphore(self.size)


def _interrupt(call: Interruptible, kind: type[BaseException]) -> None:
    while not call.interrupt(kind):
        gevent.sleep(INTERRUPT_EVERY)


def _class_of(timeout: JobTimeout) -> type[JobTimeout]:
    """A class that makes such an error without being told its message: a thread is only given a class."""

    def init(self: JobTimeout) -> None:
        Exception.__init__(self, *timeout.args)

    return type("JobTimeout", (JobTimeout,), {"__init__": init, "__module__": JobTimeout.__module__})


def _outcome(function: Callable[[], object]) -> Outcome:
    """Errors as values: gevent prints those that leave a thread of its pools."""
    try:
        return function(), None
    except BaseException as error:
        return None, error


def _result(outcome: Outcome) -> Any:
    value, error = outcome
    if error is not None:
        raise error
    return value
