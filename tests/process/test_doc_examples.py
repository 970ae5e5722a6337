"""The examples in the documents and in examples/ are run as a reader would run them."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import redis as redis_py
import yaml

from tests.documents import ROOT, blocks, blocks_of, commands
from tests.helpers import eventually
from tests.server_process import ServerProcess
from tests.servers import free_port

Serve = Callable[..., ServerProcess]
EXAMPLES = ROOT / "examples"


def environ(redis_url: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("REDIS_", "SIDEKIQ_"))}
    return {**kept, "REDIS_URL": redis_url, "PYTHONUNBUFFERED": "1"}


@pytest.fixture
def serve(redis_url: str, tmp_path: Path) -> Iterator[Serve]:
    """Starts a `sidekiq-py …` command line in a directory."""
    started: list[ServerProcess] = []

    def start(command: str, directory: Path) -> ServerProcess:
        program, *arguments = shlex.split(command)
        assert program == "sidekiq-py"
        started.append(ServerProcess(arguments, tmp_path / "server.log", environ(redis_url), directory))
        return started[-1].wait_until_booted()

    yield start
    for server in started:
        server.kill()


def run_python(directory: Path, redis_url: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env=environ(redis_url),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def write_files(page: str, directory: Path) -> None:
    for block in blocks_of(ROOT / page):
        if block.language == "python" and block.file:
            (directory / block.file).parent.mkdir(exist_ok=True)
            (directory / block.file).write_text(block.text)


def command_with(text: str, page: str) -> str:
    return next(command for where, command in commands() if where == page and text in command)


def test_the_first_job_of_the_readme(serve: Serve, redis_url: str, tmp_path: Path):
    write_files("README.md", tmp_path)
    server = serve(command_with("sidekiq-py -r handlers.py", "README.md"), tmp_path)

    run_python(tmp_path, redis_url, *shlex.split(command_with("python push.py", "README.md"))[1:])

    log = server.wait_for_log("done")
    assert "hello bob, 5 times" in log
    assert server.stop() == 0


def test_what_people_ask_for_first_is_tested_as_the_readme_says(redis_url: str, tmp_path: Path):
    write_files("README.md", tmp_path)

    said = run_python(tmp_path, redis_url, "-m", "pytest", "-q", "-p", "no:randomly", "test_orders.py")

    assert "1 passed" in said


def test_what_lies_in_redis_can_be_looked_at_as_the_readme_says(
    redis_client: redis_py.Redis, redis_url: str, tmp_path: Path
):
    write_files("README.md", tmp_path)
    job = {"class": "Billing::InvoiceJob", "queue": "billing", "jid": "a" * 24, "error_message": "no paper"}
    redis_client.zadd("retry", {json.dumps({**job, "args": [4711], "retry_count": 0}): 2**31})
    redis_client.zadd("dead", {json.dumps({**job, "args": [4712], "retry_count": 25}): 2**30})

    said = run_python(tmp_path, redis_url, "look.py")

    assert f"{'a' * 24} no paper [4711]" in said
    assert (redis_client.llen("queue:billing"), redis_client.exists("retry", "dead")) == (2, 0)


def test_the_handlers_of_the_readme_run_in_a_server(serve: Serve, redis_url: str, tmp_path: Path):
    write_files("README.md", tmp_path)
    server = serve("sidekiq-py -r more_jobs.py -q billing -q urgent", tmp_path)

    run_python(tmp_path, redis_url, "-c", "import more_jobs; more_jobs.order_comes_in()")

    log = server.wait_for_log("order 4712 is due on 2030-01-31")
    assert "ready\n" in log
    assert "took 0:00:00" in server.wait_for_log("took ")


class Feed(BaseHTTPRequestHandler):
    """Answers when four ask at once, and never before."""

    together = threading.Barrier(4)

    def do_GET(self) -> None:
        self.together.wait(30)
        self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\nnews")

    def log_message(self, *_: object) -> None:
        return


def test_the_asyncio_handler_of_the_readme_runs_four_times_at_once(
    serve: Serve, redis_url: str, tmp_path: Path
):
    write_files("README.md", tmp_path)
    server = serve("sidekiq-py -r feeds.py -c 4", tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), Feed) as feeds:
        threading.Thread(target=feeds.serve_forever, daemon=True).start()
        push = (
            f"import feeds\nfor _ in range(4): feeds.feeds.perform_async(['127.0.0.1'], {feeds.server_port})"
        )
        run_python(tmp_path, redis_url, "-c", push)

        eventually(lambda: server.log.count("class=FeedsJob: 23 bytes") == 4, 60)
        feeds.shutdown()
    assert "Traceback" not in server.log


@pytest.mark.parametrize(
    "block", [b for b in blocks("python") if b.page != "README.md"], ids=lambda b: b.page
)
def test_every_python_block_of_the_pages_runs(block, redis_url: str, tmp_path: Path):
    (tmp_path / "block.py").write_text(block.text)

    run_python(tmp_path, redis_url, "-W", "error", "block.py")


def test_the_plain_example(serve: Serve, redis_url: str, tmp_path: Path):
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    server = serve(command_with("sidekiq-py", "examples/README.md"), tmp_path)
    push = shlex.split(command_with("push.py", "examples/README.md"))

    assert run_python(tmp_path, redis_url, *push[1:]) == "pushed 103 jobs\n"

    for said in (
        "mail to bob@example.com over 12.50",
        "ConnectionError: the bank does not answer",
        "report of 2030-01-31",
        "order 4711 is paid",
    ):
        server.wait_for_log(said)
    eventually(lambda: server.log.count("class=Shop::StockJob") >= 200, 30)


def test_the_unit_starts_a_command_that_exists(serve: Serve, redis_url: str, tmp_path: Path):
    unit = (EXAMPLES / "systemd" / "sidekiq-py.service").read_text()
    command = re.search(r"^ExecStart=\S+/bin/(sidekiq-py .*)$", unit, re.MULTILINE)
    write_files("README.md", tmp_path)

    server = serve(command[1], tmp_path)

    reload = re.search(r"^ExecReload=/bin/kill -(\w+) \$MAINPID$", unit, re.MULTILINE)
    server.signal(reload[1])
    server.wait_for_log("takes over from")
    assert server.stop() == 0


def test_the_redis_of_docker_compose_starts_and_its_health_check_asks(tmp_path: Path):
    if not (shutil.which("redis-server") and shutil.which("redis-cli")):
        pytest.skip("needs redis-server and redis-cli on PATH: apt install redis-server")
    service = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["redis"]
    program, *options = service["command"]
    port = str(free_port())
    ours = ["--port", port, "--bind", "127.0.0.1", "--dir", str(tmp_path)]
    server = subprocess.Popen([program, *options, *ours], stdout=subprocess.DEVNULL)
    try:
        _, client, *words = service["healthcheck"]["test"]
        ask = [client, "-p", port, *words]

        eventually(lambda: subprocess.run(ask, capture_output=True, check=False).returncode == 0, 30)
    finally:
        server.terminate()
        server.wait()


@pytest.mark.parametrize("worker", ["sync", "gthread", "gevent"])
def test_the_embedded_example_in_gunicorn(
    redis_client: redis_py.Redis, redis_url: str, tmp_path: Path, worker: str
):
    pytest.importorskip("gunicorn")
    log, place = tmp_path / "log", tmp_path / "socket"
    arguments = ["-m", "gunicorn", "app:app", "-k", worker, "-w", "2", "-b", f"unix:{place}"]
    with log.open("wb") as output:
        master = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=EXAMPLES / "embedded",
            env={**environ(redis_url), "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=output,
            stderr=output,
        )
    try:
        eventually(lambda: redis_client.scard("processes") == 2, 60)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(place))
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert b"202 Accepted" in client.recv(1000)
        eventually(lambda: "mail to bob@example.com" in log.read_text(), 60)
    finally:
        master.terminate()
        assert master.wait(60) == 0, log.read_text()
    assert redis_client.scard("processes") == 0
    assert "Traceback" not in log.read_text()


def test_the_programs_of_the_embedding_page_run_their_jobs(redis_url: str, tmp_path: Path):
    write_files("docs/embedding.md", tmp_path)

    assert "hello bob" in run_python(tmp_path, redis_url, "lifespan.py")
    assert "mail to bob@example.com" in run_python(tmp_path, redis_url, "shop.py")
