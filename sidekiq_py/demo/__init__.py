"""The demo: a real server on a Redis of its own, a mix of jobs, shown live in the terminal.

`run(arguments)` is all of `sidekiq-py demo`. `handlers.py` is what an application would write, `story.py`
tells what happens in which order.
"""

from __future__ import annotations

from sidekiq_py.demo.story import run

__all__ = ["run"]
