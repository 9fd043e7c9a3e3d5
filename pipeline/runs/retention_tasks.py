"""The tasks of retention: metrics, plans, runs, idempotency keys, jobs, and ad-hoc recipes."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline.concurrency import map_concurrently
from pipeline.errors import JobSuperseded, PermanentError, TransientError, is_about_one_blob
from pipeline.recipes import Recipes, adhoc
from pipeline.runs.model import Run, key_of, now
from pipeline.runs.retention import RetentionTask
from pipeline.settings import Settings
from pipeline.storage import (
    MAX_PERIOD,
    UNREADABLE_PARTITION,
    DocumentName,
    DocumentStore,
    EndedJobs,
    Entry,
    MetricsStore,
    RunStore,
    Sources,
    source_of,
)

CONCURRENCY = 32
# One step deletes at most this many rows, so that it takes seconds.
MAX_ROWS = 2000
RUNS_PER_STEP = 20
# A round over the jobs reads the properties of each old job's source.
JOB_RETENTION_INTERVAL = timedelta(days=7)


@dataclass(frozen=True)
class MetricsRetention:
    """Delete metrics after twice the period that is shown."""

    metrics: MetricsStore

    async def step(self, position: str) -> tuple[int, str]:
        """Delete the oldest metrics."""
        count = await self.metrics.delete_before(now() - 2 * MAX_PERIOD, MAX_ROWS)
        return count, "more" if count == MAX_ROWS else ""


@dataclass(frozen=True)
class PlanRetention:
    """Delete plans and their parts after `days`."""

    store: RunStore
    days: float

    async def step(self, position: str) -> tuple[int, str]:
        """Delete old plans. The table lists the newest first."""
        oldest = _oldest_key(self.days)
        if await self.store.delete_behind("plan_part", oldest, MAX_ROWS) == MAX_ROWS:
            return 0, "more"
        count = await self.store.delete_behind("plan", oldest, MAX_ROWS)
        return count, "more" if count == MAX_ROWS else ""


@dataclass(frozen=True)
class RunRetention:
    """Delete finished runs with their batches after `days`."""

    store: RunStore
    days: float

    async def step(self, position: str) -> tuple[int, str]:
        """Delete some old runs. The position is the key of the last run that was looked at."""
        page = await self.store.page("run", RUNS_PER_STEP, position or _oldest_key(self.days))
        count = 0
        for key, document in page:
            run = Run.stored(key, document.content)
            if run.over:
                if await self.store.delete_batches(run.id, MAX_ROWS) == MAX_ROWS:
                    return count, position or _oldest_key(self.days)
                await self.store.delete("run", key)
                count += 1
        return count, page[-1][0] if len(page) == RUNS_PER_STEP else ""


@dataclass(frozen=True)
class DocumentRetention:
    """Delete documents that were last written longer ago than `age`."""

    store: DocumentStore
    age: timedelta

    async def step(self, position: str) -> tuple[int, str]:
        """Delete the old documents of one page of the listing."""
        page, following = await self.store.page(position)
        limit = now() - self.age
        deleted = await map_concurrently(self._delete, [one for one in page if one.written < limit], CONCURRENCY)
        return sum(deleted), following

    async def _delete(self, document: DocumentName) -> bool:
        return await self.store.delete(document)


@dataclass(frozen=True)
class AdHocRecipeRetention(DocumentRetention):
    """Delete ad-hoc recipes that were last used longer ago than `age`, and that have no jobs any more."""

    jobs: EndedJobs

    async def _delete(self, document: DocumentName) -> bool:
        recipe = adhoc.MARK + document.name.removesuffix(".json")
        return not await self.jobs.exist(recipe) and await self.store.delete(document)


@dataclass(frozen=True)
class JobRetention:
    """Delete the rows of jobs that ended longer ago than `age` and that no plan or run can include again.

    These are the jobs of deleted sources, of removed recipes, of ad-hoc recipes and of uploads by HTTP, and unreadable
    messages.
    """

    jobs: EndedJobs
    sources: Sources
    recipes: Recipes
    input_container: str
    upload_container: str
    age: timedelta

    async def step(self, position: str) -> tuple[int, str]:
        """Delete the old jobs of one page of a partition."""
        partition, token = json.loads(position) if position else ("", {})
        if not token:
            partition = await self.jobs.next_partition(partition)
            if not partition:
                return 0, ""
        ended, token = await self.jobs.page(partition, now() - self.age, token)
        expired = await map_concurrently(self._has_expired, ended, CONCURRENCY)
        count = await self.jobs.delete([entry for entry, gone in zip(ended, expired, strict=True) if gone])
        return count, json.dumps([partition, token])

    async def _has_expired(self, entry: Entry) -> bool:
        if entry.key.is_grouped or entry.key.group == UNREADABLE_PARTITION:
            return True
        if source_of(entry.key) is None:
            return False  # only the row holds the name of the source: without it, no orphan of the job could be found
        if entry.container == self.upload_container or entry.key.recipe not in self.recipes.names:
            return True
        return entry.container == self.input_container and await self._is_gone(entry)

    async def _is_gone(self, entry: Entry) -> bool:
        try:
            await self.sources.stat(entry.container, entry.name)
        except JobSuperseded:
            return True
        except (PermanentError, TransientError) as error:
            if not is_about_one_blob(error):
                raise
        return False


def run_tasks(settings: Settings, store: RunStore, metrics: MetricsStore) -> list[RetentionTask]:
    """Return the tasks for metrics, plans and runs."""
    days = settings.run_retention_days
    return [
        RetentionTask("metrics", MetricsRetention(metrics).step),
        RetentionTask("plans", PlanRetention(store, days).step),
        RetentionTask("runs", RunRetention(store, days).step),
    ]


def job_tasks(
    settings: Settings,
    jobs: EndedJobs,
    sources: Sources,
    recipes: Recipes,
    adhoc_recipes: DocumentStore,
    idempotency: DocumentStore,
) -> list[RetentionTask]:
    """Return the tasks for jobs, for the ad-hoc recipes that they need, and for idempotency keys."""
    ttl, age = timedelta(hours=settings.idempotency_ttl_hours), timedelta(days=settings.job_retention_days)
    containers = settings.input_container, settings.upload_container
    return [
        RetentionTask("idempotency keys", DocumentRetention(idempotency, ttl).step),
        RetentionTask("jobs", JobRetention(jobs, sources, recipes, *containers, age).step, JOB_RETENTION_INTERVAL),
        RetentionTask("ad-hoc recipes", AdHocRecipeRetention(adhoc_recipes, age, jobs).step),
    ]


def _oldest_key(days: float) -> str:
    """Return the key behind which all plans and runs are older than `days`: an id begins with its time."""
    moment: datetime = now() - timedelta(days=days)
    return key_of(f"{moment:%Y%m%d-%H%M%S}")
