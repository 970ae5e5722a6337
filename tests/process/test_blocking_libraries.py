"""J6: libraries that stop every job of a process while they wait are named at the start.

psycopg2 is the real one. For those that are large, or need a compiler, stands a module of that name.
"""

from __future__ import annotations

import pytest

from tests.process.stage import Stage

STAND_INS = {
    "grpc": "grpc/_cython/cygrpc.py",
    "MySQLdb": "MySQLdb/__init__.py",
    "pymysql": "pymysql/__init__.py",
}
SAID = "is loaded and waits in C"


@pytest.fixture
def stand_ins(stage: Stage) -> None:
    for path in STAND_INS.values():
        file = stage.directory / path
        file.parent.mkdir(parents=True)
        file.write_text("g_gevent_activated = False\n")


@pytest.mark.row("J6")
@pytest.mark.parametrize(
    ("handlers", "remedy"),
    [
        ("import psycopg2", "psycogreen.gevent.patch_psycopg()"),
        ("import grpc._cython.cygrpc", "grpc.experimental.gevent.init_gevent()"),
        ("import MySQLdb", "use PyMySQL"),
    ],
    ids=["psycopg2", "grpc", "MySQLdb"],
)
@pytest.mark.usefixtures("stand_ins")
def test_a_library_that_blocks_is_named_once_with_what_to_do(stage: Stage, handlers: str, remedy: str):
    server = stage.start(handlers)

    [line] = [line for line in server.log.splitlines() if SAID in line]
    assert "WARN" in line
    assert f"{handlers.split()[1].partition('.')[0]} {SAID}" in line
    assert remedy in line


@pytest.mark.row("J6")
@pytest.mark.parametrize(
    "handlers",
    [
        "import psycopg2.extensions; psycopg2.extensions.set_wait_callback(lambda connection: None)",
        "import grpc._cython.cygrpc; grpc._cython.cygrpc.g_gevent_activated = True",
        "import pymysql, sys; sys.modules['MySQLdb'] = pymysql",
        "",
    ],
    ids=["psycopg2", "grpc", "MySQLdb", "none"],
)
@pytest.mark.usefixtures("stand_ins")
def test_one_that_gives_way_is_not(stage: Stage, handlers: str):
    assert SAID not in stage.start(handlers).log
