"""Whether everything that jobs need is well, and what this app is."""

from __future__ import annotations

import asyncio
import platform
import secrets
import time
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.metadata import version as installed
from typing import Any

from pydantic import BaseModel

from pipeline.api.http import Request, Response
from pipeline.api.problems import RETRY_AFTER
from pipeline.api.schemas import DOCUMENT
from pipeline.errors import PipelineError
from pipeline.pool import engine_bundle
from pipeline.services import Services
from pipeline.storage.keys import JobKey

API_VERSION = "1"
# A dependency that has not answered by then is not well.
PATIENCE = 10.0
NOBODY = JobKey("~health", "~")


class DependencyDocument(BaseModel):
    """One thing that jobs need."""

    model_config = DOCUMENT

    name: str
    well: bool
    reason: str | None
    """Why it is not well, and what to change; or what does not work although it is well enough."""
    ms: float


class HealthDocument(BaseModel):
    """All that jobs need, each with its reason when it is not well."""

    model_config = DOCUMENT

    well: bool
    dependencies: list[DependencyDocument]


class VersionDocument(BaseModel):
    """What this app is, and the limits that it holds everything to."""

    model_config = DOCUMENT

    api: str
    engine: str
    """Of the transforms: every change of it makes renditions that were made before stale."""
    python: str
    packages: dict[str, str]
    session_api: str
    adhoc_recipes: str
    formats: list[str]
    limits: dict[str, int | float]


async def health(services: Services) -> HealthDocument:
    """Ask every dependency, all at once."""
    found = await asyncio.gather(*(_asked(name, ask) for name, ask in _checks(services).items()))
    return HealthDocument(well=all(each.well for each in found), dependencies=list(found))


async def show_health(services: Services, _: Request) -> Response:
    """`GET /api/health`: 200 when everything is well, 503 otherwise."""
    document = await health(services)
    return Response(document) if document.well else Response(document, 503, {"Retry-After": str(RETRY_AFTER)})


async def show_version(services: Services, _: Request) -> Response:
    """`GET /api/version`: what this app is."""
    return Response(version(services))


def version(services: Services) -> VersionDocument:
    """What this app is, and its limits."""
    settings = services.settings
    limits: dict[str, Any] = {
        **settings.limits,
        "max_source_bytes": settings.max_source_bytes,
        "max_renditions": settings.max_renditions,
        "http_max_response_bytes": settings.http_max_response_bytes,
        "http_sync_wait": settings.http_sync_wait,
        "preview_timeout": settings.preview_timeout,
    }
    return VersionDocument(
        api=API_VERSION,
        engine=engine_bundle.build().digest,
        python=platform.python_version(),
        packages={name: installed(name) for name in ("azure-functions", "azure-storage-blob", "httpx", "pydantic")},
        session_api=settings.pool_api_version,
        adhoc_recipes=settings.adhoc_recipes,
        formats=settings.format_names,
        limits=limits,
    )


def _checks(services: Services) -> dict[str, Callable[[], Awaitable[object]]]:
    settings = services.settings
    containers = {settings.input_container, settings.output_container, settings.upload_container}
    containers |= {settings.state_container, settings.asset_container}
    return {
        **{f"container {name}": partial(services.account.check_container, name) for name in sorted(containers)},
        f"queue {settings.job_queue}": services.job_queue.length,
        f"queue {settings.run_queue}": services.run_queue.length,
        f"table {settings.ledger_table}": lambda: services.ledger.get(NOBODY),
        f"table {settings.run_table}": lambda: services.run_store.get("run", "~"),
        "session pool": lambda: _pool(services),
    }


async def _pool(services: Services) -> str | None:
    """End a session that nobody has: costs nothing, starts nothing, and asks all that a job's calls need."""
    try:
        await services.pool.end(secrets.token_hex(16))
    except PipelineError as error:
        if error.kind != "pool_cannot_end":
            raise
        return f"{error.message}; sessions are left to cool down"
    return None


async def _asked(name: str, ask: Callable[[], Awaitable[object]]) -> DependencyDocument:
    started, well, reason = time.perf_counter(), True, None
    try:
        async with asyncio.timeout(PATIENCE):
            found = await ask()
            reason = found if isinstance(found, str) else None
    except PipelineError as error:
        well, reason = False, f"{error.kind}: {error.message}"
    except TimeoutError:
        well, reason = False, f"no answer within {PATIENCE:.0f} s"
    return DependencyDocument(name=name, well=well, reason=reason, ms=round((time.perf_counter() - started) * 1000, 1))
