"""Render one source in one session: upload, execute, download, verify.

The renditions are staged and not yet visible; `JobExecutor` commits them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from math import ceil, inf
from typing import Generic, Protocol, TypeVar

from pipeline.concurrency import gather_or_cancel
from pipeline.engine.errors import KINDS
from pipeline.engine.protocol import Job
from pipeline.errors import OutputError, PipelineError, RecipeError, SessionLost, SourceError
from pipeline.jobs.admission import Admission
from pipeline.jobs.isolation import TENANT_JOBS_AT_ONCE, session_label
from pipeline.jobs.source_metadata import focal_point_of, needs_tags
from pipeline.jobs.timings import JobTimer
from pipeline.jobs.verification import check_bytes, check_report
from pipeline.pool.batching import Estimate, ExecutionResult, WorkItem
from pipeline.pool.client import retry_attempts, single_chunk
from pipeline.pool.report import FailureFacts, RenditionFacts, SessionReport
from pipeline.pool.requests import PRIORITIES, JobLabel, Priority
from pipeline.pool.scheduler import SlotScheduler
from pipeline.pool.session import BUSY, REPLACED, Session, Workspace
from pipeline.recipes import Recipe, Rendition
from pipeline.settings import Settings
from pipeline.storage import Asset, Assets
from pipeline.telemetry import logger

log = logger(__name__)
# A job tolerates this many replacements of its session by an empty one; a further one counts as a lost session.
MAX_SESSION_REPLACEMENTS = 2


T = TypeVar("T")
# Receives the path of a rendition and its verified bytes, and returns the staged rendition.
RenditionSink = Callable[[str, AsyncIterator[bytes]], Awaitable[T]]


class Source(Protocol):
    """An image to render: a blob, or bytes in memory for a preview."""

    @property
    def container(self) -> str:
        """The container; with `name` and `metadata` it determines the tenant."""

    @property
    def name(self) -> str:
        """The name within the container."""

    @property
    def size(self) -> int:
        """The length in bytes."""

    @property
    def metadata(self) -> dict[str, str]:
        """The metadata of the blob."""

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes from the start, on every call."""

    async def tags(self) -> dict[str, str]:
        """Return the index tags of the blob; empty without a blob."""


@dataclass(frozen=True)
class StagedRendition(Generic[T]):
    """A verified rendition, staged but not visible yet."""

    rendition: Rendition
    facts: RenditionFacts
    path: str
    staged: T

    @property
    def content_type(self) -> str:
        """Media type of the format that the engine has written."""
        return self.rendition.content_type_of(self.facts.as_reported)


@dataclass(frozen=True)
class SchedulingPolicy:
    """Priority of a job among the waiting jobs.

    Within a priority, slots are shared evenly among fairness keys. An `exclusive` job never shares an execution.
    """

    priority: Priority = "upload"
    fairness_key: str = ""
    exclusive: bool = False


@dataclass(frozen=True)
class RenderRequest:
    """Inputs of one render."""

    source: Source
    recipe: Recipe
    assets: dict[str, Asset]
    focal: tuple[float, float] | None
    policy: SchedulingPolicy


