"""A native thread is interrupted in its call, never after it."""

from __future__ import annotations

import io
import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest

from sidekiq_py.errors import Shutdown
from sidekiq_py.interrupt import Interruptible
from tests.helpers import eventually


def run_in_thread(call: Interruptible) -> Callable[[], tuple[object, BaseException | None]]:
    outcomes: list[tuple[object, BaseException | None]] = []
    threading.Thread(target=lambda: outcomes.append(call()), daemon=True).start()
    return lambda: eventually(lambda: outcomes[0] if outcomes else None, 30)


def spin_until(flag: threading.Event, begun: threading.Event) -> str:
    begun.set()
    while not flag.is_set():
        time.sleep(0.001)
    return "by itself"


def test_what_a_call_returns_or_raises_is_its_outcome():
    assert Interruptible(lambda: 5)() == (5, None)
    value, error = Interruptible(lambda: 1 // 0)()
    assert value is None
    assert isinstance(error, ZeroDivisionError)


def test_an_interrupt_is_raised_in_the_call():
    begun = threading.Event()
    call = Interruptible(spin_until, threading.Event(), begun)
    outcome = run_in_thread(call)
    begun.wait(30)

    eventually(lambda: call.interrupt(Shutdown), 30)

    assert isinstance(outcome()[1], Shutdown)


def test_an_interrupt_before_the_call_keeps_it_from_running():
    ran: list[int] = []
    call = Interruptible(ran.append, 1)

    call.interrupt(Shutdown)

    assert isinstance(call()[1], Shutdown)
    assert ran == []


def test_an_interrupt_runs_the_clean_up_of_the_call():
    begun, cleaned = threading.Event(), threading.Event()

    def job() -> None:
        try:
            spin_until(threading.Event(), begun)
        finally:
            cleaned.set()

    call = Interruptible(job)
    outcome = run_in_thread(call)
    begun.wait(30)
    eventually(lambda: call.interrupt(Shutdown), 30)

    assert isinstance(outcome()[1], Shutdown)
    assert cleaned.is_set()


def test_nothing_is_raised_in_the_thread_once_the_call_has_ended():
    call = Interruptible(lambda: 5)
    assert call() == (5, None)

    call.interrupt(Shutdown)

    for _ in range(1000):
        time.sleep(0)


def test_interrupts_at_the_moment_of_the_end_stay_in_the_call():
    """Each ends one way or the other, and the thread, which goes on, is never hit outside of a call."""
    current = [Interruptible(int)]
    escaped: list[BaseException] = []
    outcomes: Counter[type | None] = Counter()

    def work() -> None:
        try:
            while outcomes[Shutdown] < 100:
                current[0] = call = Interruptible(lambda: sum(range(200)))
                error = call()[1]
                outcomes[error and type(error)] += 1
        except BaseException as error:
            escaped.append(error)

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    while worker.is_alive():
        current[0].interrupt(Shutdown)

    assert escaped == []
    assert outcomes.keys() <= {None, Shutdown}


@pytest.mark.parametrize("use", ["logging", "queue", "condition"])
def test_an_interrupt_leaves_no_lock_behind(use: str):
    """The standard library takes them by a call, and the `finally` that frees them begins a moment later."""
    quiet_logger = logging.Logger("quiet")
    quiet_logger.addHandler(logging.StreamHandler(io.StringIO()))
    items: queue.Queue[int] = queue.Queue()
    condition = threading.Condition()

    def take_the_lock() -> None:
        with condition:
            return

    uses = {"logging": lambda: quiet_logger.error("line"), "queue": items.qsize, "condition": take_the_lock}

    def work() -> None:
        while True:
            uses[use]()

    for _ in range(20):
        call = Interruptible(work)
        outcome = run_in_thread(call)
        while not call.interrupt(Shutdown):
            time.sleep(0)
        assert isinstance(outcome()[1], Shutdown)
        other = threading.Thread(target=uses[use], daemon=True)
        other.start()
        other.join(10)
        assert not other.is_alive(), "the lock is held by a call that has ended"
