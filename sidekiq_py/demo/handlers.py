"""The demo's jobs, as an application writes them: a Ruby class name over a Python function."""

from __future__ import annotations

import time

from sidekiq_py import current_job, job


@job("Demo::HelloJob")
def hello(name: str) -> None:
    """Quick: done in well under a millisecond."""
    current_job().logger.info("hello %s", name)


@job("Demo::ReportJob")
def report(title: str, seconds: float) -> None:
    """Slow: quick jobs overtake it."""
    time.sleep(seconds)
    current_job().logger.info("%s is written", title)


@job("Demo::ReminderJob")
def reminder(text: str) -> None:
    """Pushed for later."""
    current_job().logger.info("remember: %s", text)


@job("Demo::MailJob")
def mail(address: str) -> None:
    """Fails at the first try and succeeds at the second, as mail servers do."""
    if current_job().retry_count is None:
        raise TimeoutError(f"no answer from the mail server of {address}")
    current_job().logger.info("sent to %s", address)


@job("Demo::PaymentJob", retry=5)
def payment(order: int) -> None:
    """Fails each time: it waits in the retry set."""
    raise ConnectionError(f"the bank is closed, order {order} is not paid")


@job("Demo::ImportJob", retry=0)
def import_row(row: str) -> None:
    """Fails and has no retries: it goes to the dead set."""
    raise ValueError(f"can't read {row!r}")


@job("Demo::NoopJob", log_level="error")
def noop(number: int) -> None:
    """Does nothing, quietly: what is measured is the server."""
