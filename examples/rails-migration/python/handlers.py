"""What was Ruby's MonthlyReportJob."""

from __future__ import annotations

from sidekiq_py import Client, current_job, job


@job("MonthlyReportJob", queue="python", retry=5)
def monthly_report(account_id: int, month: str) -> None:
    current_job().logger.info("Python writes the report of %s for account %d", month, account_id)
    Client().push({"class": "ReportMailJob", "queue": "default", "args": [account_id, f"report of {month}"]})
