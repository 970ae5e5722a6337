"""Every option: its key in files, its flags, its environment variable, what it takes, what it does.

The command line, the help, the files and `docs/configuration.md` all follow this table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sidekiq_py import option_values as read
from sidekiq_py.config import UNKNOWN_CLASS
from sidekiq_py.logger import LOG_FORMATS
from sidekiq_py.option_values import Reader


@dataclass(frozen=True, kw_only=True)
class Option:
    """One thing that can be set. `name` is its key in files and, but for `redis_url`, in `Config`."""

    name: str
    read: Reader
    help: str
    default: str = ""  # as people read it; what holds is in Config
    flags: tuple[str, ...] = ()
    metavar: str = ""
    group: str = ""
    many: bool = False
    switch: bool = False
    in_files: bool = True

    @property
    def env(self) -> str:
        """The environment variable: `SIDEKIQ_` and the key."""
        return f"SIDEKIQ_{self.name.upper()}"


@dataclass(frozen=True)
class Given:
    """A value as it was given, and where: "-c", "env SIDEKIQ_CONCURRENCY", "config/sidekiq.yml:3"."""

    value: object
    origin: str


JOBS: Final = "Jobs"
PROCESSES: Final = "Processes"
PLACE: Final = "Application and Redis"
LOGS: Final = "Logs"
RUBY: Final = "Beside Ruby"

OPTIONS: Final = (
    Option(
        name="require",
        read=read.text,
        flags=("-r", "--require"),
        metavar="PATH|MODULE|DIR",
        group=JOBS,
        default=".",
        help="Handlers to load: a .py file, a dotted module, or a directory with handlers.py or jobs.py.",
    ),
    Option(
        name="concurrency",
        read=read.whole_number(1),
        flags=("-c", "--concurrency"),
        metavar="INT",
        group=JOBS,
        default="5",
        help="How many jobs run at once. RAILS_MAX_THREADS counts when nothing else is given.",
    ),
    Option(
        name="queues",
        read=read.queues,
        flags=("-q", "--queue"),
        metavar="QUEUE[,WEIGHT]",
        group=JOBS,
        many=True,
        default="default",
        help="A queue to fetch from; repeat it. Without weights the order is strict; with weights it is "
        "drawn by weight.",
    ),
    Option(
        name="timeout",
        read=read.seconds,
        flags=("-t", "--timeout"),
        metavar="SECONDS",
        group=JOBS,
        default="25",
        help="How long running jobs may finish at shutdown; then they go back to their queues.",
    ),
    Option(
        name="processes",
        read=read.whole_number(0),
        flags=("-p", "--processes"),
        metavar="INT",
        group=PROCESSES,
        default="1",
        help="Worker processes under a supervisor that brings back the jobs of one that dies. 0: no "
        "supervisor, this process works. Else SIDEKIQ_COUNT.",
    ),
    Option(
        name="max_memory",
        read=read.memory,
        flags=("--max-memory",),
        metavar="SIZE",
        group=PROCESSES,
        default="no limit",
        help="Memory (512M, 2G) at which a worker finishes its jobs and another takes its place.",
    ),
    Option(
        name="max_jobs",
        read=read.whole_number(1),
        flags=("--max-jobs",),
        metavar="INT",
        group=PROCESSES,
        default="no limit",
        help="Jobs after which a worker finishes and another takes its place; counted once a second.",
    ),
    Option(
        name="environment",
        read=read.text,
        flags=("-e", "--environment"),
        metavar="ENV",
        group=PLACE,
        default="development",
        in_files=False,
        help="Which section of the config file counts. Else APP_ENV, RAILS_ENV, RACK_ENV.",
    ),
    Option(
        name="config",
        read=read.text,
        flags=("-C", "--config"),
        metavar="PATH",
        group=PLACE,
        default="config/sidekiq.yml",
        in_files=False,
        help="The config file: YAML as Sidekiq reads it, or TOML.",
    ),
    Option(
        name="redis_url",
        read=read.redis_url,
        flags=("--redis-url",),
        metavar="URL",
        group=PLACE,
        default="redis://localhost:6379/0",
        help="Where Redis is. Else the variable that REDIS_PROVIDER names, else REDIS_URL.",
    ),
    Option(
        name="tag",
        read=read.text,
        flags=("-g", "--tag"),
        metavar="TAG",
        group=PLACE,
        default="name of the directory",
        help="Name of this process in the process title and the Web UI.",
    ),
    Option(
        name="labels",
        read=read.texts,
        flags=("--label",),
        metavar="LABEL",
        group=PLACE,
        many=True,
        help="A label of this process in the Web UI; repeat it.",
    ),
    Option(
        name="verbose",
        read=read.boolean,
        flags=("-v", "--verbose"),
        group=LOGS,
        switch=True,
        default="false",
        help="Log at level debug.",
    ),
    Option(
        name="log_level",
        read=read.log_level,
        flags=("--log-level",),
        metavar="LEVEL",
        group=LOGS,
        default="info",
        help="debug, info, warn, error or fatal.",
    ),
    Option(
        name="log_format",
        read=read.one_of(*LOG_FORMATS),
        flags=("--log-format",),
        metavar="FORMAT",
        group=LOGS,
        default="pretty",
        help=f"{', '.join(LOG_FORMATS)}. On Heroku (DYNO) no-timestamp unless given.",
    ),
    Option(
        name="unknown",
        read=read.one_of(*UNKNOWN_CLASS),
        flags=("--unknown",),
        metavar="WHAT",
        group=RUBY,
        default="retry",
        help="What to do with a job whose class has no handler here: retry it as Ruby would, handback to "
        "the schedule for another process, or dead at once.",
    ),
    Option(
        name="dialect",
        read=read.dialect,
        flags=("--dialect",),
        metavar="6|7|8",
        group=RUBY,
        default="follow the others",
        help="The Sidekiq generation to write like, instead of following the processes seen in Redis.",
    ),
    Option(
        name="capsules",
        read=read.capsules,
        help="Further sets of queues, each with a concurrency of its own: name → queues, concurrency.",
    ),
    Option(
        name="pool_size",
        read=read.whole_number(1),
        default="as needed",
        help="Redis connections for handlers and background duties.",
    ),
    Option(
        name="heartbeat_ttl",
        read=read.whole_number(1),
        default="60",
        help="Seconds after its last heartbeat until a process counts as dead. Sidekiq's own is 60: only "
        "tests have a reason to change it.",
    ),
    Option(
        name="stall_after",
        read=read.seconds,
        default="5",
        help="Seconds that a job may keep the others of its process waiting, by computing without giving "
        "way, before the log says so.",
    ),
    Option(
        name="max_retries",
        read=read.whole_number(0),
        default="25",
        help="Retries of a job whose `retry` is true.",
    ),
    Option(
        name="dead_max_jobs",
        read=read.whole_number(1),
        default="10000",
        help="How many dead jobs are kept.",
    ),
    Option(
        name="dead_timeout_in_seconds",
        read=read.seconds,
        default="15552000",
        help="How long dead jobs are kept: 180 days.",
    ),
    Option(
        name="average_scheduled_poll_interval",
        read=read.seconds,
        default="5",
        help="Seconds between two looks at the scheduled jobs, over all processes.",
    ),
    Option(
        name="poll_interval_average",
        read=read.seconds,
        default="by number of processes",
        help="Seconds between two looks of this process, however many there are.",
    ),
    Option(
        name="logged_job_attributes",
        read=read.texts,
        default="bid tags",
        help="Keys of the job that are shown in its log lines.",
    ),
    Option(
        name="skip_default_job_logging",
        read=read.boolean,
        default="false",
        help="Leave out the lines start and done.",
    ),
    Option(
        name="log_args",
        read=read.boolean,
        default="false",
        help="Show a failed job's arguments in the log.",
    ),
)

BY_NAME: Final = {option.name: option for option in OPTIONS}
GROUPS: Final = (JOBS, PROCESSES, PLACE, LOGS, RUBY)
