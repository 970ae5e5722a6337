"""Log lines in a process whose threads are monkey-patched, as the server's is."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PATCHED = "import gevent.monkey; gevent.monkey.patch_all()\n"

BUSY_HUB = """
import logging, time
from sidekiq_py.logger import setup_logging
setup_logging(format="json")
start_thread = gevent.monkey.get_original("_thread", "start_new_thread")
sleep = gevent.monkey.get_original("time", "sleep")
heard = []

def beat():
    for number in range(50):
        logging.getLogger("sidekiq").info("beat %d", number)
        sleep(0.001)
    heard.append(True)

start_thread(beat, ())
until = time.monotonic() + 20
while not heard and time.monotonic() < until:  # the hub never gets a turn
    logging.getLogger("sidekiq").info("busy")
print(len(heard))
"""

TWO_JOBS = """
import logging, threading
from sidekiq_py.logger import bind_job, current_tid, new_tid, release_job, setup_logging
setup_logging(format="json")

def process(jid):
    current_tid.set(new_tid())
    token = bind_job({"class": "HardJob", "jid": jid, "args": []}, "default")
    for _ in range(3):
        logging.getLogger("some.library").info(jid)
        gevent.sleep(0)
    release_job(token)

threads = [threading.Thread(target=process, args=(f"j{n}",)) for n in range(2)]
greenlets = [gevent.spawn(process, f"j{n}") for n in range(2, 5)]
[each.start() for each in threads]
[each.join() for each in [*threads, *greenlets]]
"""


def run(script):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_a_native_thread_gets_its_lines_out_while_the_hub_is_busy():
    *lines, heard = run(PATCHED + BUSY_HUB)

    messages = [json.loads(line)["msg"] for line in lines]
    assert heard == "1"
    assert [each for each in messages if each != "busy"] == [f"beat {n}" for n in range(50)]


@pytest.mark.row("J4")
def test_jobs_in_patched_threads_and_greenlets_keep_their_own_context():
    entries = [json.loads(line) for line in run(PATCHED + TWO_JOBS)]

    assert len(entries) == 15
    assert all(entry["ctx"]["jid"] == entry["msg"] for entry in entries)
    assert len({(entry["tid"], entry["msg"]) for entry in entries}) == 5
    assert len({entry["tid"] for entry in entries}) == 5


def test_importing_the_logger_imports_no_gevent_and_changes_nothing_in_logging():
    script = """
import logging, sys
before = logging.getLogRecordFactory(), logging.root.level, logging.root.handlers[:]
import sidekiq_py.logger
after = logging.getLogRecordFactory(), logging.root.level, logging.root.handlers[:]
print("gevent" in sys.modules, before == after)
"""

    assert run(script) == ["False True"]
