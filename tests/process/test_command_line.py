"""What the command says and ends with, as a shell sees it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sidekiq_py.exit_code import ExitCode
from sidekiq_py.version import VERSION
from tests.process.stage import PRELUDE, Stage
from tests.server_process import ServerProcess

SCRIPT = [str(Path(sys.executable).with_name("sidekiq-py"))]
MODULE = [sys.executable, "-m", "sidekiq_py"]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A directory as an application has it."""
    (tmp_path / "handlers.py").write_text(PRELUDE)
    (tmp_path / "empty").mkdir()
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "package" / "mail.py").write_text("from sidekiq_py import job\njob('Mail')(print)\n")
    (tmp_path / "package" / "bill.py").write_text("from .mail import job\njob('Bill')(print)\n")
    return tmp_path


def run(
    directory: Path, *arguments: str, command: list[str] = MODULE, **environ: str
) -> subprocess.CompletedProcess[str]:
    """The command to its end."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("REDIS_", "SIDEKIQ_"))}
    return subprocess.run(
        [*command, *arguments],
        cwd=directory,
        env={**kept, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("command", [SCRIPT, MODULE], ids=["sidekiq-py", "python -m sidekiq_py"])
@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_the_version_is_one_line(tmp_path: Path, command, flag):
    done = run(tmp_path, flag, command=command)

    assert (done.returncode, done.stdout, done.stderr) == (0, f"sidekiq-py {VERSION}\n", "")


def test_help_goes_to_stdout_and_is_no_error(tmp_path: Path):
    done = run(tmp_path, "-h")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: sidekiq-py ")
    assert all(flag in done.stdout for flag in ("-r,", "-c,", "-q,", "-t,", "-C,", "-e,", "-g,", "-v,"))
    assert "SIDEKIQ_CONCURRENCY" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--concurency", "5"], "--concurrency"),
        (["-c", "0"], "-c: concurrency must be a whole number"),
        (["-c", "many"], "got 'many'"),
        (["-t", "-1"], "timeout must be"),
        (["-d"], "No such option '-d'. Run it in the foreground"),
        (["--daemon"], "No such option '--daemon'. Run it in the foreground"),
        (["--pidfile", "sidekiq.pid"], "process manager"),
        (["-z"], "Short options are -c, "),
        (["--log-format", "xml"], "pretty, plain, no-timestamp, json"),
        (["confg"], "did you mean 'config'?"),
        (["-c", "5", "demo"], "a command comes first: sidekiq-py demo"),
        (["-C", "no/such.yml"], "no/such.yml"),
        (["-q", "low,many"], "-q"),
        (["--redis-url", "http://somewhere"], "--redis-url"),
    ],
)
def test_what_can_not_be_followed_is_said_on_stderr_with_a_way_out(shop: Path, arguments, sentence):
    done = run(shop, *arguments)

    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
    assert done.stderr.startswith("sidekiq-py: ")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("require", "sentence"),
    [
        ("handler.py", "-r handler.py: there is no such file in"),
        ("handler.py", "did you mean"),
        ("config/app.rb", "is a Ruby file; give the Python file"),
        ("nowhere", "there is no module nowhere in"),
        ("empty", "say where your handlers are"),
    ],
)
def test_handlers_that_are_not_there_are_missed_in_one_sentence(shop: Path, require, sentence):
    done = run(shop, "-r", require)

    assert (done.returncode, done.stdout) == (ExitCode.HANDLERS, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("sidekiq-py: ")
    assert sentence in line


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("def f():\n    return {}['gone']\n\nf()\n", "KeyError: 'gone'"),
        ("import sys\nsys.exit(7)\n", "SystemExit: 7"),
        ("def broken(:\n", "SyntaxError"),
        ("import no_such_library\n", "no_such_library"),
        ("from sidekiq_py import job\n\n@job('two words')\ndef f(): ...\n", "can't be a job class"),
        (
            "from sidekiq_py import job\n\n@job('A')\ndef f(): ...\n\n@job('A')\ndef g(): ...\n",
            "A has two handlers",
        ),
    ],
)
def test_a_handlers_file_that_fails_shows_its_own_lines_and_none_of_ours(tmp_path: Path, source, error):
    (tmp_path / "broken.py").write_text(source)

    done = run(tmp_path, "-r", "broken.py")

    assert (done.returncode, done.stdout) == (ExitCode.HANDLERS, "")
    assert error in done.stderr
    assert not [line for line in done.stderr.splitlines() if "importlib" in line or "boot.py" in line]
    assert done.stderr.splitlines()[-1].startswith("sidekiq-py: ")


def test_a_file_without_handlers_is_told_how_to_make_one(tmp_path: Path):
    (tmp_path / "empty.py").write_text("x = 1\n")

    done = run(tmp_path, "-r", "empty.py")

    assert (done.returncode, done.stdout) == (ExitCode.HANDLERS, "")
    assert 'empty registered no handler; put @job("HardJob") over the function' in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("require", "names"),
    [
        (["-r", "handlers.py"], "1 handler: Canary"),
        (["-r", "handlers"], "1 handler: Canary"),
        (["-r", "package"], "2 handlers: Bill, Mail"),
        (["-r", "package.mail"], "1 handler: Mail"),
        ([], "1 handler: Canary"),
    ],
)
def test_handlers_are_a_file_a_module_a_directory_or_where_we_stand(shop: Path, stage: Stage, require, names):
    server = ServerProcess([*require, "-v"], shop / "log", {**os.environ, "REDIS_URL": stage.redis_url}, shop)
    stage.servers.append(server)

    server.wait_for_log(names)


def test_flags_beat_variables_and_these_beat_the_file(shop: Path, stage: Stage):
    (shop / "my.yml").write_text(
        ":concurrency: 3\n:timeout: 9\n:queues: [filed]\nstaging:\n  :tag: shop\n  :concurrency: 4\n"
    )
    stage.push("Canary", "hi", queue="low")

    server = stage.start(
        "import os; note(os.environ['RAILS_ENV'], os.environ['RACK_ENV'])",
        *("-C", "my.yml", "-c", "7"),
        environ={"SIDEKIQ_QUEUES": "high low", "RAILS_ENV": "staging", "SIDEKIQ_CONCURRENCY": "5"},
    )
    stage.wait_for_note("canary hi")

    assert "environment staging, tag shop" in server.log
    assert "capsule default: 7 at once, strict order, queues high, low" in server.log
    assert stage.notes[0] == "staging staging"
    server.signal("TERM")
    server.wait_for_log("0 jobs have 9 s to finish")


def test_a_key_of_the_file_that_is_misspelt_keeps_the_server_from_starting(shop: Path):
    (shop / "config").mkdir()
    (shop / "config" / "sidekiq.yml").write_text(":concurency: 3\n")

    done = run(shop)

    assert done.returncode == ExitCode.USAGE
    assert "config/sidekiq.yml:1" in done.stderr
    assert "did you mean" in done.stderr
