"""Health checks of the dependencies that jobs need, and the version of this app."""

import asyncio
import platform
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version as package_version
from typing import Any

from pipeline import __version__
from pipeline.errors import PipelineError
from pipeline.jobs.admission import Admission
from pipeline.monitoring.admission import BreakerOverview, PauseOverview
from pipeline.monitoring.document import Document
from pipeline.pool import engine_bundle
from pipeline.pool.client import PoolClient
from pipeline.settings import Settings
from pipeline.storage import Account, JobKey, JobQueue, Ledger, RunStore, deployment_number, is_older

API_VERSION = "1"
CHECK_TIMEOUT_SECONDS = 10.0
"""A dependency that does not respond within this time is not healthy."""
ABSENT_JOB = JobKey("~health", "~")
REPORTED_PACKAGES = ("azure-functions", "azure-storage-blob", "httpx", "pydantic")
Check = Callable[[], Awaitable[object]]


class DependencyHealth(Document):
    """Health of one dependency."""

    name: str
    healthy: bool
    reason: str | None
    """If not healthy, the cause and the remedy. If healthy, a restriction, or null."""
    ms: float
    """Duration of the check in milliseconds."""


class Health(Document):
    """Health of all dependencies."""

    healthy: bool
    """True if every dependency is healthy."""
    dependencies: list[DependencyHealth]
    circuit_breakers: list[BreakerOverview]
    """Circuit breakers of the process that responds."""
    pauses: list[PauseOverview]
    """Pauses that operators have made. A pause makes nothing unhealthy."""


class VersionInfo(Document):
    """Version of this app, and its limits."""

    version: str
    """Version of the image pipeline."""
    api: str
    """Version of the HTTP API."""
    deployment: int
    """Deployment number: the time at which the package was made, in seconds since 1970; 0 in a checkout."""
    engine: str
    """Digest of the engine, the code that runs in sessions."""
    python: str
    packages: dict[str, str]
    session_api: str
    """Version of the session pool's API."""
    adhoc_recipes: str
    """Recipes that requests may supply: `off`, `on`, or `code` (also with code)."""
    formats: list[str]
    """Formats that sources may have."""
    limits: dict[str, int | float]


def version_info(settings: Settings) -> VersionInfo:
    """Return the versions of this app and of its main packages, and the limits by the settings."""
    limits: dict[str, Any] = {
        **settings.limits,
        "max_source_bytes": settings.max_source_bytes,
        "max_renditions": settings.max_renditions,
        "http_max_body_bytes": settings.http_max_body_bytes,
        "http_max_response_bytes": settings.http_max_response_bytes,
        "http_sync_wait": settings.http_sync_wait,
        "preview_timeout": settings.preview_timeout,
    }
    return VersionInfo(
        version=__version__,
        api=API_VERSION,
        deployment=deployment_number(),
        engine=engine_bundle.build().digest,
        python=platform.python_version(),
        packages={name: package_version(name) for name in REPORTED_PACKAGES},
        session_api=settings.pool_api_version,
        adhoc_recipes=settings.adhoc_recipes,
        formats=settings.format_names,
        limits=limits,
    )


@dataclass(frozen=True)
class HealthMonitor:
    """Check the containers, queues, tables and the session pool."""

    settings: Settings
    account: Account
    ledger: Ledger
    run_store: RunStore
    pool: PoolClient
    admission: Admission

    async def check(self) -> Health:
        """Check all dependencies concurrently."""
        checks = self._checks().items()
        dependencies = await asyncio.gather(*(_check_dependency(name, check) for name, check in checks))
        return Health(
            healthy=all(each.healthy for each in dependencies),
            dependencies=list(dependencies),
            circuit_breakers=[BreakerOverview.of(each) for each in self.admission.breakers.values()],
            pauses=PauseOverview.all_of(await self.admission.pauses.current()),
        )

    def _checks(self) -> dict[str, Check]:
        settings = self.settings
        containers = {settings.input_container, settings.output_container, settings.upload_container}
        containers |= {settings.state_container, settings.asset_container}
        queues = (settings.job_queue, settings.run_queue)
        return {
            **{f"container {name}": partial(self.account.check_container, name) for name in sorted(containers)},
            **{f"queue {name}": JobQueue(self.account, name).length for name in queues},
            f"table {settings.ledger_table}": lambda: self.ledger.get(ABSENT_JOB),
            f"table {settings.run_table}": lambda: self.run_store.get("run", "~"),
            "session pool": self._check_pool,
            "version of the app": self._check_version,
        }

    async def _check_version(self) -> str | None:
        """Compare this process with the minimum version and with the newest deployment."""
        await self.admission.pauses.ensure_version()
        newest = await self.run_store.get("recipes", "active")
        number = newest.content.get("deployment", 0) if newest else 0
        if is_older(self.ledger.deployment, number):
            return (
                f"this instance belongs to the deployment {self.ledger.deployment}, older than the active one, {number}"
            )
        return None

    async def _check_pool(self) -> str | None:
        """End a session that does not exist: free, starts nothing, and needs all that the calls of a job need."""
        try:
            await self.pool.end(secrets.token_hex(16))
        except PipelineError as error:
            if error.kind != "pool_cannot_end":
                raise
            return f"{error.message}; sessions end by themselves after the cooldown period"
        return None


async def _check_dependency(name: str, check: Check) -> DependencyHealth:
    """Run one check. A text that it returns is a restriction of a healthy dependency."""
    started, healthy, reason = time.perf_counter(), True, None
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
            result = await check()
            reason = result if isinstance(result, str) else None
    except PipelineError as error:
        healthy, reason = False, f"{error.kind}: {error.message}"
    except TimeoutError:
        healthy, reason = False, f"no response within {CHECK_TIMEOUT_SECONDS:.0f} s"
    ms = round((time.perf_counter() - started) * 1000, 1)
    return DependencyHealth(name=name, healthy=healthy, reason=reason, ms=ms)
