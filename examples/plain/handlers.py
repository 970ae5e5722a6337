"""Jobs of a small shop."""

from __future__ import annotations

import time
from datetime import date
from decimal import Decimal

from sidekiq_py import current_job, job


@job("Shop::ConfirmationJob")
def confirmation(address: str, total: Decimal) -> None:
    current_job().logger.info("mail to %s over %s", address, total)


@job("Shop::StockJob", queue="low")
def stock(article: int) -> None:
    time.sleep(0.01)  # others run meanwhile


@job("Shop::PaymentJob", retry=3, tags=["money"])
def payment(order: int) -> None:
    if current_job().retry_count is None:
        raise ConnectionError("the bank does not answer")
    current_job().logger.info("order %d is paid", order)


@payment.retry_in
def soon(count: int, error: BaseException, payload: dict) -> int:
    return 1  # second, and up to 9 more so that many don't come at once


@job("Shop::ReportJob")
def report(day: date) -> None:
    current_job().logger.info("report of %s", day)
