"""The thread that hears signals and the supervisor: no word is lost, and nothing makes it deaf."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import gevent
import pytest

from sidekiq_py.running_table import RunningTable
from sidekiq_py.signals import LONGEST_READ, PAUSE_AFTER_ERROR, Signals
from sidekiq_py.stack_dump import StackDump
from sidekiq_py.worker_process import Line
from tests.helpers import eventually


@contextmanager
def hearing(line: Line | None = None, **more) -> Iterator[list[str]]:
    heard: list[str] = []
    signals = Signals(
        on_signal=heard.append, **{"overdue": lambda: None, "stop_within": 60.0, "line": line, **more}
    )
    signals.start()
    try:
        yield heard
    finally:
        signals.restore()


@pytest.fixture
def supervised() -> Iterator[tuple[socket.socket, Line]]:
    """The supervisor's end of a line, and the worker's."""
    ours, theirs = socket.socketpair()
    line = Line(theirs, RunningTable(), (), StackDump())
    with ours, theirs:
        yield ours, line
    line.table.close()
    line.stack.close()


def soon(heard: list[str], last: str) -> None:
    with gevent.Timeout(30):
        while last not in heard:
            gevent.sleep(0.01)


def test_a_word_that_is_read_in_two_parts_is_heard_as_one(supervised):
    supervisor, line = supervised
    many = LONGEST_READ // len("TTIN\n")

    with hearing(line) as heard:
        supervisor.sendall(b"TTIN\n" * many + b"TERM\n")
        soon(heard, "TERM")

    assert heard == ["TTIN"] * many + ["TERM"]


def test_a_supervisor_that_dies_with_unread_news_is_heard_to_die(supervised):
    supervisor, line = supervised
    line.control.send(b"news that it will not read")

    with hearing(line) as heard:
        supervisor.close()  # with unread news in it: the other end reads an error, instead of the end
        soon(heard, "TERM")
        os.kill(os.getpid(), signal.SIGTTIN)
        soon(heard, "TTIN")

    assert heard == ["ORPHANED", "TERM", "TTIN"]


def test_an_error_of_the_last_resort_is_logged_and_it_is_tried_again(caplog):
    tries: list[str] = []

    def overdue() -> None:
        tries.append("tried")
        if len(tries) == 1:
            raise MemoryError

    with hearing(overdue=overdue, stop_within=0.0):
        os.kill(os.getpid(), signal.SIGTERM)
        eventually(lambda: len(tries) == 2, 30 + PAUSE_AFTER_ERROR)

    assert "the thread that hears signals failed" in caplog.text
