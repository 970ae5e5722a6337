"""What is written into a failed job: the fields that Ruby reads, spelt as Ruby would spell them.

Ruby twin: the other half of Sidekiq::JobRetry, `process_retry`'s changes to the job.
"""

from __future__ import annotations

from sidekiq_py.backtrace import backtrace_lines, encode_within
from sidekiq_py.claims import UnitOfWork
from sidekiq_py.component import ErrorReporter
from sidekiq_py.config import BacktraceCleaner
from sidekiq_py.dialect import timestamp_like
from sidekiq_py.job_retry import next_retry_count
from sidekiq_py.mend import mend
from sidekiq_py.payload import (
    Fields,
    Payload,
    error_class,
    error_message,
    fields,
    parse,
    read_timestamp,
    rebuild,
    scrub,
    write_changes,
)
from sidekiq_py.ruby_json import tidy
from sidekiq_py.surroundings import Surroundings


class FailureFields:
    """Notes failures in jobs, and gives their stored form."""

    def __init__(
        self, *, surroundings: Surroundings, backtrace_cleaner: BacktraceCleaner, report: ErrorReporter
    ) -> None:
        self._surroundings = surroundings
        self._backtrace_cleaner = backtrace_cleaner
        self._report = report

    def note(self, job: Payload, queue: str, error: BaseException, now: float) -> None:
        """Write the failure into the job, new keys in the order in which Ruby appends them."""
        dialect = self._surroundings.dialect
        moment = timestamp_like(job.get("created_at"), now, dialect)
        again = "retry_count" in job
        retry_queue = job.get("retry_queue")
        job["queue"] = retry_queue if retry_queue and isinstance(retry_queue, str) else queue
        job["error_message"] = error_message(error)
        job["error_class"] = error_class(error)
        if again:
            job["retried_at"] = moment
        if not again or read_timestamp(job.get("failed_at")) is None:
            job["failed_at"] = moment  # pages of Ruby's Web raise on a retry without it
        job["retry_count"] = next_retry_count(job) if again else 0
        if backtrace := self._backtrace(job, error):
            job["error_backtrace"] = encode_within(backtrace)
        mend(job, dialect)

    def _backtrace(self, job: Payload, error: BaseException) -> list[str]:
        if not (wanted := job.get("backtrace")):
            return []
        lines = backtrace_lines(error)

        def clean() -> list[str]:
            return [scrub(str(line)) for line in self._backtrace_cleaner(lines)]

        context = {"context": "the backtrace cleaner failed", "job": job}
        lines = self._report.guarded(clean, context=context, otherwise=lines)
        return lines[:wanted] if type(wanted) is int else lines

    def stored_form(self, work: UnitOfWork, job: Payload) -> Fields:
        """The raw form of the job as it is now, spelt so that a Ruby here would spell it no other way."""
        around = self._surroundings
        modern_floats = around.dialect.modern_floats if around.ruby_is_here else None
        stored = fields(tidy(work.raw, modern_floats=modern_floats))
        write_changes(stored, parse(work.raw), job)
        return stored

    def with_changes_of_hook(self, stored: Fields, job: Payload) -> Fields:
        """The raw form of the job with what a hook did to it, or without where JSON has no words for that."""

        def changed() -> Fields:
            found = dict(stored)
            # A parsed twin, not a deep copy of `job`: that gives up on deep nesting.
            write_changes(found, parse(rebuild(stored)), job)
            return found

        context = {"context": "what a hook left in the job is not JSON", "job": job}
        return self._report.guarded(changed, context=context, otherwise=stored)
