"""Bulk: a selection of jobs is planned, started, followed, cancelled and resumed; the timer starts one by itself."""

from pipeline.runs.estimates import Estimate
from pipeline.runs.lifecycle import cancel, find_run, get, list_runs, resume, start, start_scheduled, stop
from pipeline.runs.model import Plan, Progress, Run
from pipeline.runs.orphans import Orphan, orphans, prune
from pipeline.runs.planning import get_plan, plan
from pipeline.runs.retention import apply_retention
from pipeline.runs.selection import DUE, REASONS, Reason, Selection
from pipeline.runs.worker import handle_message

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
    "apply_retention",
    "cancel",
    "find_run",
    "get",
    "get_plan",
    "handle_message",
    "list_runs",
    "orphans",
    "plan",
    "prune",
    "resume",
    "start",
    "start_scheduled",
    "stop",
]
