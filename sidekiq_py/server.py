"""The server: a supervisor and its workers, or one process without a supervisor.

Nothing here or in what it imports needs gevent: a supervisor is never patched, a worker is before all else.
"""

from __future__ import annotations

import os
import signal

from sidekiq_py.config import Config
from sidekiq_py.logger import setup_logging
from sidekiq_py.patch import patch
from sidekiq_py.signal_pipe import HARMLESS, spare
from sidekiq_py.supervisor import Supervisor
from sidekiq_py.worker_process import ForkedWorker, Line


def run_server(config: Config) -> int:
    """Work until told to stop; returns the exit code, in the supervisor and in each worker."""
    spare((*HARMLESS, signal.SIGTSTP, signal.SIGTTIN))  # the last two would stop it as Control-Z does
    if config.processes == 0:
        return _work(config, None)
    logs = setup_logging(
        format=config.log_format,
        level=config.log_level,
        environ=os.environ,
        attributes=config.logged_job_attributes,
    )
    try:
        return Supervisor(config).run()
    except ForkedWorker as worker:
        line = worker.line
        spare([signal.SIGINT], silently=True)  # Control-C reaches the whole group; the supervisor decides
    finally:
        logs.close()
    return _work(config, line)


def _work(config: Config, line: Line | None) -> int:
    patch()
    from sidekiq_py.worker import run_worker  # what it imports has to find everything patched

    return run_worker(config, line)
