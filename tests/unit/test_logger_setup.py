"""Where lines go, and what stays untouched."""

from __future__ import annotations

import io
import json
import logging
import logging.config
import logging.handlers
import queue

import pytest

from sidekiq_py.errors import InvalidConfig, JobTimeout
from sidekiq_py.logger import (
    bind_job,
    logger,
    parse_level,
    release_job,
    setup_logging,
    use_colour,
)
from tests.unit.untouched_logging import untouched_logging

library = logging.getLogger("some.library")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def root():
    """A function that gives the root logger as in a program that never touched logging."""
    with untouched_logging() as forget_pytest:

        def untouched():
            forget_pytest()
            return logging.root

        yield untouched


@pytest.fixture
def out():
    return io.StringIO()


@pytest.fixture
def start(root, out):
    """Call setup_logging on `out`, after the root logger got these handlers; undone at the end."""
    setups = []

    def run(*, handlers=(), **options):
        root().handlers[:] = handlers
        setups.append(setup_logging(**{"format": "plain", "stream": out, **options}))
        return setups[-1]

    yield run
    for each in setups:
        each.close()


def messages(stream):
    return [line.split(": ", 1)[1] for line in stream.getvalue().splitlines()]


def test_libraries_come_out_in_our_format_when_nobody_configured_logging(start, out):
    start()

    library.info("hello")
    logger.info("Bye!")

    assert messages(out) == ["hello", "Bye!"]


def test_an_application_with_root_handlers_keeps_its_records_and_no_line_is_doubled(start, out):
    theirs = io.StringIO()
    start(handlers=[logging.StreamHandler(theirs)])

    library.warning("of the app")
    logger.info("of the server")

    assert theirs.getvalue() == "of the app\n"
    assert messages(out) == ["of the server"]


def test_an_application_that_handles_our_logger_gets_all_and_we_add_nothing(start, out):
    theirs = io.StringIO()
    logger.addHandler(logging.StreamHandler(theirs))
    start()

    logger.info("hello")

    assert theirs.getvalue() == "hello\n"
    assert out.getvalue() == ""


def test_basic_config_of_an_application_works_while_we_step_aside(start, out):
    setup = start()
    theirs = io.StringIO()

    setup.step_aside()
    logging.basicConfig(stream=theirs, format="app %(message)s")
    setup.settle()
    library.warning("of the app")
    logger.info("of the server")

    assert theirs.getvalue() == "app of the app\n"
    assert messages(out) == ["of the server"]


def test_without_a_configuration_of_its_own_an_application_comes_out_in_our_format_again(start, out):
    setup = start()

    setup.step_aside()
    logger.info("loading")
    setup.settle()
    library.info("hello")

    assert messages(out) == ["loading", "hello"]


def test_root_handlers_that_come_later_are_noticed_when_settling(start, out):
    setup = start()
    theirs = io.StringIO()
    logging.root.addHandler(logging.StreamHandler(theirs))

    setup.settle()
    library.warning("of the app")
    logger.info("of the server")

    assert theirs.getvalue() == "of the app\n"
    assert messages(out) == ["of the server"]


def test_a_dict_config_that_disables_existing_loggers_does_not_silence_us(start, out):
    setup = start()
    logging.config.dictConfig({"version": 1, "root": {"handlers": []}})

    setup.settle()
    logger.info("still here")
    logging.getLogger("sidekiq.job").info("me too")

    assert messages(out) == ["still here", "me too"]


def test_closing_leaves_logging_as_it_was(root, out):
    factory, level = logging.getLogRecordFactory(), logger.level
    before = root()
    setup = setup_logging(stream=out)

    setup.close()

    assert logging.getLogRecordFactory() is factory
    assert (before.handlers, before.level, logger.level, logger.propagate) == (
        [],
        logging.WARNING,
        level,
        True,
    )


def test_handlers_of_the_application_are_the_same_objects_afterwards(start):
    theirs = logging.StreamHandler(io.StringIO())
    theirs.setFormatter(formatter := logging.Formatter("%(message)s"))

    start(handlers=[theirs]).settle()

    assert logging.root.handlers == [theirs]
    assert theirs.formatter is formatter


