"""A web application that runs its own jobs: no second process to look after."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from sidekiq_py import configure_embed, current_job, job


@job("Shop::MailJob", queue="mail", retry=5)
def send_mail(address: str) -> None:
    current_job().logger.warning("mail to %s", address)


@configure_embed
def server(config) -> None:
    config.queues = ["mail"]
    config.concurrency = 2  # jobs and requests share one interpreter
    config.timeout = 20  # below gunicorn's graceful_timeout


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    jid = send_mail.perform_async("bob@example.com")
    start_response("202 Accepted", [("Content-Type", "text/plain")])
    return [f"{jid}\n".encode()]
