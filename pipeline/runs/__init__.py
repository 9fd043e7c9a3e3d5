"""Bulk: a selection of jobs is planned, started, followed, cancelled and resumed; the timer starts one by itself."""

from pipeline.runs.estimates import Estimate
from pipeline.runs.lifecycle import begun, cancel, get, list_runs, resume, scheduled, start, stop
from pipeline.runs.model import Plan, Progress, Run
from pipeline.runs.orphans import Orphan, orphans, prune
from pipeline.runs.planning import get_plan, plan
from pipeline.runs.retention import sweep
from pipeline.runs.selection import DUE, REASONS, Reason, Selection
from pipeline.runs.worker import work_received

__all__ = [
    "DUE",
    "REASONS",
    "Estimate",
    "Orphan",
    "Plan",
    "Progress",
    "Reason",
    "Run",
    "Selection",
    "begun",
    "cancel",
    "get",
    "get_plan",
    "list_runs",
    "orphans",
    "plan",
    "prune",
    "resume",
    "scheduled",
    "start",
    "stop",
    "sweep",
    "work_received",
]
