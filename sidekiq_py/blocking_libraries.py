"""Libraries in C that wait where gevent can't see it: one of their calls stops all jobs of its process."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any, Final


def blocking_libraries() -> Iterator[str]:
    """A sentence for the log about each that the application has loaded and not made to give way."""
    for name, (is_blocking, remedy) in _LIBRARIES.items():
        module = sys.modules.get(name)
        if module is not None and is_blocking(module):
            yield (
                f"{name.partition('.')[0]} is loaded and waits in C, where gevent doesn't see it: while one "
                f"of its calls waits, no other job of the process runs; {remedy}"
            )


def _psycopg2(module: Any) -> bool:
    wait_callback = getattr(module, "get_wait_callback", None)  # what psycogreen sets
    return wait_callback is not None and wait_callback() is None


def _grpc(module: Any) -> bool:
    return getattr(module, "g_gevent_activated", None) is False


def _mysqlclient(module: Any) -> bool:
    return bool(module.__name__ == "MySQLdb")  # PyMySQL, which gives way, can take its name


# By the module that tells, as sys.modules has it. Nothing is imported by us.
_LIBRARIES: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "psycopg2.extensions": (
        _psycopg2,
        "call psycogreen.gevent.patch_psycopg() where your handlers are loaded",
    ),
    "grpc._cython.cygrpc": (
        _grpc,
        "call grpc.experimental.gevent.init_gevent() before the first channel is made",
    ),
    "MySQLdb": (_mysqlclient, "use PyMySQL, or more processes (-p) with less concurrency (-c)"),
}
