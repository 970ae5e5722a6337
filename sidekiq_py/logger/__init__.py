"""Log lines as Sidekiq writes them, with the running job's context in every one.

Loggers are the standard library's, by name: `sidekiq` for the server, `sidekiq.job` for jobs. Importing
this changes nothing in `logging`; `setup_logging` does. Ruby twin: Sidekiq::Logger.
"""

from __future__ import annotations

from sidekiq_py.logger.context import (
    DEFAULT_ATTRIBUTES,
    JobContextFilter,
    JobToken,
    bind_inner_job,
    bind_job,
    bound_job,
    context,
    current_tid,
    fields,
    job_level,
    new_tid,
    release_job,
    sidekiq_context,
    tid,
)
from sidekiq_py.logger.formats import LOG_FORMATS, LogFormat
from sidekiq_py.logger.levels import JobLevels, parse_level
from sidekiq_py.logger.setup import (
    LoggingSetup,
    install_record_factory,
    logger,
    remove_record_factory,
    setup_logging,
    use_colour,
)

__all__ = [
    "DEFAULT_ATTRIBUTES",
    "LOG_FORMATS",
    "JobContextFilter",
    "JobLevels",
    "JobToken",
    "LogFormat",
    "LoggingSetup",
    "bind_inner_job",
    "bind_job",
    "bound_job",
    "context",
    "current_tid",
    "fields",
    "install_record_factory",
    "job_level",
    "logger",
    "new_tid",
    "parse_level",
    "release_job",
    "remove_record_factory",
    "setup_logging",
    "sidekiq_context",
    "tid",
    "use_colour",
]
