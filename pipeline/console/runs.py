"""Run pages: plan, start, show, cancel and resume bulk runs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import azure.functions as func
from pydantic import ValidationError

from pipeline import runs
from pipeline.console import responses
from pipeline.console.auth import CONSOLE_PATH
from pipeline.console.request import ConsoleRequest
from pipeline.errors import PipelineError
from pipeline.recipes import Recipes
from pipeline.runs import Selection
from pipeline.runs.lifecycle import RunController
from pipeline.runs.planning import RunPlanner
from pipeline.runs.selection import MAX_AGE_SECONDS, MAX_SAMPLE
from pipeline.settings import Settings

PLAN_BUDGET_SECONDS = 20.0
"""Planning time of one request; the page then offers to continue."""
HOUR_SECONDS = 3600
REASONS = {
    "new": "never processed",
    "changed": "source changed",
    "etag_changed": "source written, content probably the same",
    "recipe_changed": "recipe or engine changed",
    "unfinished": "interrupted",
    "service_failed": "failed because a service did",
    "failed": "failed",
    "missing": "done, but a rendition is missing",
    "done": "done and up to date",
    "dismissed": "dismissed",
}
"""The reasons for a job of a run, in words."""
FIELD_LABELS = {
    "prefix": "Names that start with",
    "newer": "Modified within (hours)",
    "older": "Modified before (hours ago)",
    "sample": "Sample size (jobs)",
}
FORM_FIELDS = {"max_age": "newer", "min_age": "older"}
"""The form fields of those selection fields that have another name."""
EMPTY_FORM = {"prefix": "", "newer": "", "older": "", "sample": "", **{f"reason-{each}": "on" for each in runs.DUE}}


@dataclass(frozen=True)
class RunPages:
    """Plan, start, show, cancel and resume runs."""

    settings: Settings
    recipes: Recipes
    runs: RunController
    planner: RunPlanner

    async def index(self, request: ConsoleRequest) -> func.HttpResponse:
        """`GET runs`: list the runs, newest first."""
        found, cursor = await self.runs.list_runs(cursor=request.query.get("cursor", ""))
        return request.render("runs.html", runs=found, next_cursor=cursor)

    async def show(self, request: ConsoleRequest) -> func.HttpResponse:
        """`GET runs/{id}`: show the progress of a run."""
        run = await self.runs.get(request.parts["id"])
        plan = await self.planner.get(run.plan) if run.plan else None
        return request.render("run.html", run=run, plan=plan, reasons=REASONS)

    async def form(self, request: ConsoleRequest) -> func.HttpResponse:
        """`GET runs/plan`: show the form for a plan."""
        recipe = request.query.get("recipe", "")
        return self._form(request, {**EMPTY_FORM, **({f"recipe-{recipe}": "on"} if recipe else {})})

    async def plan(self, request: ConsoleRequest) -> func.HttpResponse:
        """`POST runs/plan`: make a plan. If that fails, show the form again, with its input and the error."""
        try:
            selection = parse_selection(request.form, self.recipes.names)
            plan = await self.planner.plan(selection, budget_seconds=PLAN_BUDGET_SECONDS)
        except ValidationError as error:
            messages = (_field_message(each) for each in error.errors(include_url=False))
            return self._form(request, request.form, "\n".join(messages))
        except ValueError as error:
            return self._form(request, request.form, str(error))
        except PipelineError as error:
            return self._form(request, request.form, error.message)
        return responses.redirect(f"{CONSOLE_PATH}/runs/plans/{plan.id}")

    async def review(self, request: ConsoleRequest, error: str = "") -> func.HttpResponse:
        """`GET runs/plans/{id}`: show a plan: its jobs, their reasons, the estimated duration and cost."""
        plan = await self.planner.get(request.parts["id"])
        status = 422 if error else 200
        return request.render("plan.html", status, plan=plan, reasons=REASONS, error=error, settings=self.settings)

    async def continue_planning(self, request: ConsoleRequest) -> func.HttpResponse:
        """`POST runs/plans/{id}/continue`: continue planning where the last request stopped."""
        plan = await self.planner.get(request.parts["id"])
        if plan.marker:
            await self.planner.plan(plan.selection, marker=plan.marker, budget_seconds=PLAN_BUDGET_SECONDS)
        return responses.redirect(f"{CONSOLE_PATH}/runs/plans/{plan.id}")

    async def start(self, request: ConsoleRequest) -> func.HttpResponse:
        """`POST runs/plans/{id}/start`: start the run of a plan."""
        try:
            run = await self.runs.start(plan_id=request.parts["id"])
        except PipelineError as error:
            return await self.review(request, error.message)
        return responses.redirect(f"{CONSOLE_PATH}/runs/{run.id}?notice=started")

    async def cancel(self, request: ConsoleRequest) -> func.HttpResponse:
        """`POST runs/{id}/cancel`: cancel a run; no more of its jobs start."""
        run = await self.runs.cancel(request.parts["id"])
        return responses.redirect(f"{CONSOLE_PATH}/runs/{run.id}?notice=cancelled")

    async def resume(self, request: ConsoleRequest) -> func.HttpResponse:
        """`POST runs/{id}/resume`: resume a run after an interruption or a cancellation."""
        run = await self.runs.resume(request.parts["id"])
        return responses.redirect(f"{CONSOLE_PATH}/runs/{run.id}?notice=resumed")

    def _form(self, request: ConsoleRequest, values: Mapping[str, str], error: str = "") -> func.HttpResponse:
        return request.render(
            "plan_form.html",
            422 if error else 200,
            values=values,
            error=error,
            recipes=list(self.recipes),
            reasons=REASONS,
            labels=FIELD_LABELS,
            container=self.settings.input_container,
        )


def parse_selection(form: Mapping[str, str], recipes: list[str]) -> Selection:
    """Parse the selection of a form. Raises ValueError or ValidationError if it is invalid."""
    reasons = [each for each in runs.REASONS if f"reason-{each}" in form]
    if not reasons:
        raise ValueError("select at least one reason: without one, no job is selected")
    numbers: dict[str, Any] = {
        "max_age": _parse_number(form, "newer", HOUR_SECONDS, MAX_AGE_SECONDS / HOUR_SECONDS),
        "min_age": _parse_number(form, "older", HOUR_SECONDS, MAX_AGE_SECONDS / HOUR_SECONDS),
        "sample": _parse_number(form, "sample", 1, MAX_SAMPLE),
    }
    return Selection(
        prefix=form.get("prefix", "").strip(),
        recipes=tuple(each for each in recipes if f"recipe-{each}" in form),
        reasons=tuple(reasons),
        **{name: value for name, value in numbers.items() if value is not None},
    )


def _parse_number(form: Mapping[str, str], name: str, unit: int, maximum: float) -> float | None:
    """Parse the number in a field, in units of `unit`; None if it is empty. A decimal comma is allowed."""
    text = form.get(name, "").strip()
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,12}([.,][0-9]{1,12})?", text):
        raise ValueError(f"{FIELD_LABELS[name]}: {text[:40]!r} is not a number of at least 0")
    value = float(text.replace(",", "."))
    if value > maximum:
        raise ValueError(f"{FIELD_LABELS[name]}: {text} exceeds the maximum {maximum:,.0f}")
    return value * unit


def _field_message(error: Any) -> str:  # noqa: ANN401 - an error of pydantic
    """Return the message of a validation error, with the label of its field."""
    name = str(error["loc"][0]) if error["loc"] else ""
    is_pattern = error["type"] == "string_pattern_mismatch"
    message = "contains characters that blob names cannot contain" if is_pattern else error["msg"]
    return f"{FIELD_LABELS.get(FORM_FIELDS.get(name, name), name)}: {message}"
