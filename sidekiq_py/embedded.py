"""A server inside another program: in a web server's process, or in a script.

Ruby twin: Sidekiq::Embedded.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Final, Protocol, Self

import gevent
from gevent import get_hub, monkey
from gevent.event import Event

from sidekiq_py.config import Config, Configure
from sidekiq_py.config_sources import NOT_EMBEDDED, embedded_config, read_code, values_of
from sidekiq_py.errors import HandlersNotLoaded
from sidekiq_py.launcher import Launcher
from sidekiq_py.logger.guard import guard_handlers, unguard_handlers
from sidekiq_py.logger.setup import install_record_factory, remove_record_factory
from sidekiq_py.registry import registry
from sidekiq_py.threads import Threads
from sidekiq_py.user_code import check_function

PATIENCE: Final = 1.0  # seconds for the threads of jobs that have ended to end, too

logger = logging.getLogger("sidekiq")


class Embedded:
    """A server inside this program, from `run` to `stop`, or for the length of a `with` block.

    It runs the jobs of all handlers that are registered at `run`. Where gevent has patched the program, jobs
    run in greenlets of the thread that calls `run`; elsewhere in native threads, `config.concurrency` of
    them. Signals, logging and the end of the process stay the program's. While it runs, the program pushes by
    its config, too. A forked child has no server; `run` it there.

    `configure` gets the config at `run`, after the functions under `@configure_client` and
    `@configure_server`.
    """

    def __init__(self, configure: Configure | None = None) -> None:
        if configure is not None:
            check_function("configure_embed", configure, takes="config")
        self._configure = configure
        self._home: _Home | None = None
        self._pid = 0

    @property
    def identity(self) -> str:
        """`<hostname>:<pid>:<12 hex>`, as in `processes`. Raises RuntimeError when it doesn't run."""
        if not self.is_running or self._home is None:
            raise RuntimeError("the embedded server is not running: call run() first")
        return self._home.launcher.identity

    @property
    def is_running(self) -> bool:
        """Between `run` and `stop`, in the process that called `run`."""
        return self._home is not None and self._pid == os.getpid()

    def run(self) -> None:
        """Start; when it returns, jobs are being fetched.

        Raises InvalidConfig, HandlersNotLoaded when there is no handler or a callback for `startup` fails,
        and RedisDown, RedisAuthError or RedisError when Redis can't be used. Nothing runs then.
        """
        if self.is_running:
            raise RuntimeError("the embedded server is running already")
        config = self._configured()
        if not registry.names():
            raise HandlersNotLoaded(
                "no handler is registered: import the modules with your @job functions before run()"
            )
        for notice in config.notices:
            logger.warning("%s", notice)
        install_record_factory()
        guard_handlers()
        try:
            home = _Greenlets(config) if monkey.is_module_patched("socket") else _Thread(config)
            home.boot()
        except BaseException:
            _leave_logging()
            raise
        self._home, self._pid = home, os.getpid()
        atexit.register(self._stop_at_exit)

    def quiet(self) -> None:
        """Take no new jobs; running ones go on. Only a stop follows."""
        if self.is_running and self._home is not None:
            self._home.quiet()

    def stop(self) -> None:
        """Let jobs finish for `config.timeout` seconds, and put back on their queues what is left then.

        A job in a native thread hears of its end when it runs Python code again, and can't be kept from
        running on until then. Does nothing when the server doesn't run.
        """
        home, runs_here = self._home, self.is_running
        self._home = None
        if home is not None and runs_here:
            atexit.unregister(self._stop_at_exit)
            home.stop()
            _leave_logging()

    def __enter__(self) -> Self:
        self.run()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _configured(self) -> Config:
        config = embedded_config()
        before = values_of(config)
        config.apply_client_hooks()
        config.apply_server_hooks()
        if self._configure is not None:
            config.apply([self._configure], "configure_embed")
        read_code(config, before)
        for name in sorted(NOT_EMBEDDED & before.keys()):
            if getattr(config, name) != before[name]:
                config.notices.append(f"config.{name} counts for nothing here: the server is embedded")
        return config

    def _stop_at_exit(self) -> None:
        if self.is_running and self._home is not None:
            self._home.interpreter_ends()
            self.stop()


def configure_embed(configure: Configure) -> Embedded:
    """Decorator: what it makes of the function is a server to `run` inside this program.

    Ruby twin: Sidekiq.configure_embed.
    """
    return Embedded(configure)


class _Home(Protocol):
    """Where in the program the server lives."""

    launcher: Launcher

    def boot(self) -> None: ...
    def quiet(self) -> None: ...
    def stop(self) -> None: ...
    def interpreter_ends(self) -> None: ...


class _Greenlets:
    """On the hub of the thread it is started in."""

    def __init__(self, config: Config) -> None:
        self.launcher = Launcher(config, registry, embedded=True)

    def boot(self) -> None:
        _boot(self.launcher)

    def quiet(self) -> None:
        self.launcher.quiet()

    def stop(self) -> None:
        self.launcher.stop()

    def interpreter_ends(self) -> None:
        return


class _Thread:
    """On a hub in a native thread of its own."""

    launcher: Launcher

    def __init__(self, config: Config) -> None:
        self._config = config
        self._booted: Future[None] = Future()
        self._has_ended = threading.Event()
        self._is_left_behind = False
        self._thread = threading.Thread(target=self._live, name="sidekiq", daemon=True)

    def boot(self) -> None:
        self._thread.start()
        try:
            self._booted.result()
        except Exception:
            self._thread.join()
            raise

    def quiet(self) -> None:
        self._on_hub(self.launcher.quiet)

    def stop(self) -> None:
        self._on_hub(self.launcher.stop)
        self._loop.run_callback_threadsafe(self._is_over.set)
        self._has_ended.wait()
        if not self._is_left_behind:
            self._thread.join()

    def interpreter_ends(self) -> None:
        self._threads.may_grow = False

    def _live(self) -> None:
        self._loop = get_hub().loop
        self._is_over = Event()
        self._threads = Threads()
        keep_waiting = self._loop.async_()
        keep_waiting.start(lambda: None)  # a hub where nothing is left would give up
        try:
            self.launcher = Launcher(self._config, registry, embedded=True, threads=self._threads)
            _boot(self.launcher)
        except BaseException as error:
            self._booted.set_exception(error)
        else:
            self._booted.set_result(None)
            self._is_over.wait()
        self._is_left_behind = not self._threads.end(within=PATIENCE)
        if not self._is_left_behind:
            keep_waiting.close()
            get_hub().destroy(destroy_loop=True)
        self._has_ended.set()
        if self._is_left_behind:  # by a job that will report to this hub some day
            threading.Event().wait()

    def _on_hub(self, function: Callable[[], object]) -> None:
        done: Future[None] = Future()
        self._loop.run_callback_threadsafe(gevent.spawn, _report_to, done, function)
        done.result()


def _boot(launcher: Launcher) -> None:
    try:
        launcher.boot()
    except BaseException:
        launcher.disconnect()
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
