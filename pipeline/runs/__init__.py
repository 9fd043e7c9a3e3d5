"""Bulk runs: plan, estimate, start, follow, cancel and resume a selection of jobs."""

from pipeline.runs.estimates import Estimate
from pipeline.runs.model import Plan, Progress, Run
from pipeline.runs.orphans import Orphan
from pipeline.runs.selection import DUE, REASONS, Reason, Selection

__all__ = ["DUE", "REASONS", "Estimate", "Orphan", "Plan", "Progress", "Reason", "Run", "Selection"]
