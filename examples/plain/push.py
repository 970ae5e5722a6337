"""Gives the handlers something to do. Any process can do this: a web server, a notebook, a cron job."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

from handlers import confirmation, payment, report, stock

confirmation.perform_async("bob@example.com", Decimal("12.50"))
payment.perform_async(4711)
report.perform_in(timedelta(seconds=2), date(2030, 1, 31))
stock.perform_bulk([[article] for article in range(100)])
print("pushed 103 jobs")
