"""A server inside another program: in a web server's process, or in a script.

Ruby twin: Sidekiq::Embedded.
"""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401  # before `threading` hears of us: at exit it asks us first then
import logging
import os
import threading
from types import TracebackType
from typing import Any, Final, Self

from gevent import get_hub, monkey

from sidekiq_py.backoff import Backoff
from sidekiq_py.config import Config, Configure
from sidekiq_py.config_sources import NOT_EMBEDDED, embedded_config, read_code, values_of
from sidekiq_py.embedding import Greenlets, Home, Thread
from sidekiq_py.errors import HandlersNotLoaded, RedisDown
from sidekiq_py.logger import bound_job
from sidekiq_py.registry import registry
from sidekiq_py.user_code import check_function

PATCHED_TOGETHER: Final = ("socket", "threading", "time")

logger = logging.getLogger("sidekiq")


class Embedded:
    """A server inside this program, from `run` to `stop`, or for the length of a `with` block.

    It runs the jobs of all handlers that are registered at `run`. Where gevent has patched the program, jobs
    run in greenlets of its main thread; elsewhere in native threads, `config.concurrency` of them. Signals,
    logging and the end of the process stay the program's. While it runs, the program pushes by its config,
    too. A process has one at a time; a forked child has none, `run` it there.

    `configure` gets the config at `run`, after the functions under `@configure_client` and
    `@configure_server`.
    """

    def __init__(self, configure: Configure | None = None) -> None:
        if configure is not None:
            check_function("configure_embed", configure, takes="config")
        self._configure = configure
        self._home: Home | None = None
        self._config: Config | None = None
        self._gave_up = threading.Event()

    @property
    def identity(self) -> str:
        """`<hostname>:<pid>:<12 hex>`, as in `processes`. Raises RuntimeError when it doesn't run."""
        home = self._home
        if not self.is_running or home is None:
            raise RuntimeError("the embedded server is not running: call run() first")
        return home.launcher.identity

    @property
    def is_running(self) -> bool:
        """Whether it takes jobs, or is starting or stopping, in this process."""
        return self._home is not None and _running.get("server") is self

    def run(self, *, redis_may_be_down: bool = False) -> None:
        """Start; when it returns, jobs are being fetched.

        With `redis_may_be_down` it returns also where Redis can't be reached, and starts as soon as it can.
        Raises InvalidConfig, HandlersNotLoaded when there is no handler or a callback for `startup` fails,
        RuntimeError when a server runs already, and RedisDown, RedisAuthError or RedisError when Redis can't
        be used. Nothing runs then.
        """
        patched = _is_patched()
        self._claim_process()
        try:
            self._config = config = self._configured()
            for notice in config.notices:
                logger.warning("%s", notice)
            self._gave_up = threading.Event()
            self._boot(config, patched)
        except RedisDown as error:
            if not redis_may_be_down:
                self._forget()
                raise
            logger.warning("%s. The embedded server starts when it is back", str(error).removesuffix("."))
            threading.Thread(target=self._boot_later, args=(config, patched), daemon=True).start()
        except BaseException:
            self._forget()
            raise

    def quiet(self) -> None:
        """Take no new jobs; running ones go on. Only a stop follows."""
        home = self._home
        if self.is_running and home is not None:
            home.quiet()

    def stop(self) -> None:
        """Let jobs finish for `config.timeout` seconds, and put back on their queues what is left then.

        Returns when the server has ended, also where somebody else stops it; nothing happens when it doesn't
        run. RuntimeError in a job, which would wait for itself. A job in a native thread hears of its end
        when it runs Python code again, and can't be kept from running on until then.
        """
        if bound_job() is not None:
            raise RuntimeError("a job can't stop the server that runs it: it would wait for itself")
        self._gave_up.set()
        home = self._home
        if _running.get("server") is not self:
            return
        if home is not None:
            home.stop()
        if self._home is home:  # nobody who waited too has begun anew
            self._forget()

    def __enter__(self) -> Self:
        self.run()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = "running" if self.is_running else "not running"
        queues = f" on {', '.join(self._config.all_queues)}" if self._config else ""
        return f"<{type(self).__name__} {state}{queues}>"

    def _claim_process(self) -> None:
        with _lock:
            if _running:
                raise RuntimeError("an embedded server is running in this process already: stop it first")
            _running["server"] = self

    def _configured(self) -> Config:
        config = embedded_config()
        before = values_of(config)
        config.apply_client_hooks()
        config.apply_server_hooks()
        if self._configure is not None:
            config.apply([self._configure], "configure_embed")
        read_code(config, before)
        if not registry.names():
            raise HandlersNotLoaded(
                "no handler is registered: import the modules with your @job functions before run()"
            )
        for name in sorted(NOT_EMBEDDED & before.keys()):
            if getattr(config, name) != before[name]:
                config.notices.append(f"config.{name} counts for nothing here: the server is embedded")
        return config

    def _boot(self, config: Config, patched: bool) -> None:
        self._home = home = Greenlets(config) if patched else Thread(config)
        try:
            home.boot()
        except BaseException:
            self._home = None
            raise

    def _boot_later(self, config: Config, patched: bool) -> None:
        backoff = Backoff()
        while not self._gave_up.wait(backoff.next_pause()):
            try:
                self._boot(config, patched)
            except RedisDown:
                continue
            except BaseException:
                logger.exception("the embedded server can't start, and doesn't try again")
                self._forget()
            if self._gave_up.is_set():  # while it booted
                self.stop()
            return

    def _stop_at_exit(self) -> None:
        """The interpreter ends, and gives nobody time: what runs goes back to its queue at once."""
        if self.is_running and self._home is not None:
            self._home.hurry()
            self.stop()

    def _forget(self) -> None:
        self._home = self._config = None
        if _running.get("server") is self:
            del _running["server"]


def configure_embed(configure: Configure) -> Embedded:
    """Decorator: what it makes of the function is a server to `run` inside this program.

    Ruby twin: Sidekiq.configure_embed.
    """
    return Embedded(configure)


_lock: Final = threading.Lock()
_running: Final[dict[str, Embedded]] = {}  # the one that has claimed this process


def _is_patched() -> bool:
    """RuntimeError where a server could run neither in greenlets nor in threads."""
    patched = [name for name in PATCHED_TOGETHER if monkey.is_module_patched(name)]
    if patched and len(patched) < len(PATCHED_TOGETHER):
        missing = ", ".join(name for name in PATCHED_TOGETHER if name not in patched)
        raise RuntimeError(
            f"gevent has patched {', '.join(patched)} of this program, but not {missing}: an embedded server "
            "needs all or none, see gevent.monkey.patch_all"
        )
    if patched and not get_hub().loop.default:
        raise RuntimeError(
            "run() was called in a native thread of a program that gevent has patched: call it in the main "
            "thread, where jobs can run in greenlets"
        )
    return bool(patched)


def _stop_at_exit() -> None:
    if (server := _running.get("server")) is not None:
        server._stop_at_exit()


# Earlier than atexit, which comes when no thread can be started any more: jobs that want one would fail.
_register_at_exit: Any = threading._register_atexit  # type: ignore[attr-defined]
_register_at_exit(_stop_at_exit)
os.register_at_fork(after_in_child=_running.clear)
