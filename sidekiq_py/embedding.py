"""Where in another program a server lives: on the hub of its main thread, or in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, Protocol

import gevent
from gevent import get_hub
from gevent.event import Event
from greenlet import getcurrent

from sidekiq_py.config import Config
from sidekiq_py.launcher import Launcher
from sidekiq_py.logger.guard import call_handlers, guard_handlers, our_loggers, unguard_handlers
from sidekiq_py.logger.relay import Relay
from sidekiq_py.logger.setup import install_record_factory, remove_record_factory
from sidekiq_py.registry import registry
from sidekiq_py.threads import Threads

PATIENCE: Final = 1.0  # seconds for the threads of jobs that have ended to end, too


class Home(Protocol):
    """`boot` raises what Launcher.boot raises. `stop` returns when all is over, however many call it."""

    launcher: Launcher

    def boot(self) -> None: ...
    def quiet(self) -> None: ...
    def stop(self) -> None: ...
    def hurry(self) -> None:
        """Give jobs no more time at a stop."""


class Greenlets:
    """On the hub of the thread it is made in."""

    def __init__(self, config: Config) -> None:
        self._hub = get_hub()
        self._end: gevent.Greenlet[[], object] | None = None
        self.launcher = Launcher(config, registry, embedded=True)

    def boot(self) -> None:
        _boot(self.launcher, None)

    def quiet(self) -> None:
        self._check_thread()
        self.launcher.quiet()

    def stop(self) -> None:
        self._check_thread()
        if self._end is None:
            self._end = gevent.spawn(self._stop)
        if getcurrent() is self._hub:
            raise RuntimeError(
                "stop() was called in gevent's event loop, which can't wait for it: in a signal handler "
                "write gevent.spawn(server.stop)"
            )
        self._end.join()

    def hurry(self) -> None:
        self.launcher.hurry()

    def _stop(self) -> None:
        try:
            self.launcher.stop()
        finally:
            _leave_logging()

    def _check_thread(self) -> None:
        if get_hub() is not self._hub:
            raise RuntimeError("call it in the thread that called run(): gevent's greenlets can't leave that")


class Thread:
    """On a hub in a native thread of its own."""

    launcher: Launcher

    def __init__(self, config: Config) -> None:
        self._config = config
        self._booted: Future[None] = Future()
        self._has_ended = threading.Event()
        self._is_called_off = self._is_left_behind = False
        self._thread = threading.Thread(target=self._live, name="sidekiq", daemon=True)

    def boot(self) -> None:
        self._thread.start()
        try:
            self._booted.result()
        except Exception:
            self._thread.join()
            raise
        except BaseException:  # of the program: it doesn't wait any more
            self._is_called_off = True
            raise

    def quiet(self) -> None:
        if not self._has_booted():
            return
        done: Future[None] = Future()
        self._loop.run_callback_threadsafe(gevent.spawn, _report_to, done, self.launcher.quiet)
        done.result()

    def stop(self) -> None:
        if self._has_booted():
            self._loop.run_callback_threadsafe(self._stop_wanted.set)
        self._has_ended.wait()
        if not self._is_left_behind:
            self._thread.join()

    def hurry(self) -> None:
        if self._has_booted():
            self._threads.may_grow = False
            self._loop.run_callback_threadsafe(self.launcher.hurry)

    def _has_booted(self) -> bool:
        """Once that is known."""
        return self._booted.exception() is None

    def _live(self) -> None:
        self._loop = get_hub().loop
        self._stop_wanted = Event()
        self._threads = Threads()
        relay = Relay(call_handlers)
        relay.start()
        keep_waiting = self._loop.async_()
        keep_waiting.start(lambda: None)  # a hub where nothing is left would give up
        try:
            self._work(relay)
        finally:
            self._is_left_behind = not self._threads.end(within=PATIENCE)
            relay.stop()
            if not self._is_left_behind:
                keep_waiting.close()
                get_hub().destroy(destroy_loop=True)
            self._has_ended.set()
        if self._is_left_behind:  # by a job that will report to this hub some day
            threading.Event().wait()

    def _work(self, relay: Relay) -> None:
        try:
            self.launcher = Launcher(self._config, registry, embedded=True, threads=self._threads)
            _boot(self.launcher, relay)
        except BaseException as error:
            self._booted.set_exception(error)
            return
        self._booted.set_result(None)
        try:
            if not self._is_called_off:
                self._stop_wanted.wait()
            self.launcher.stop()
        finally:
            _leave_logging()


def _boot(launcher: Launcher, relay: Relay | None) -> None:
    for each in our_loggers():
        each.disabled = False  # as a `dictConfig` does that doesn't name them
    install_record_factory()
    guard_handlers(relay)
    try:
        launcher.boot()
    except BaseException:
        launcher.disconnect()
        _leave_logging()
        raise


def _report_to(done: Future[None], function: Callable[[], object]) -> None:
    try:
        function()
    except BaseException as error:
        done.set_exception(error)
    else:
        done.set_result(None)


def _leave_logging() -> None:
    unguard_handlers()
    remove_record_factory()
