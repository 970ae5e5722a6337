"""`config.redis`: what reading and setting it means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    from sidekiq_py.redis_connection import RedisOptions


class RedisSetting:
    """`config.redis`: RedisOptions when read; set by these, by a URL, or by a dict of their names."""

    @overload
    def __get__(self, config: None, owner: type) -> str: ...
    @overload
    def __get__(self, config: object, owner: type) -> RedisOptions: ...
    def __get__(self, config: object | None, owner: type) -> RedisOptions | str:
        if config is None:
            return ""  # the default, as dataclasses ask for it
        if (redis := vars(config).get("redis")) is None:
            vars(config)["redis"] = redis = _redis_options()()
        return redis

    def __set__(self, config: object, given: RedisOptions | str | Mapping[str, Any]) -> None:
        if given == "" and "redis" not in vars(config):
            vars(config)["redis"] = None  # who only asks for `configure_server` doesn't pay for reading URLs
            return
        vars(config)["redis"] = _redis_options().of(given, base=self.__get__(config, type(config)))
        if "origins" in vars(config):
            vars(config)["origins"]["redis_url"] = "config.redis"


def _redis_options() -> type[RedisOptions]:
    from sidekiq_py.redis_connection import RedisOptions  # late: it reads URLs and certificates

    return RedisOptions
