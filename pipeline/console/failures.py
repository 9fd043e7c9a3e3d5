"""Failures: by their reason, with what to do about it, and retried or dismissed together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from urllib.parse import urlencode

import azure.functions as func

from pipeline.console import responses
from pipeline.console.auth import PATH
from pipeline.console.cache import lately
from pipeline.console.jobs import Row
from pipeline.console.remediation import remediation
from pipeline.console.request import ConsoleRequest
from pipeline.errors import JobSuperseded, PipelineError
from pipeline.services import Services
from pipeline.storage.entry import Entry
from pipeline.storage.keys import JobKey
from pipeline.storage.ledger_queries import FailureGroup

PAGE = 24
LOOKS = 3
LOOKED = 100
"""So many failures are looked through at a time for those of a kind."""
COUNTED = 1000
"""So many of each recipe's newest failures are counted."""
PATIENCE = 20.0
AT_ONCE = 8
Act = Callable[[JobKey], Awaitable[Entry]]


async def index(visit: ConsoleRequest) -> func.HttpResponse:
    """`GET failures`: their kinds, and those of one kind."""
    recipe, kind = visit.query.get("recipe", ""), visit.query.get("kind", "")
    groups = await grouped(visit.services, recipe)
    rows, following = await _of_kind(visit.services, recipe, kind, visit.query.get("from", ""))
    kept = {name: value for name, value in (("recipe", recipe), ("kind", kind)) if value}
    return visit.page(
        "failures.html",
        groups=groups,
        counted=COUNTED,
        advice={group.kind: remediation(group.kind) for group in groups},
        kind=kind,
        recipe=recipe,
        recipes=visit.services.recipes.names,
        rows=[Row(entry) for entry in rows],
        following=f"{PATH}/failures?{urlencode({**kept, 'from': following})}" if following else "",
    )


async def grouped(services: Services, recipe: str = "") -> list[FailureGroup]:
    """The newest failures by their kind, as of a moment ago."""
    ledger = services.ledger
    return await lately(
        ledger, f"failures {recipe}", lambda: ledger.failures_grouped(recipe=recipe or None, limit=COUNTED)
    )


async def _of_kind(services: Services, recipe: str, kind: str, token: str) -> tuple[list[Entry], str]:
    """A page of failures, sieved by kind: it gives up after some reads, and the token goes on from there."""
    found: list[Entry] = []
    for _ in range(LOOKS):
        look = LOOKED if kind else PAGE
        entries, token = await services.ledger.page(recipe=recipe or None, state="failed", limit=look, cursor=token)
        found += [entry for entry in entries if kind in ("", entry.error_kind)]
        if not token or len(found) >= PAGE:
            break
    return found, token


async def retry(visit: ConsoleRequest) -> func.HttpResponse:
    """`POST failures/retry`: those of a kind once more."""
    return await _all(visit, visit.services.jobs.retry, "retried")


async def dismiss(visit: ConsoleRequest) -> func.HttpResponse:
    """`POST failures/dismiss`: let those of a kind be."""
    return await _all(visit, visit.services.jobs.dismiss, "dismissed")


async def _all(visit: ConsoleRequest, act: Act, told: str) -> func.HttpResponse:
    """Do it to as many as there is time for; the page then shows what is left."""
    recipe, kind = visit.form.get("recipe", ""), visit.form.get("kind", "")
    ends, count, batch = time.monotonic() + PATIENCE, 0, list[Entry]()
    found = visit.services.jobs.failures(recipe=recipe or None, kind=kind)
    async for entry in found:
        batch.append(entry)
        if len(batch) == AT_ONCE:
            count += await _each(act, batch)
            batch.clear()
        if time.monotonic() > ends:
            break
    count += await _each(act, batch)
    query = {"told": told, "n": count, **({"recipe": recipe} if recipe else {})}
    return responses.go_to(f"{PATH}/failures?{urlencode(query)}")


async def _each(act: Act, entries: list[Entry]) -> int:
    """How many it was done to: others may be gone, or somebody else was quicker."""
    ends = await asyncio.gather(*(act(entry.key) for entry in entries), return_exceptions=True)
    for end in ends:
        if isinstance(end, BaseException) and not isinstance(end, PipelineError):
            raise end
    # A source that is gone stays a failure, and its neighbours are not kept from theirs.
    return sum(not isinstance(end, PipelineError | JobSuperseded) for end in ends)
