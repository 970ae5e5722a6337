"""Real Sidekiq whose scheduler looks at once; by itself it would rest for up to five seconds first."""

from __future__ import annotations

from typing import Any

from compat_tests.ruby import Ruby
from compat_tests.ruby_server import RubyServer

EAGER = """
require_relative "jobs"
require "sidekiq/scheduled"

module LooksAtOnce
  private

  def initial_wait
  end
end

Sidekiq::Scheduled::Poller.prepend(LooksAtOnce)
"""


def eager_server(ruby: Ruby, **options: Any) -> RubyServer:
    """As `ruby.server(…)`."""
    return ruby.server(**{"poll_interval": 0.1, **options, "require": ruby.write("eager.rb", EAGER)})
