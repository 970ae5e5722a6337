"""Real Ruby Sidekiq as one more client of the demo, where the machine has it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from typing import Final

TIMEOUT: Final = 8.0  # seconds; Ruby loads Sidekiq in well under one

_PUSH: Final = """
begin
  require "sidekiq"
rescue LoadError
  exit 3
end
require "json"
Sidekiq.logger.level = Logger::ERROR
queue, *names = ARGV
jids = names.map do |name|
  Sidekiq::Client.push("class" => "Demo::HelloJob", "queue" => queue, "args" => [name])
end
puts JSON.generate("version" => Sidekiq::VERSION, "jids" => jids)
"""
NAMES: Final = ("Yukihiro", "Mike")


def push_from_ruby(queue: str, environ: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Push two jobs with Ruby's own client; returns what to tell about it, and what is known by jid."""
    ruby = shutil.which("ruby")
    if ruby is None:
        return "not on this machine, Python pushes everything", {}
    try:
        done = subprocess.run(
            [ruby, "-e", _PUSH, queue, *NAMES],
            env=dict(environ),
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        if done.returncode == 3:
            return "without the sidekiq gem, Python pushes everything", {}
        told = json.loads(done.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return "could not push, Python pushes everything", {}
    jids = {jid: f"{name}, from Ruby" for jid, name in zip(told["jids"], NAMES, strict=True)}
    return f"Sidekiq {told['version']} pushed {len(jids)} jobs for Python to run", jids
