"""A Ruby process that stays, so that hundreds of questions don't pay Ruby's start each."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import time
from typing import Any

from compat_tests.interpreters import Interpreter

CALL_TIMEOUT = 20.0  # seconds


class RubyError(Exception):
    """An exception on the Ruby side. `ruby_class` is its class name; str() is its message."""

    def __init__(self, ruby_class: str, message: str, backtrace: list[str]) -> None:
        super().__init__(f"{ruby_class}: {message}")
        self.ruby_class = ruby_class
        self.message = message
        self.backtrace = backtrace


class Console:
    """One console.rb, started at the first call and again after it died."""

    def __init__(self, interpreter: Interpreter, redis_url: str) -> None:
        self._interpreter = interpreter
        self._redis_url = redis_url
        self._process: subprocess.Popen[bytes] | None = None
        self._errors = interpreter.home / f"console-{id(self)}.log"
        self._unread = b""

    def call(self, method: str, *params: object, timeout: float = CALL_TIMEOUT) -> Any:
        """What the Ruby method returned, as JSON values. Raises RubyError for what it raised."""
        process = self._running()
        request = json.dumps({"method": method, "params": params}, ensure_ascii=False)
        assert process.stdin is not None
        try:
            process.stdin.write(request.encode() + b"\n")
            process.stdin.flush()
            reply = json.loads(self._read_line(process, timeout))
        except (BrokenPipeError, TimeoutError, EOFError) as error:
            self.close()
            raise AssertionError(f"Ruby gave no answer to {method}: {error!r}\n{self._log()}") from error
        if problem := reply.get("error"):
            raise RubyError(problem["class"], problem["message"], problem["backtrace"])
        return reply["result"]

    def close(self) -> None:
        """End the Ruby process. The next call starts another."""
        process, self._process = self._process, None
        self._unread = b""
        if process is None:
            return
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            with self._errors.open("ab") as errors:
                self._process = subprocess.Popen(
                    self._interpreter.command("ruby", "console.rb"),
                    env={**self._interpreter.environment(), "REDIS_URL": self._redis_url},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                )
        return self._process

    def _read_line(self, process: subprocess.Popen[bytes], timeout: float) -> bytes:
        assert process.stdout is not None
        deadline = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError(f"{timeout} s are over")
                chunk = os.read(process.stdout.fileno(), 1 << 16)
                if not chunk:
                    raise EOFError("it ended")
                self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _log(self) -> str:
        return self._errors.read_text(errors="replace")[-3000:]