def test_json_is_parseable_from_the_first_byte(start, out):
    start(format="json")

    logger.info("one\ntwo")
    library.warning("three")

    assert [json.loads(line)["msg"] for line in out.getvalue().splitlines()] == ["one\ntwo", "three"]


def test_records_below_the_level_are_left_out(start, out):
    start(level="warn")

    logger.info("no")
    library.info("no")
    logger.warning("yes")

    assert messages(out) == ["yes"]


def test_a_jobs_context_survives_a_queue_between_threads(start):
    records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    start(handlers=[logging.handlers.QueueHandler(records)])
    token = bind_job({"class": "HardJob", "jid": "j1", "args": []}, "default")

    library.warning("hello")
    release_job(token)

    assert records.get(timeout=5).sidekiq["jid"] == "j1"


def test_a_character_the_stream_can_not_write_is_escaped(start):
    raw = io.BytesIO()
    start(stream=io.TextIOWrapper(raw, encoding="ascii"))

    logger.info("naïve \ud800")

    assert raw.getvalue().endswith(rb": na\xefve \ud800" + b"\n")


@pytest.mark.parametrize("name", ["pretty", "plain", "no-timestamp", "json", "logfmt"])
def test_nothing_is_coloured_into_a_pipe(start, out, name):
    start(format=name, environ={"TERM": "xterm"})

    logger.info("hello")

    assert "\x1b" not in out.getvalue()


def test_pretty_is_coloured_on_a_terminal(start):
    terminal = Terminal()
    start(format="pretty", stream=terminal)

    logger.info("hello")

    assert terminal.getvalue().startswith("\x1b[")


@pytest.mark.parametrize(
    ("stream", "environ", "colour"),
    [
        (Terminal(), {}, True),
        (Terminal(), {"TERM": "dumb"}, False),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"NO_COLOR": ""}, True),
        (Terminal(), {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        (io.StringIO(), {}, False),
        (io.StringIO(), {"FORCE_COLOR": "1"}, True),
        (io.StringIO(), {"FORCE_COLOR": "0"}, False),
    ],
)
def test_colour_follows_the_terminal_and_the_two_variables(stream, environ, colour):
    assert use_colour(stream, environ) is colour


def test_an_unknown_format_is_refused_with_the_known_ones():
    with pytest.raises(InvalidConfig, match="pretty, plain, no-timestamp, json, logfmt"):
        setup_logging(format="xml")


def test_an_unknown_level_is_refused():
    with pytest.raises(InvalidConfig, match="'loud'"):
        setup_logging(level="loud")


@pytest.mark.parametrize(
    ("given", "level"),
    [
        ("debug", 10),
        ("WARN", 30),
        ("warning", 30),
        ("fatal", 50),
        (0, 10),
        (3, 40),
        ("loud", None),
        (9, None),
    ],
)
def test_levels_are_read_from_rubys_and_pythons_words(given, level):
    assert parse_level(given) == level


class Broken(logging.Handler):
    """As an application's handler that posts to a service which is down."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def emit(self, record):
        raise self.error


@pytest.mark.parametrize("error", [ConnectionError("service down"), SystemExit(1)], ids=repr)
def test_a_handler_that_raises_is_told_of_once_and_costs_neither_caller_nor_other_handlers(
    start, capsys, error
):
    theirs = io.StringIO()
    start(handlers=[Broken(error), logging.StreamHandler(theirs)])
    logger.propagate = True
    late = Broken(error)

    logger.info("one")
    logger.addHandler(late)
    logging.getLogger("sidekiq.job").info("two")

    assert theirs.getvalue() == "one\ntwo\n"
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2  # one line a handler
    assert all(f"Broken raises {type(error).__name__}: {error}; it loses log lines" in line for line in told)


def test_the_timeout_of_a_job_that_hits_it_while_it_logs_ends_it(start):
    start(handlers=[Broken(JobTimeout("too long"))])
    logger.propagate = True

    with pytest.raises(JobTimeout):
        logging.getLogger("sidekiq.job").info("hello")
