"""Jobs that wait for a processor, processors that wait for a job: each is taken once, and none is lost."""

from __future__ import annotations

import gevent
import pytest

from sidekiq_py.claims import UnitOfWork
from sidekiq_py.ready_jobs import ReadyJobs


def job(name: str) -> UnitOfWork:
    return UnitOfWork("default", name.encode())


def names(works: list[UnitOfWork]) -> list[str]:
    return [work.raw.decode() for work in works]


def waiting(ready: ReadyJobs, count: int) -> list[gevent.Greenlet]:
    greenlets = [gevent.spawn(ready.get) for _ in range(count)]
    gevent.sleep(0)
    return greenlets


def results(greenlets: list[gevent.Greenlet]) -> list[UnitOfWork | None]:
    gevent.joinall(greenlets, timeout=30, raise_error=True)
    assert all(greenlet.dead for greenlet in greenlets)
    return [greenlet.value for greenlet in greenlets]


def test_jobs_are_taken_in_the_order_they_came():
    ready = ReadyJobs()
    for name in "abc":
        ready.put(job(name))

    assert names([ready.get() for _ in range(3)]) == ["a", "b", "c"]


@pytest.mark.parametrize("count", [1, 300])
def test_each_of_many_that_wait_gets_a_job_of_its_own(count):
    ready = ReadyJobs()
    greenlets = waiting(ready, count)

    for number in range(count):
        ready.put(job(str(number)))

    assert sorted(map(int, names(results(greenlets)))) == list(range(count))


def test_one_that_is_killed_while_it_waits_takes_no_job_along():
    ready = ReadyJobs()
    first, last = waiting(ready, 2)

    last.kill(block=False)  # it would have been the next to get one
    ready.put(job("a"))

    assert names(results([first])) == ["a"]


def test_a_job_for_one_that_was_killed_goes_to_the_next_that_asks():
    ready = ReadyJobs()
    gevent.killall(waiting(ready, 3))

    ready.put(job("a"))
    gevent.sleep(0)

    assert names([ready.get()]) == ["a"]


def test_sockets_and_timers_have_a_turn_while_many_are_woken():
    ready, seen = ReadyJobs(), []

    def take() -> None:
        ready.get()
        seen.append("job")

    greenlets = [gevent.spawn(take) for _ in range(300)]
    gevent.sleep(0)
    for number in range(300):
        ready.put(job(str(number)))
    gevent.get_hub().loop.run_callback(seen.append, "other")
    gevent.joinall(greenlets, timeout=30)

    assert 0 < seen.index("other") < 300


def test_when_closed_those_who_wait_hear_that_this_was_all():
    ready = ReadyJobs()
    greenlets = waiting(ready, 120)

    ready.close()

    assert results(greenlets) == [None] * 120
    assert ready.get() is None


def test_what_comes_when_quiet_is_kept_and_not_started():
    ready = ReadyJobs()
    ready.put(job("a"))
    ready.quiet()
    ready.put(job("b"))

    assert names([ready.get()]) == ["a"]
    assert len(ready) == 0
    assert names(ready.take_unstarted()) == ["b"]


def test_what_could_not_be_given_back_is_not_started_either():
    ready = ReadyJobs()
    ready.put(job("a"))

    ready.put_aside(ready.take_unstarted())

    assert len(ready) == 0
    assert ready.has_unwanted
    assert names(ready.unstarted()) == ["a"]
