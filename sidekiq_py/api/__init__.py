"""What lies in Redis, looked at and edited: the library under the commands and the Web UI.

Every class takes the Redis it works on: `RetrySet(RedisPool(RedisOptions.from_url(url)))`. Reading never
writes; edits are atomic, whoever else is at work. Ruby twin: sidekiq/api.
"""

from __future__ import annotations

from sidekiq_py.api.job_record import JobRecord
from sidekiq_py.api.job_set import DeadSet, JobSet, Page, RetrySet, ScheduledSet, SortedEntry
from sidekiq_py.api.morgue import DeadLimits, JobKilled
from sidekiq_py.api.process_set import Process, ProcessCapsule, ProcessSet
from sidekiq_py.api.queue import Queue, QueuedJob, QueuePage, QueueSummary, queue_summaries
from sidekiq_py.api.stats import Day, Stats, history
from sidekiq_py.api.work_set import Work, WorkSet
from sidekiq_py.errors import EmbeddedProcess

__all__ = [
    "Day",
    "DeadLimits",
    "DeadSet",
    "EmbeddedProcess",
    "JobKilled",
    "JobRecord",
    "JobSet",
    "Page",
    "Process",
    "ProcessCapsule",
    "ProcessSet",
    "Queue",
    "QueuePage",
    "QueueSummary",
    "QueuedJob",
    "RetrySet",
    "ScheduledSet",
    "SortedEntry",
    "Stats",
    "Work",
    "WorkSet",
    "history",
    "queue_summaries",
]
