"""Runs: planned, looked at, started, followed; cancelled and resumed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import azure.functions as func
from pydantic import ValidationError

from pipeline import runs
from pipeline.console import responses
from pipeline.console.auth import PATH
from pipeline.console.request import ConsoleRequest
from pipeline.errors import PipelineError
from pipeline.runs import Selection
from pipeline.runs.selection import MAX_AGE_SECONDS, MAX_SAMPLE

PLAN_SECONDS = 20.0
"""How long a request goes on planning; the page then offers to go on."""
HOUR = 3600
REASONS = {
    "new": "never done",
    "changed": "the source has changed",
    "recipe_changed": "the recipe has changed, or the engine",
    "unfinished": "begun, and nobody is on it",
    "failed": "failed the last time",
    "missing": "done, but a rendition is not there any more",
    "done": "done and up to date",
    "dismissed": "dismissed",
}
"""Why a job is done in a run, in words."""
LABELS = {
    "prefix": "Names that start with",
    "newer": "Written within hours",
    "older": "Older than hours",
    "sample": "Only a sample of jobs",
}
"""The fields of the form by their labels."""
FIELDS = {"max_age": "newer", "min_age": "older"}
EMPTY = {"prefix": "", "newer": "", "older": "", "sample": "", **{f"reason-{each}": "on" for each in runs.DUE}}


async def index(visit: ConsoleRequest) -> func.HttpResponse:
    """`GET runs`: the newest first."""
    found, following = await visit.services.runs.list_runs(cursor=visit.query.get("from", ""))
    return visit.page("runs.html", runs=found, following=following)


async def show(visit: ConsoleRequest) -> func.HttpResponse:
    """`GET runs/{id}`: how far a run is."""
    run = await visit.services.runs.get(visit.parts["id"])
    plan = await visit.services.planner.get(run.plan) if run.plan else None
    return visit.page("run.html", run=run, plan=plan, reasons=REASONS)


async def form(visit: ConsoleRequest) -> func.HttpResponse:
    """`GET runs/plan`: what is to be planned."""
    recipe = visit.query.get("recipe", "")
    return _form(visit, {**EMPTY, **({f"recipe-{recipe}": "on"} if recipe else {})})


async def plan(visit: ConsoleRequest) -> func.HttpResponse:
    """`POST runs/plan`: plan it. What cannot be planned comes back with what is wrong, and with all that was typed."""
    try:
        selection = _selection(visit.form, visit.services.recipes.names)
        found = await visit.services.planner.plan(selection, budget_seconds=PLAN_SECONDS)
    except ValidationError as error:
        return _form(visit, visit.form, "\n".join(_said(each) for each in error.errors(include_url=False)))
    except ValueError as error:
        return _form(visit, visit.form, str(error))
    except PipelineError as error:
        return _form(visit, visit.form, error.message)
    return responses.go_to(f"{PATH}/runs/plans/{found.id}")


async def review(visit: ConsoleRequest) -> func.HttpResponse:
    """`GET runs/plans/{id}`: what, why, how much, how long, how costly."""
    return _review(visit, await visit.services.planner.get(visit.parts["id"]))


async def go_on(visit: ConsoleRequest) -> func.HttpResponse:
    """`POST runs/plans/{id}/continue`: plan on from where the last request left off."""
    found = await visit.services.planner.get(visit.parts["id"])
    if found.marker:
        await visit.services.planner.plan(found.selection, marker=found.marker, budget_seconds=PLAN_SECONDS)
    return responses.go_to(f"{PATH}/runs/plans/{found.id}")


async def start(visit: ConsoleRequest) -> func.HttpResponse:
    """`POST runs/plans/{id}/start`: do what was planned."""
    try:
        run = await visit.services.runs.start(plan_id=visit.parts["id"])
    except PipelineError as error:
        return _review(visit, await visit.services.planner.get(visit.parts["id"]), error.message)
    return responses.go_to(f"{PATH}/runs/{run.id}?told=started")


async def cancel(visit: ConsoleRequest) -> func.HttpResponse:
    """`POST runs/{id}/cancel`: no further job begins."""
    run = await visit.services.runs.cancel(visit.parts["id"])
    return responses.go_to(f"{PATH}/runs/{run.id}?told=cancelled")


async def resume(visit: ConsoleRequest) -> func.HttpResponse:
    """`POST runs/{id}/resume`: go on, whatever has become of it."""
    run = await visit.services.runs.resume(visit.parts["id"])
    return responses.go_to(f"{PATH}/runs/{run.id}?told=resumed")


def _form(visit: ConsoleRequest, values: Mapping[str, str], problem: str = "") -> func.HttpResponse:
    return visit.page(
        "plan_form.html",
        422 if problem else 200,
        values=values,
        problem=problem,
        recipes=list(visit.services.recipes),
        reasons=REASONS,
        labels=LABELS,
        container=visit.services.settings.input_container,
    )


def _review(visit: ConsoleRequest, found: runs.Plan, problem: str = "") -> func.HttpResponse:
    return visit.page(
        "plan.html",
        422 if problem else 200,
        plan=found,
        reasons=REASONS,
        problem=problem,
        settings=visit.services.settings,
    )


def _selection(form: Mapping[str, str], recipes: list[str]) -> Selection:
    """What a form selects. ValueError or ValidationError says what is wrong with it."""
    reasons = [each for each in runs.REASONS if f"reason-{each}" in form]
    if not reasons:
        raise ValueError("choose at least one reason: with none, there is nothing to do")
    more: dict[str, Any] = {
        "max_age": _number(form, "newer", HOUR, MAX_AGE_SECONDS / HOUR),
        "min_age": _number(form, "older", HOUR, MAX_AGE_SECONDS / HOUR),
        "sample": _number(form, "sample", 1, MAX_SAMPLE),
    }
    return Selection(
        prefix=form.get("prefix", "").strip(),
        recipes=tuple(each for each in recipes if f"recipe-{each}" in form),
        reasons=tuple(reasons),
        **{name: value for name, value in more.items() if value is not None},
    )


def _number(form: Mapping[str, str], name: str, unit: int, most: float) -> float | None:
    """The number in a field, which may have a comma for its point: in many places it is written so."""
    text = form.get(name, "").strip()
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,12}([.,][0-9]{1,12})?", text):
        raise ValueError(f"{LABELS[name]}: {text[:40]!r} is not a number from 0 on")
    value = float(text.replace(",", "."))
    if value > most:
        raise ValueError(f"{LABELS[name]}: {text} is more than {most:,.0f}")
    return value * unit


def _said(error: Any) -> str:  # noqa: ANN401 - an error's details, as pydantic has them
    """What is wrong, in the words of the form."""
    name = str(error["loc"][0]) if error["loc"] else ""
    message = "it holds characters that no name has" if error["type"] == "string_pattern_mismatch" else error["msg"]
    return f"{LABELS.get(FIELDS.get(name, name), name)}: {message}"
