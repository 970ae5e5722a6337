"""The command line: `sidekiq-py` with Sidekiq's flags runs the server, with a word first runs that command.

Ruby twin: bin/sidekiq and Sidekiq::CLI.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from sidekiq_py.cli_help import ServerCommand, WideCommand, option_parameters, version_option
from sidekiq_py.did_you_mean import did_you_mean
from sidekiq_py.errors import InvalidConfig, RedisAuthError, RedisDown, RedisError
from sidekiq_py.exit_code import ExitCode

if TYPE_CHECKING:
    from sidekiq_py.config import Config

PROGRAM: Final = "sidekiq-py"
INSTEAD: Final = {  # of flags that older Sidekiqs had
    ("-d", "--daemon"): "Run it in the foreground and let systemd, Docker or the like keep it running.",
    ("-L", "--logfile"): "Log lines go to stdout; let your process manager store them.",
    ("-P", "--pidfile"): "Let your process manager know the pid.",
    ("-i", "--index"): "An index is not needed: every process has an identity of its own.",
}
RETIRED: Final = {flag: reason for flags, reason in INSTEAD.items() for flag in flags}
SHORT_FLAGS: Final = ("-c", "-C", "-e", "-g", "-h", "-p", "-q", "-r", "-t", "-v", "-V")
CONTEXT: Final = {"help_option_names": ["-h", "--help"]}


class Commands(click.Group):
    """The commands beside the server."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first word names; says which one was meant when there is none."""
        check_word(args[0])
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings=CONTEXT)
def commands() -> None:
    """Commands beside the server; the server itself runs without one, see `sidekiq-py -h`."""


def check_word(word: str) -> None:
    """Raise click's UsageError unless the word is a command."""
    known = commands.commands
    if word not in known:
        raise click.UsageError(
            f"{word!r} is no command{did_you_mean(word, known) or '.'} "
            f"Commands are {', '.join(sorted(known))}; the server runs without one: {PROGRAM} -r handlers.py"
        )


@click.command(
    PROGRAM,
    cls=ServerCommand,
    commands=commands,
    params=[*option_parameters(), version_option()],
    context_settings=CONTEXT,
)
@click.argument("words", nargs=-1)
def server(words: Sequence[str], **given: Any) -> int:
    """Run jobs from Redis, beside Ruby's Sidekiq or instead of it."""
    for word in words:
        check_word(word)
        raise click.UsageError(f"a command comes first: {PROGRAM} {word} …")
    from sidekiq_py.server import run_server

    return run_server(_resolve(given))


@commands.command(cls=WideCommand, params=option_parameters(), context_settings=CONTEXT)
@click.option("--json", "wants_json", is_flag=True, help="Print one JSON object.")
def config(*, wants_json: bool, **given: Any) -> int:
    """Print the value of every option and where it comes from."""
    from sidekiq_py.config_report import as_json, as_table

    resolved = _resolve(given)
    click.echo(as_json(resolved) if wants_json else as_table(resolved))
    return ExitCode.OK


@commands.command(params=option_parameters(), context_settings=CONTEXT)
@click.option("--all", "everywhere", is_flag=True, help="Also claims whose owner is not registered: scans.")
def rescue(*, everywhere: bool, **given: Any) -> int:
    """Put the jobs of dead processes back on their queues, now and by hand.

    Servers do it by themselves, once a heartbeat has expired; this is for the day on which none is left to do
    it. The jobs of processes that live are never touched.
    """
    from sidekiq_py.rescue_report import rescue_all

    resolved = _resolve(given)
    try:
        for line in rescue_all(resolved.redis.connect(), everywhere=everywhere):
            click.echo(line)
    except (RedisDown, RedisAuthError, RedisError) as error:
        return _fail(ExitCode.REDIS, resolved.redis_trouble(error))
    return ExitCode.OK


@commands.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def demo(arguments: Sequence[str]) -> int:
    """See it run: a Redis, a server and jobs, with nothing to set up."""
    from sidekiq_py.demo import run as run_demo

    return int(run_demo(list(arguments)))


def run(arguments: Sequence[str]) -> int:
    """Run the command line, without the program's name; returns the exit code."""
    command = commands if arguments and not arguments[0].startswith("-") else server
    try:
        return int(command.main(list(arguments), prog_name=PROGRAM, standalone_mode=False) or ExitCode.OK)
    except click.UsageError as error:
        return _fail(ExitCode.USAGE, f"{_explained(error)}\nSee {PROGRAM} -h")
    except InvalidConfig as error:
        return _fail(ExitCode.USAGE, str(error))
    except (RedisDown, RedisAuthError, RedisError) as error:
        return _fail(ExitCode.REDIS, str(error))
    except click.Abort:
        return _fail(ExitCode.CRASH, "interrupted")


def _explained(error: click.UsageError) -> str:
    if isinstance(error, click.NoSuchOption) and (reason := RETIRED.get(error.option_name)):
        return f"{error.message} {reason}"
    message = error.format_message()
    if not isinstance(error, click.NoSuchOption) or error.possibilities:
        return message
    is_short = len(error.option_name) == len("-x")
    return f"{message} Short options are {', '.join(SHORT_FLAGS)}." if is_short else message


def _fail(code: ExitCode, sentence: str) -> int:
    click.echo(f"{PROGRAM}: {sentence}", err=True)
    return code


def _resolve(given: Mapping[str, Any]) -> Config:
    from sidekiq_py.config_sources import resolve

    return resolve({name: value for name, value in given.items() if value not in (None, ())}, os.environ)
