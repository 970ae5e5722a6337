"""The server's options as click parameters, and a help page grouped for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import click

from sidekiq_py.config_options import GROUPS, OPTIONS, Option
from sidekiq_py.version import VERSION

Rows: TypeAlias = Sequence[tuple[str, str]]

WIDTH: Final = 100  # of the page, in characters
LEFT: Final = 52  # of that, at most, for the left column
NO_BREAK: Final = "\N{NO-BREAK SPACE}"

EXAMPLES: Final = (
    ("sidekiq-py -r handlers.py", "the handlers in a file; Redis is at REDIS_URL"),
    ("sidekiq-py -r shop.jobs -c 25", "the handlers of a module, 25 jobs at once"),
    ("sidekiq-py -q critical -q default", "critical first, default when it is empty"),
    ("sidekiq-py -q critical,3 -q default,1", "critical three times as often as default"),
    ("sidekiq-py -C config/sidekiq.yml -e production", "the file that the Ruby side has"),
    ("sidekiq-py --redis-url rediss://cache:6380/0 -t 60", "Redis over TLS, a minute for jobs to finish"),
    ("sidekiq-py --log-format json -v", "one JSON object a line, with debug lines"),
    ("sidekiq-py --unknown handback", "leave job classes that are not ours to Ruby"),
)
ABOUT: Final = (("-h, --help", "Print this."), ("-V, --version", "Print the version."))
SIGNALS: Final = (
    ("TERM, INT", "stop: running jobs get the timeout, then go back to their queues"),
    ("TSTP", "quiet: take no new jobs"),
    ("USR2, HUP", "rolling restart: new worker processes with new code, then the old ones finish"),
    ("TTIN", "log what every job is doing"),
)
EXIT_CODES: Final = (
    ("0", "stopped as asked"),
    ("1", "crashed"),
    ("2", "an option, a variable or a config file can't be followed"),
    ("3", "the handlers can't be imported, there are none, or @configure_server fails"),
    ("4", "Redis can't be used at start"),
)


def option_parameters() -> list[click.Parameter]:
    """A click option for every flag of the table; one not given is None."""
    return [_parameter(option) for option in OPTIONS if option.flags]


def _parameter(option: Option) -> click.Option:
    return click.Option(
        [option.name, *option.flags],
        metavar=option.metavar or None,
        multiple=option.many,
        is_flag=option.switch,
        default=None,
        help=f"{option.help} {remarks(option)}",
    )


def remarks(option: Option) -> str:
    """`[env: SIDEKIQ_CONCURRENCY; default: 5]`, which stays on one line."""
    default = f"; default: {option.default}" if option.default else ""
    return f"[env: {option.env}{default}]".replace(" ", NO_BREAK)


class WideCommand(click.Command):
    """A command whose help page leaves room for what the option table says."""

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the page."""
        formatter.width = WIDTH
        super().format_help(ctx, formatter)

    def get_help(self, ctx: click.Context) -> str:
        """The page as text."""
        return super().get_help(ctx).replace(NO_BREAK, " ")


class ServerCommand(WideCommand):
    """A command whose help is grouped as the option table is, with examples, signals and exit codes."""

    def __init__(self, *args: Any, commands: click.Group, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._commands = commands

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the page; what people look for most comes first."""
        formatter.width = WIDTH
        formatter.write_usage(ctx.command_path, "[OPTIONS]")
        formatter.write_usage(ctx.command_path, "COMMAND [OPTIONS]", prefix=" " * len("Usage: "))
        self.format_help_text(ctx, formatter)
        for group in GROUPS:
            _section(formatter, group, self._records(ctx, group))
        _section(formatter, "About", ABOUT)
        _section(formatter, "Examples", EXAMPLES)
        commands = self._commands.commands
        _section(
            formatter,
            "Commands",
            [(name, commands[name].get_short_help_str(WIDTH)) for name in sorted(commands)],
        )
        _section(formatter, "Signals", SIGNALS)
        _section(formatter, "Exit codes", EXIT_CODES)

    def collect_usage_pieces(self, _ctx: click.Context) -> list[str]:
        """What follows the program's name in a usage line."""
        return ["[OPTIONS]"]

    def _records(self, ctx: click.Context, group: str) -> Rows:
        names = {option.name for option in OPTIONS if option.group == group}
        records = [parameter.get_help_record(ctx) for parameter in self.params if parameter.name in names]
        return [record for record in records if record]


def version_option() -> click.Option:
    """-V and --version: `sidekiq-py X.Y.Z`."""
    return click.Option(
        ["-V", "--version"], is_flag=True, is_eager=True, expose_value=False, callback=_print_version
    )


def _print_version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"sidekiq-py {VERSION}")
        ctx.exit()


def _section(formatter: click.HelpFormatter, title: str, rows: Rows) -> None:
    with formatter.section(title):
        formatter.write_dl(rows, col_max=LEFT)
