"""Job pages: a list with filters, the details of one job, and failures grouped by kind with their remedy."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self
from urllib.parse import urlencode

import azure.functions as func

from pipeline.console import charts, responses, templates
from pipeline.console.auth import CONSOLE_PATH
from pipeline.console.cache import SWRCache
from pipeline.console.remediation import remediation
from pipeline.console.request import ConsoleRequest
from pipeline.errors import PipelineError, RequestError
from pipeline.jobs.actions import JobActions
from pipeline.recipes import Recipes
from pipeline.settings import Settings
from pipeline.storage import STAGES, STATES, Entry, FailureGroup, JobKey, Ledger, cursor_before

PAGE_SIZE = 40
MAX_LEDGER_PAGES = 5
"""Number of ledger pages that one request filters."""
STAGE_COLORS = dict(zip(STAGES, charts.COLOR_CLASSES, strict=True))
FILTERS = ("recipe", "state", "name", "container", "before", "run")


@dataclass(frozen=True)
class JobRow:
    """A job in a list."""

    entry: Entry

    @property
    def thumbnail_url(self) -> str:
        """The URL of a thumbnail: the smallest rendition, or else the source."""
        job, summary = self.entry.key.id, self.entry.summarized
        if self.entry.state == "done" and summary.thumbnail:
            url = templates.rendition_url(job, {"name": summary.thumbnail, "sha256": summary.version})
        else:
            # A list does not tell the version of the source; the time of its job stands for it.
            url = templates.source_url(job, self.entry.version.etag or f"{self.entry.since:%Y%m%d%H%M%S}")
        return f"{url}&thumbnail"

    @property
    def seconds(self) -> float | None:
        """The duration of the job in seconds; None before its end."""
        return self.entry.summarized.ms / 1000 or None


def stage_times(ms: Mapping[str, float]) -> dict[str, float]:
    """Return the milliseconds per stage, in the order of the stages, without stages of no time."""
    return {name: ms[name] for name in STAGES if ms.get(name)}


@dataclass(frozen=True)
class JobFilter:
    """A filter of jobs; all of its conditions must hold. With a name prefix, jobs are sorted by name, else by time."""

    recipe: str
    state: str
    name: str
    container: str
    before: datetime | None
    run: str

    @classmethod
    def parse(cls, query: Mapping[str, str], settings: Settings) -> Self:
        """Parse the query of a URL. Raises RequestError if it is invalid."""
        state, name, container = query.get("state", ""), query.get("name", "").strip(), query.get("container", "")
        if state and state not in STATES:
            raise RequestError(f"there is no state {state[:40]!r}: use one of {', '.join(STATES)}")
        if container not in ("", settings.input_container, settings.upload_container):
            raise RequestError("only jobs of the input and the upload container are listed by container")
        if name and not container:
            container = settings.input_container  # a prefix is a prefix within one container
        before = _parse_moment(query["before"]) if query.get("before") else None
        return cls(query.get("recipe", ""), state, name, container, before, query.get("run", ""))

    def matches(self, entry: Entry) -> bool:
        """Check the conditions that the ledger cannot filter by."""
        return self.container in ("", entry.container) and (self.before is None or entry.since < self.before)


@dataclass(frozen=True)
class JobPages:
    """List, show, retry and dismiss jobs."""

    settings: Settings
    recipes: Recipes
    ledger: Ledger
    actions: JobActions

    async def index(self, request: ConsoleRequest) -> func.HttpResponse:
        """`GET jobs`: list a page of jobs."""
        query, job_filter = request.query, JobFilter.parse(request.query, self.settings)
        entries, cursor = await self._page(job_filter, query.get("cursor", ""))
        own_query = {key: value for key, value in query.items() if key != "cursor" and value}
        return request.render(
            "jobs.html",
            rows=[JobRow(entry) for entry in entries],
            recipes=self.recipes.names,
            states=STATES,
            containers=[self.settings.input_container, self.settings.upload_container],
            container=job_filter.container,
            by_name=bool(job_filter.name),
            next_url=f"{CONSOLE_PATH}/jobs?{urlencode({**own_query, 'cursor': cursor})}" if cursor else "",
            first_url=f"{CONSOLE_PATH}/jobs?{urlencode(own_query)}" if query.get("cursor") else "",
            is_filtered=any(query.get(name) for name in FILTERS),
        )

    async def _page(self, job_filter: JobFilter, cursor: str) -> tuple[list[Entry], str]:
        """Return a page of jobs and the cursor of the next; short or empty if too many ledger rows do not match."""
        if job_filter.before and not job_filter.name and not cursor:
            cursor = cursor_before(job_filter.before)
        matching: list[Entry] = []
        for _ in range(MAX_LEDGER_PAGES):
            entries, cursor = await self.ledger.page(
                recipe=job_filter.recipe or None,
                state=job_filter.state or None,  # type: ignore[arg-type]
                container=job_filter.container if job_filter.name else "",
                prefix=job_filter.name,
                run=job_filter.run,
                limit=PAGE_SIZE - len(matching),
                cursor=cursor,
            )
            matching += filter(job_filter.matches, entries)
            if not cursor or len(matching) >= PAGE_SIZE:
                break
        return matching, cursor

    async def show(self, request: ConsoleRequest) -> func.HttpResponse:
        """`GET jobs/{id}`: show a job. Raises StateConflict of kind `unknown_job` if there is none."""
        entry = await self._entry(request)
        named = (each for each in entry.renditions if each["name"] == request.query.get("rendition"))
        return request.render(
            "job.html",
            job=entry,
            id=entry.key.id,
            shown=next(named, None) or next(iter(entry.renditions), None),
            spans=_spans(entry.report.get("spans", [])),
            stages=[(name, STAGE_COLORS[name], ms) for name, ms in stage_times(entry.ms).items()],
            advice=remediation(entry.error_kind) if entry.state == "failed" else None,
            is_known_recipe=entry.key.recipe in self.recipes.names,
            is_active=entry.is_active,
        )

    async def retry(self, request: ConsoleRequest) -> func.HttpResponse:
        """`POST jobs/{id}/retry`: queue the job again."""
        entry = await self.actions.retry((await self._entry(request)).key)
        return responses.redirect(f"{CONSOLE_PATH}/jobs/{entry.key.id}?notice=retried")

    async def dismiss(self, request: ConsoleRequest) -> func.HttpResponse:
        """`POST jobs/{id}/dismiss`: dismiss a failure, or cancel a queued job."""
        entry = await self.actions.dismiss((await self._entry(request)).key)
        return responses.redirect(f"{CONSOLE_PATH}/jobs/{entry.key.id}?notice=dismissed")

    async def _entry(self, request: ConsoleRequest) -> Entry:
        return await self.actions.get(JobKey.parse(request.parts["id"]))


def _spans(spans: list[list[Any]]) -> list[tuple[str, str, float, float]]:
    """Return the spans of the stages: name, color class, start and duration in milliseconds."""
    return [(name, STAGE_COLORS[name], start, length) for name, start, length in spans if name in STAGES]


def _parse_moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise RequestError(f"{text[:40]!r} is not a time: use the form 2026-11-24T18:30 (UTC)") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


FAILURES_PAGE_SIZE = 24
MAX_FAILURE_LEDGER_PAGES = 3
LEDGER_PAGE_SIZE = 100
"""Number of failures in a ledger page that is filtered by kind."""
MAX_GROUPED_FAILURES = 1000
"""Number of the newest failures of each recipe that are grouped and counted."""
GROUP_ACTION_TIMEOUT_SECONDS = 20.0
CONCURRENT_ACTIONS = 8
JobAction = Callable[[JobKey], Awaitable[Entry]]


async def failure_groups(ledger: Ledger, cache: SWRCache, recipe: str = "") -> list[FailureGroup]:
    """Return the newest failures grouped by kind, of one recipe or of all, from the cache."""
    return await cache.get(
        f"failures {recipe}", lambda: ledger.failures_grouped(recipe=recipe or None, limit=MAX_GROUPED_FAILURES)
    )


@dataclass(frozen=True)
class FailurePages:
    """List failures, and retry or dismiss those of one kind."""

    recipes: Recipes
    ledger: Ledger
    actions: JobActions
    cache: SWRCache

    async def index(self, request: ConsoleRequest) -> func.HttpResponse:
        """`GET failures`: show the groups, and list the failures of one kind or of all."""
        recipe, kind = request.query.get("recipe", ""), request.query.get("kind", "")
        groups = await failure_groups(self.ledger, self.cache, recipe)
        entries, cursor = await self._page(recipe, kind, request.query.get("cursor", ""))
        own_query = {name: value for name, value in (("recipe", recipe), ("kind", kind)) if value}
        return request.render(
            "failures.html",
            groups=groups,
            max_grouped=MAX_GROUPED_FAILURES,
            advice={group.kind: remediation(group.kind) for group in groups},
            kind=kind,
            recipe=recipe,
            recipes=self.recipes.names,
            rows=[JobRow(entry) for entry in entries],
            next_url=f"{CONSOLE_PATH}/failures?{urlencode({**own_query, 'cursor': cursor})}" if cursor else "",
        )

    async def _page(self, recipe: str, kind: str, cursor: str) -> tuple[list[Entry], str]:
        """Return a page of failures and the cursor of the next; short or empty if too many are of other kinds."""
        matching: list[Entry] = []
        for _ in range(MAX_FAILURE_LEDGER_PAGES):
            entries, cursor = await self.ledger.page(
                recipe=recipe or None,
                state="failed",
                limit=LEDGER_PAGE_SIZE if kind else FAILURES_PAGE_SIZE,
                cursor=cursor,
            )
            matching += [entry for entry in entries if kind in ("", entry.error_kind)]
            if not cursor or len(matching) >= FAILURES_PAGE_SIZE:
                break
        return matching, cursor

    async def retry(self, request: ConsoleRequest) -> func.HttpResponse:
        """`POST failures/retry`: retry the failures of a kind."""
        return await self._apply(request, self.actions.retry, "retried")

    async def dismiss(self, request: ConsoleRequest) -> func.HttpResponse:
        """`POST failures/dismiss`: dismiss the failures of a kind."""
        return await self._apply(request, self.actions.dismiss, "dismissed")

    async def _apply(self, request: ConsoleRequest, action: JobAction, notice: str) -> func.HttpResponse:
        """Apply an action to all failures of a kind until the timeout; the next page shows the remaining ones."""
        recipe, kind = request.form.get("recipe", ""), request.form.get("kind", "")
        deadline, count, batch = time.monotonic() + GROUP_ACTION_TIMEOUT_SECONDS, 0, list[Entry]()
        async for entry in self.actions.failures(recipe=recipe or None, kind=kind):
            batch.append(entry)
            if len(batch) == CONCURRENT_ACTIONS:
                count += await _apply_all(action, batch)
                batch.clear()
            if time.monotonic() > deadline:
                break
        count += await _apply_all(action, batch)
        query = {"notice": notice, "count": count, **({"recipe": recipe} if recipe else {})}
        return responses.redirect(f"{CONSOLE_PATH}/failures?{urlencode(query)}")


async def _apply_all(action: JobAction, entries: list[Entry]) -> int:
    """Apply an action to jobs concurrently; return the number of successes.

    A job fails here if its source is gone or another worker has changed it. That does not affect the other jobs.
    """
    results = await asyncio.gather(*(action(entry.key) for entry in entries), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, PipelineError):
            raise result
    return sum(not isinstance(result, PipelineError) for result in results)
