"""Sidekiq's own execution metrics and deploy marks, which its Metrics pages read.

Ruby twin: Sidekiq::Metrics.
"""

from __future__ import annotations

from sidekiq_py.metrics.deploy import mark_deploy
from sidekiq_py.metrics.execution import ExecutionTracker

__all__ = ["ExecutionTracker", "mark_deploy"]
