"""Failures page: failures grouped by kind with their remedy, and retry or dismissal of a whole group."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlencode

import azure.functions as func

from pipeline.console import responses
from pipeline.console.auth import CONSOLE_PATH
from pipeline.console.cache import SWRCache
from pipeline.console.jobs import JobRow
from pipeline.console.remediation import remediation
from pipeline.console.request import ConsoleRequest
from pipeline.errors import PipelineError
from pipeline.jobs.actions import JobActions
from pipeline.recipes import Recipes
from pipeline.storage.entry import Entry, JobKey
from pipeline.storage.ledger import Ledger
from pipeline.storage.ledger_queries import FailureGroup

PAGE_SIZE = 24
MAX_LEDGER_PAGES = 3
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
        for _ in range(MAX_LEDGER_PAGES):
            entries, cursor = await self.ledger.page(
                recipe=recipe or None, state="failed", limit=LEDGER_PAGE_SIZE if kind else PAGE_SIZE, cursor=cursor
            )
            matching += [entry for entry in entries if kind in ("", entry.error_kind)]
            if not cursor or len(matching) >= PAGE_SIZE:
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
