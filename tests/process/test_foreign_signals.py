"""Handlers may use signals of their own."""

from __future__ import annotations

import os
import signal

import pytest

HANDLERS = """
import signal
from sidekiq_py import job

signal.signal(signal.SIGALRM, lambda *_: print("alarm", flush=True))

@job("NoOp")
def no_op(): pass
"""


@pytest.mark.parametrize("processes", ["0", "1"])
def test_a_handlers_own_signal_neither_stops_a_server_nor_deafens_it(sidekiq_py, processes):
    server = sidekiq_py(HANDLERS, "-p", processes)
    os.kill(server.worker_pid, signal.SIGALRM)
    server.wait_for_log("alarm")

    assert server.is_running
    assert server.stop() == 0
