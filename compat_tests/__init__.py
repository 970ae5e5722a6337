from pathlib import Path

HANDLERS = Path(__file__).with_name("handlers.py").read_text()
"""Python handlers for the job classes of ruby_fixtures/jobs.rb, as `sidekiq_py` takes them."""
