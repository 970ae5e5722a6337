"""Real Sidekiq for tests, one object per generation; `python -m compat_tests.ruby build` fetches them."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from compat_tests.console import Console
from compat_tests.interpreters import Interpreter, LocalGem, Root, output_of
from compat_tests.roots import RELEASES, RubyUnavailable, Say, build_all
from compat_tests.ruby_server import RubyServer, ServerOptions
from tests.helpers import eventually

RAN = "ruby_fixtures:ran"  # LIST in which the fixtures' jobs tell what they did


@dataclass
class Page:
    """An answer of the real Web UI."""

    status: int
    headers: dict[str, str]
    body: str


class Ruby:
    """One generation of real Sidekiq on one Redis.

    Questions go to a console that stays alive; servers and scripts are processes of their own.
    """

    def __init__(self, release: str, interpreter: Interpreter, redis_url: str) -> None:
        self.release = release
        self.redis_url = redis_url
        self._interpreter = interpreter
        self._console = Console(interpreter, redis_url)
        self._servers: list[RubyServer] = []
        self._elsewhere: list[Ruby] = []

    def __repr__(self) -> str:
        return f"<Ruby Sidekiq {self.release} on {self.redis_url}>"

    @cached_property
    def version(self) -> str:
        """Sidekiq's full version, such as "8.1.7"."""
        return str(self.call("version")["sidekiq"])

    @property
    def major(self) -> int:
        return int(self.release.split(".")[0])

    # Questions and deeds ------------------------------------------------------------------------------------

    def call(self, method: str, *params: object) -> Any:
        """A method of ruby_fixtures/inspect.rb. RubyError for what it raises."""
        return self._console.call(method, *params)

    def eval(self, source: str, *args: object) -> Any:
        """The value of Ruby source, in which `args` is an array; it must be something JSON can say."""
        return self._console.call("eval", source, args)

    def push(self, job_class: str, *args: object, **fields: object) -> str:
        """Sidekiq::Client.push with the class as a string; `fields` are further payload keys. The jid."""
        return str(self.call("push", {"class": job_class, "args": args, **fields}))

    def push_bulk(self, job_class: str, args: Sequence[Sequence[object]], **fields: object) -> list[str]:
        return list(self.call("push_bulk", {"class": job_class, "args": args, **fields}))

    def perform_async(self, job_class: str, *args: object, **options: object) -> str:
        """`set(options).perform_async(*args)` of a class in ruby_fixtures/jobs.rb."""
        return str(self.call("perform_async", job_class, args, options))

    def perform_in(self, job_class: str, interval: float, *args: object, **options: object) -> str:
        return str(self.call("perform_in", job_class, interval, args, options))

    def queue(self, name: str = "default") -> dict[str, Any]:
        """{name, size, latency, jobs} of Sidekiq::Queue; jobs as JobRecord sees them, newest first."""
        return dict(self.call("queue", name))

    def entries(self, set_name: str) -> list[dict[str, Any]]:
        """The set schedule, retry or dead as Sidekiq lists it: newest first, with score and raw value."""
        return list(self.call("set", set_name))

    def entry_action(self, set_name: str, jid: str, action: str, *args: object) -> None:
        """retry, kill, delete, add_to_queue or reschedule(seconds since the epoch) of one entry."""
        self.call("entry_action", set_name, jid, action, *args)

    def set_action(self, set_name: str, action: str) -> None:
        """retry_all, kill_all or clear."""
        self.call("set_action", set_name, action)

    def processes(self) -> list[dict[str, Any]]:
        return list(self.call("processes"))

    def process_action(self, identity: str, action: str) -> None:
        """quiet!, stop! or dump_threads, through Redis as the Web UI does it."""
        self.call("process_action", identity, action)

    def work(self) -> list[dict[str, Any]]:
        return list(self.call("work"))

    def stats(self) -> dict[str, Any]:
        return dict(self.call("stats"))

    # Web UI -------------------------------------------------------------------------------------------------

    def get(self, path: str) -> Page:
        """A page of the real Web UI, path as mounted at "/"."""
        return Page(**self.call("web_get", path))

    def post(self, path: str, **fields: object) -> Page:
        """Press a button of the real Web UI; its hidden token is added."""
        return Page(**self.call("web_post", path, fields))

    # Processes ----------------------------------------------------------------------------------------------

    def run(
        self, script: str, *args: str, redis_url: str | None = None, env: Mapping[str, str] | None = None
    ) -> Any:
        """What a script in ruby_fixtures printed, parsed as JSON; CalledProcessError when it failed."""
        environ = {"REDIS_URL": redis_url or self.redis_url, **(env or {})}
        printed = output_of(self._interpreter, ["ruby", script, *args], **environ)
        return json.loads(printed) if printed.strip() else None

    def server(self, *, env: Mapping[str, str] | None = None, **options: Any) -> RubyServer:
        """Start the real `sidekiq`; returns after its first heartbeat. Keywords are those of ServerOptions.

        `stop()` ends it in order, which takes Ruby two seconds; what still runs when the test ends is killed.
        """
        server = RubyServer(self._interpreter, self.redis_url, ServerOptions(**options), env)
        self._servers.append(server)
        return server

    def command(self, *arguments: str) -> list[str]:
        """For subprocess: any command in the fixtures' directory. Give it `environment()`."""
        return self._interpreter.command(*arguments)

    def environment(self) -> dict[str, str]:
        return {**self._interpreter.environment(), "REDIS_URL": self.redis_url}

    def write(self, name: str, text: str) -> str:
        """Put a file (a script, a YAML file) beside the fixtures; returns how to name it to a command."""
        return self._interpreter.write(name, text)

    def file(self, name: str) -> Path:
        """A file beside the fixtures, as this process sees it."""
        return self._interpreter.home / name

    def ran(self, jid: str | None = None) -> list[dict[str, Any]]:
        """What the fixtures' jobs told so far, oldest first: {class, jid, args}."""
        told = self.eval("Sidekiq.redis { |redis| redis.lrange(args[0], 0, -1) }", RAN)
        return [each for each in map(json.loads, told) if jid in (None, each["jid"])]

    def wait_until_ran(self, jid: str, timeout: float = 10.0) -> dict[str, Any]:
        """The first execution of that job by a real server."""
        return eventually(lambda: self.ran(jid), timeout, every=0.05)[0]

    def on(self, redis_url: str) -> Ruby:
        """The same Sidekiq on another Redis. Closed when the test ends."""
        elsewhere = Ruby(self.release, self._interpreter, redis_url)
        self._elsewhere.append(elsewhere)
        return elsewhere

    def end_test(self) -> None:
        """Kill the servers that the test has left running: nobody waits for what they would still tidy up."""
        servers, self._servers = self._servers, []
        for server in servers:
            server.kill()
        elsewhere, self._elsewhere = self._elsewhere, []
        for ruby in elsewhere:
            ruby.end_test()
            ruby.disconnect()

    def disconnect(self) -> None:
        self._console.close()

    def close(self) -> None:
        """End everything and remove what was written for it."""
        self.end_test()
        self.disconnect()
        self._interpreter.close()


def interpreter_for(release: str, root: Path | RubyUnavailable) -> Interpreter:
    """The built root, else the machine's own gem of that generation, else RubyUnavailable."""
    if isinstance(root, Path):
        return Root(root)
    gem = LocalGem.find(release)
    if gem is None:
        raise root
    return gem


def main(arguments: Sequence[str]) -> int:
    """`build [release…]`: 0 when all are there."""
    if arguments[:1] != ["build"] or not set(arguments[1:]) <= set(RELEASES):
        print(f"usage: python -m compat_tests.ruby build [{'|'.join(RELEASES)}]…", file=sys.stderr)
        return 2
    return build_and_tell(arguments[1:] or list(RELEASES), print)


def build_and_tell(names: Sequence[str], say: Say) -> int:
    roots = build_all(names, say)
    for name, root in roots.items():
        say(str(root) if isinstance(root, RubyUnavailable) else f"Sidekiq {name} for Ruby is in {root}")
    return int(any(isinstance(root, RubyUnavailable) for root in roots.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