@dataclass(frozen=True)
class Renderer:
    """Render sources in sessions of the pool."""

    settings: Settings
    scheduler: SlotScheduler
    assets: Assets
    admission: Admission

    async def render(
        self, source: Source, recipe: Recipe, timer: JobTimer, policy: SchedulingPolicy, sink: RenditionSink[T]
    ) -> tuple[list[StagedRendition[T]], SessionReport]:
        """Produce every rendition of the recipe, verify it and pass it to `sink`.

        Returns:
            The staged renditions in the recipe's order, and the report of the session.

        Raises:
            PermanentError: The source or the recipe is at fault.
            SessionLost: The session failed; a fresh session may succeed.
            PoolFull: No session became free in time.
        """
        timer.current = "acquire"
        request = await self._request(source, recipe, policy)
        while True:
            try:
                return await self._attempt(request, timer, sink)
            except SessionLost as error:
                if error.kind != BUSY:
                    raise
                log.info("%s; trying another session", error, extra={"event": "job.rescheduled"})

    async def _request(self, source: Source, recipe: Recipe, policy: SchedulingPolicy) -> RenderRequest:
        """Load the assets, and the focal point from the blob's metadata or, failing that, from its index tags."""
        assets = {name: await self.assets.get(name) for name in recipe.assets}
        tags = await source.tags() if needs_tags(recipe, source.metadata) else {}
        focal = focal_point_of(source.metadata, tags) if recipe.needs_focal_point else None
        return RenderRequest(source, recipe, assets, focal, policy)

    async def _attempt(
        self, request: RenderRequest, timer: JobTimer, sink: RenditionSink[T]
    ) -> tuple[list[StagedRendition[T]], SessionReport]:
        """Render once, in the next available session."""
        source, recipe, policy = request.source, request.recipe, request.policy
        timer.current, started = "acquire", time.perf_counter()
        async with self.scheduler.acquire_slot(
            self._session_label(recipe, source),
            priority=policy.priority,
            fairness_key=policy.fairness_key or recipe.family,
            size=source.size,
            estimate=self._estimate(recipe, source),
            job_label=JobLabel(recipe.name, source.container, source.name),
            packed=TENANT_JOBS_AT_ONCE if policy.priority == "run" and recipe.isolation == "tenant" else 1,
        ) as session:
            timer.session = session.name
            timer.add_span("acquire", started, time.perf_counter())
            try:
                async with asyncio.timeout(self.settings.job_timeout):
                    with session.workspace({each.name: each.extension or "bin" for each in recipe.renditions}) as names:
                        result = await self._upload_and_execute(request, session, names, timer)
                        with timer.stage("download"):
                            return await self._download(request, session, names, result, sink), result.report
            except TimeoutError:
                raise SessionLost(
                    f"the job exceeded {self.settings.job_timeout:g} s in its session (PIPELINE_JOB_TIMEOUT)",
                    kind="job_timeout",
                ) from None

    async def _upload_and_execute(
        self, request: RenderRequest, session: Session, names: Workspace, timer: JobTimer
    ) -> ExecutionResult:
        """Upload and execute; repeat both if the session turns out to be a new, empty one."""
        source, work = request.source, self._work_item(request, names)
        for replacements in range(MAX_SESSION_REPLACEMENTS + 1):
            try:
                with timer.stage("upload"):
                    for asset in request.assets.values():
                        await session.upload_asset(asset.file, asset.data)
                    await session.upload(names.source, source.size, source.chunks)
                result = await self._execute(request, session, work, timer)
                if result.report.failure:
                    raise error_from_report(result.report.failure)
            except SessionLost as error:
                if error.kind != REPLACED or replacements == MAX_SESSION_REPLACEMENTS:
                    raise
                log.info("the session was empty; uploading again", extra={"event": "job.reuploaded"})
            else:
                return result
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _execute(
        self, request: RenderRequest, session: Session, work: WorkItem, timer: JobTimer
    ) -> ExecutionResult:
        """Wait for the session and execute, unless another worker has taken the job over meanwhile."""
        timer.current = "execute"
        await timer.ensure_claimed()
        queued = time.perf_counter()
        result = await session.execute(work)
        self.admission.record_success("pool", "identity")
        timer.add_span("wait", queued, result.started)
        timer.add_span("execute", result.started, result.ended)
        if result.pack:
            timer.add_span("download", result.ended, time.perf_counter())
        timer.ms["execution_share"] = round((result.ended - result.started) * 1000 / result.jobs, 1)
        # An ad-hoc recipe is rarely used twice: its time predicts no other job.
        if result.report.failure is None and request.recipe.family == request.recipe.name:
            # The session's own figure, bounded by the time observed here.
            seconds = min(result.report.ms.get("total", inf) / 1000, result.ended - result.started)
            self.scheduler.durations.record(request.recipe.name, request.source.size, max(seconds, 0))
        return result

    def _estimate(self, recipe: Recipe, source: Source) -> Estimate:
        return partial(self.scheduler.durations.estimate, recipe.name, source.size)

    def _session_label(self, recipe: Recipe, source: Source) -> str | None:
        return session_label(recipe, source.container, source.name, source.metadata, self.settings.input_container)

    def _work_item(self, request: RenderRequest, names: Workspace) -> WorkItem:
        """Describe the job for the session's batcher. A job with its own time limit is never part of a microbatch."""
        recipe, timeout = request.recipe, self.settings.execution_timeout
        # The service takes whole seconds, at least one.
        seconds = min(ceil(recipe.limits.get("max_seconds", timeout)), timeout)
        limited = "max_seconds" in recipe.limits
        exclusive = request.policy.exclusive or limited or self._session_label(recipe, request.source) is None
        return WorkItem(
            self._job(request, names),
            seconds,
            estimate=self._estimate(recipe, request.source),
            size=request.source.size,
            rank=PRIORITIES.index(request.policy.priority),
            exclusive=exclusive,
        )

    def _job(self, request: RenderRequest, names: Workspace) -> Job:
        return request.recipe.job(
            source=names.source,
            report=names.report,
            files=names.renditions,
            limits=self.settings.limits,
            formats=self.settings.format_names,
            assets={name: asset.file for name, asset in request.assets.items()},
            focal=request.focal,
        )

    async def _download(
        self,
        request: RenderRequest,
        session: Session,
        names: Workspace,
        result: ExecutionResult,
        sink: RenditionSink[T],
    ) -> list[StagedRendition[T]]:
        """Download and verify every declared rendition; other files of the session are ignored."""
        formats = {each.name: each.formats for each in request.recipe.renditions}
        reported = check_report(result.report, names.renditions, formats, self.settings)

        async def download(rendition: Rendition) -> StagedRendition[T]:
            facts = reported[rendition.name]
            path = _path(request, rendition, facts)
            packed = result.packed(facts)
            if packed is not None:
                staged = await sink(path, check_bytes(single_chunk(packed), facts))
                return StagedRendition(rendition, facts, path, staged)
            async for attempt in retry_attempts(self.settings):
                with attempt:
                    async with session.download(facts.file) as chunks:
                        staged = await sink(path, check_bytes(chunks, facts))
            return StagedRendition(rendition, facts, path, staged)

        return await gather_or_cancel(*map(download, request.recipe.renditions))


def error_from_report(failure: FailureFacts) -> PipelineError:
    """Return the pipeline's error for a failure that a session reported."""
    if failure.kind == "source_missing":
        return SessionLost(failure.message, kind=REPLACED)
    about = KINDS[failure.kind].about if failure.kind in KINDS else "session"
    kinds: dict[str, type[SourceError | RecipeError | SessionLost]]
    kinds = {"source": SourceError, "recipe": RecipeError, "session": SessionLost}
    error = kinds[about](failure.message, kind=failure.kind)
    error.source_format = failure.source_format
    return error


def _path(request: RenderRequest, rendition: Rendition, facts: RenditionFacts) -> str:
    try:
        return request.recipe.output_path(rendition, request.source.name, facts.as_reported)
    except ValueError as error:
        raise OutputError(f"rendition {rendition.name} has no valid output path: {error}", kind="bad_path") from error
