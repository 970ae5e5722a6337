"""`kill -9` at each moment between a queue and the end of a job: where the job is then, and how it ends."""

from __future__ import annotations

import time

import pytest

from tests.chaos.container import contained, needs_containers
from tests.chaos.ruin import Ruin, jid, send
from tests.helpers import at_once, eventually
from tests.process.stage import LONG, payload

pytestmark = pytest.mark.servers

GONE = "gone:1:abcdefabcdef"

# (failpoint, where the job is when its process has died there, runs until then, and altogether)
WINDOWS = [
    pytest.param("fetch.send:1", "queue", 0, 1, id="before the fetch"),
    pytest.param("fetch.reply:1", "claim", 0, 1, id="fetched, the reply unread"),
    pytest.param("job.taken:1", "claim", 0, 1, id="read, not started"),
    pytest.param("job.begun:1", "claim", 0, 1, id="about to start"),
    pytest.param("job.done:1", "claim", 1, 2, id="done, the acknowledgement unsent"),
    pytest.param("acknowledge.reply:1", "nowhere", 1, 1, id="acknowledged, the reply unread"),
]


def die_at(ruin: Ruin, failpoint: str) -> None:
    """A server without a supervisor meets the failpoint, and its heartbeat is over."""
    server = ruin.launch("-p", "0", "-c", "1", environ={"SIDEKIQ_PY_FAILPOINT": failpoint})
    assert server.wait() == -9, server.log
    for identity in ruin.identities():
        ruin.stage.raw.delete(identity)


def where_is(ruin: Ruin, raw: bytes) -> str:
    stage = ruin.stage
    places = {
        "queue": stage.queue(),
        "claim": stage.claimed(),
        "retry": stage.retries(),
        "schedule": stage.raw.zrange("schedule", 0, -1),
        "dead": stage.dead(),
    }
    found = [name for name, jobs in places.items() if any(jid(raw).encode() in each for each in jobs)]
    assert len(found) <= 1
    return found[0] if found else "nowhere"


@pytest.mark.row("A4")
@pytest.mark.parametrize(("failpoint", "place", "runs_before", "runs"), WINDOWS)
def test_a_job_whose_process_dies_in_this_moment_is_in_one_place_and_ends(
    ruin: Ruin, failpoint: str, place: str, runs_before: int, runs: int
):
    [job] = ruin.push("Brief")

    die_at(ruin, failpoint)

    assert where_is(ruin, job) == place
    assert ruin.lines("start")[jid(job)] == runs_before
    ruin.start()
    ruin.wait_until_ended([job])
    ruin.wait_until_clean()
    assert ruin.lines("start")[jid(job)] == runs


@pytest.mark.row("A4")
def test_a_job_pushed_to_an_idle_server_that_dies_receiving_it_is_claimed(ruin: Ruin):
    server = ruin.launch("-p", "0", environ={"SIDEKIQ_PY_FAILPOINT": "idle.reply:1"})
    eventually(lambda: ruin.stage.raw.info("clients")["blocked_clients"] == 1, LONG)
    [job] = ruin.push("Brief")
    assert server.wait() == -9
    assert where_is(ruin, job) == "claim"
    ruin.stage.raw.delete(*ruin.identities())

    ruin.start()

    ruin.assert_once([job])


@pytest.mark.row("A4")
@pytest.mark.parametrize(("failpoint", "place"), [("settle.send:1", "claim"), ("settle.reply:1", "retry")])
def test_a_failure_is_recorded_once_whenever_its_process_dies(ruin: Ruin, failpoint: str, place: str):
    [job] = ruin.push("Fails")

    die_at(ruin, failpoint)

    assert where_is(ruin, job) == place
    ruin.start()
    assert ruin.stage.retry_of(jid(job))["retry_count"] == 0
    ruin.wait_until_clean()
    assert len(ruin.stage.retries()) == 1


@pytest.mark.row("A4", "F1")
@pytest.mark.parametrize(
    ("failpoint", "place"), [("promote.send:1", "schedule"), ("promote.reply:1", "queue")]
)
def test_a_due_job_is_enqueued_once_whenever_its_poller_dies(ruin: Ruin, failpoint: str, place: str):
    job = payload("Brief", queue="elsewhere")
    ruin.stage.raw.zadd("schedule", {job: time.time() - 1})

    die_at(ruin, failpoint)

    waiting = [jid(raw) for raw in ruin.stage.queue("elsewhere")]
    assert waiting == ([jid(job)] if place == "queue" else [])
    assert ruin.stage.raw.zcard("schedule") == (place == "schedule")
    ruin.start("-q", "elsewhere")
    ruin.assert_once([job])


