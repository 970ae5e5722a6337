"""From a resolved config to running jobs: logging, the application's handlers, then the launcher.

Ruby twin: Sidekiq::CLI#run.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from sidekiq_py.boot import configure_server, load_handlers
from sidekiq_py.client_defaults import defaults
from sidekiq_py.config import Config
from sidekiq_py.errors import HandlersNotLoaded, RedisAuthError, RedisDown, RedisError
from sidekiq_py.exit_code import ExitCode
from sidekiq_py.garbage import look_less_often
from sidekiq_py.launcher import Launcher
from sidekiq_py.logger import LoggingSetup, setup_logging
from sidekiq_py.registry import registry
from sidekiq_py.worker_process import Line

logger = logging.getLogger("sidekiq")


def run_worker(config: Config, line: Line | None = None) -> int:
    """Load the handlers and work until told to stop; returns the exit code. `line` leads to a supervisor.

    Log records go to stdout; what keeps the server from starting goes to stderr.
    """
    if line is not None:
        line.stack.offer()
    os.environ["RAILS_ENV"] = os.environ["RACK_ENV"] = config.environment  # as Sidekiq does, for the handlers
    logs = setup_logging(**_log_settings(config))
    defaults.use(config)  # handlers that push while they load do it by the server's settings
    try:
        return _run(config, logs, line)
    except HandlersNotLoaded as error:
        return _fail(ExitCode.HANDLERS, f"{error.trace}sidekiq-py: {error}")
    except (RedisDown, RedisAuthError, RedisError) as error:
        return _fail(ExitCode.REDIS, f"sidekiq-py: {config.redis_trouble(error)}")
    finally:
        logs.close()


def _run(config: Config, logs: LoggingSetup, line: Line | None) -> int:
    logs.step_aside()  # the application may set up logging of its own
    modules = load_handlers(config.require, chosen="require" in config.origins)
    processes, log_settings = config.processes, _log_settings(config)
    configure_server(config)
    if config.processes != processes:
        logger.warning(
            "config.processes = %s comes too late: %d was started; give -p %s, SIDEKIQ_PROCESSES or the file",
            *(config.processes, processes, config.processes),
        )
    if _log_settings(config) != log_settings:
        logs.change(**_log_settings(config))
    logs.settle()
    logs.take_prints()
    if not registry.names():
        raise HandlersNotLoaded(
            f'{", ".join(modules)} registered no handler; put @job("HardJob") over the function that runs '
            f"Ruby's HardJob, or name the right module with -r"
        )
    for notice in config.notices:
        logger.warning("%s", notice)
    look_less_often(config.total_concurrency)
    return Launcher(config, registry, job_levels=logs.levels, line=line).run()


def _log_settings(config: Config) -> dict[str, Any]:
    return {
        "format": config.log_format,
        "level": config.log_level,
        "environ": os.environ,
        "attributes": tuple(config.logged_job_attributes),  # code may append to it
    }


def _fail(code: ExitCode, sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return code
