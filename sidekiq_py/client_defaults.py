"""What clients use that were given nothing of their own: one configuration and one pool per process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sidekiq_py.clock import Clock

if TYPE_CHECKING:
    from sidekiq_py.config import Config
    from sidekiq_py.redis_connection import Redis


class Defaults:
    """Made at first need: from the environment, then by the functions under `@configure_client`.

    A server hands its own config in with `use`, so that jobs which push jobs do it by the server's settings.
    There is no lock: two threads that need it first at once make two, and one is kept.
    """

    def __init__(self) -> None:
        self._config: Config | None = None
        self._redis: Redis | None = None
        self.clock = Clock()

    @property
    def config(self) -> Config:
        """The config in use. Raises InvalidConfig when the environment can't be followed."""
        if self._config is None:
            made = _from_environment()
            self._config = self._config or made
        return self._config

    @property
    def redis(self) -> Redis:
        """The pool on the configured Redis; connects at its first command."""
        if self._redis is None:
            made = _pool(self.config)
            self._redis = self._redis or made
        return self._redis

    def use(self, config: Config | None, redis: Redis | None = None, *, clock: Clock | None = None) -> None:
        """Take this config, pool and clock from now on; None: what the environment says, at the next need."""
        self._config, self._redis = config, redis
        self.clock = clock or Clock()


def _from_environment() -> Config:
    from sidekiq_py.config_sources import client_config  # only who pushes by default pays for reading files

    config = client_config()
    config.apply_client_hooks()
    return config


def _pool(config: Config) -> Redis:
    from sidekiq_py.redis_connection import RedisPool  # only who pushes pays

    return RedisPool(config.redis, size=config.pool_size or 10)


defaults: Final = Defaults()