@pytest.mark.every_server
@pytest.mark.row("A4")
def test_jobs_half_put_back_when_the_process_dies_stopping_are_all_there(ruin: Ruin):
    server = ruin.launch(
        *("-p", "0", "-c", "4", "-t", "0.1", "-q", "default", "-q", "low"),
        environ={"SIDEKIQ_PY_FAILPOINT": "requeue.send:2"},
    )
    eventually(ruin.identities, LONG)
    jobs = ruin.push("Until", "go", count=2)
    low = ruin.push_all([payload("Until", "go", queue="low") for _ in range(2)], "low")
    ruin.wait_until_running(4)
    server.signal("TERM")
    assert server.wait() == -9, server.log
    ruin.stage.raw.delete(*ruin.identities())

    ruin.stage.let("go")
    ruin.start("-q", "default", "-q", "low")
    ruin.wait_until_ended(jobs + low)

    ruin.wait_until_clean("default", "low")
    assert set(ruin.lines("start").values()) == {2}


# -- rescuers -----------------------------------------------------------------------------------------


def orphan(ruin: Ruin, count: int, *queues: str) -> list[bytes]:
    """Claims of a process that died with its host."""
    jobs = []
    for queue in queues:
        claimed = [payload("Brief", queue=queue) for _ in range(count)]
        ruin.push_all(claimed, queue)
        for _ in claimed:
            ruin.stage.raw.lmove(f"queue:{queue}", f"sidekiq-py:claim:{GONE}|{queue}")
        jobs += claimed
    names = ",".join(f'"{queue}"' for queue in queues)
    ruin.stage.raw.hset("sidekiq-py:processes", GONE, f'{{"queues":[{names}]}}')
    return jobs


@pytest.mark.every_server
@pytest.mark.row("A12")
def test_what_a_rescuer_left_when_it_died_the_next_one_rescues(ruin: Ruin):
    jobs = orphan(ruin, 250, "default", "low")
    queues = ("-q", "default", "-q", "low")
    dying = ruin.launch("-p", "0", *queues, environ={"SIDEKIQ_PY_FAILPOINT": "rescue.reply:2"})
    assert dying.wait() == -9, dying.log
    ruin.stage.raw.delete(*ruin.identities())

    ruin.start(*queues)
    ruin.wait_until_ended(jobs)

    ruin.wait_until_clean("default", "low")
    assert set(ruin.lines("end")) == {jid(raw) for raw in jobs}
    eventually(lambda: not ruin.stage.raw.hexists("sidekiq-py:processes", GONE), LONG)


@pytest.mark.every_server
@pytest.mark.row("A13")
def test_rescuers_that_race_put_each_job_back_once(ruin: Ruin):
    from sidekiq_py.redis_connection import RedisOptions, RedisPool
    from sidekiq_py.rescue import rescue

    jobs = orphan(ruin, 2000, "default")
    pools = [RedisPool(RedisOptions.from_url(ruin.stage.redis_url)) for _ in range(3)]
    rescuers = [lambda pool=pool: rescue(pool, GONE, ["default"]).requeued for pool in pools]

    moved = at_once(*rescuers)

    assert sum(moved) == len(jobs)
    assert sorted(ruin.stage.queue()) == sorted(jobs)


@pytest.mark.row("A14")
@needs_containers
def test_a_process_with_the_host_name_and_pid_of_a_dead_one_rescues_its_claims(ruin: Ruin):
    [job] = ruin.push("Until", "go")
    with contained(ruin, "-p", "0") as first:
        ruin.wait_until_running(1)
        [dead] = ruin.identities()
        send(first.pid, "KILL")
        first.wait()
    ruin.stage.let("go")

    with contained(ruin, "-p", "0") as second:
        ruin.wait_until_ended([job])
        ruin.wait_until_clean()

        [living] = set(ruin.identities()) - {dead}
        assert living != dead
        assert living.rpartition(":")[0] == dead.rpartition(":")[0]
        assert ruin.lines("start")[jid(job)] == 2
        assert f"rescued 1 jobs of {dead}" in second.log
