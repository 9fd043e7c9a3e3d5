"""One source through one session: upload, run, download, verify. What comes back is staged, not yet visible."""

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
from pipeline.jobs import verification
from pipeline.jobs.timings import JobTimer
from pipeline.pool.batching import Estimate, ExecutionResult, WorkItem
from pipeline.pool.client import retry_attempts
from pipeline.pool.report import FailureFacts, RenditionFacts, SessionReport
from pipeline.pool.requests import PRIORITIES, JobLabel, Priority
from pipeline.pool.session import BUSY, REPLACED, Session, Workspace
from pipeline.pool.slot import TRUSTED
from pipeline.recipes import Recipe, Rendition, focal_point
from pipeline.services import Services
from pipeline.storage.assets import Asset
from pipeline.telemetry import logger

log = logger(__name__)
# A session may be found replaced by an empty one this often in one job, before that counts as losing it.
REPLACEMENTS = 2
FOCAL_POINT_KEY = "focal"


T = TypeVar("T")
# Takes in what a rendition's path and bytes are, as they come.
RenditionSink = Callable[[str, AsyncIterator[bytes]], Awaitable[T]]


class Source(Protocol):
    """What renditions are made of."""

    @property
    def container(self) -> str:
        """Where it is from; with `name` it says which tenant it belongs to."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def size(self) -> int:
        """Its length in bytes."""

    @property
    def metadata(self) -> dict[str, str]:
        """What its owner wrote on it."""

    def chunks(self) -> AsyncIterator[bytes]:
        """The bytes, anew each time they are asked for."""

    async def tags(self) -> dict[str, str]:
        """The blob's index tags, where it is one."""


@dataclass(frozen=True)
class StagedRendition(Generic[T]):
    """A verified rendition, staged but not visible yet."""

    rendition: Rendition
    facts: RenditionFacts
    path: str
    staged: T


@dataclass(frozen=True)
class RenderRequest:
    """What is to be made of a source, and with what."""

    source: Source
    recipe: Recipe
    assets: dict[str, Asset]
    focal: tuple[float, float] | None
    urgency: SchedulingPolicy


@dataclass(frozen=True)
class SchedulingPolicy:
    """Who goes first, and among whom seats are shared out evenly; `alone` keeps a job out of others' executions."""

    priority: Priority = "upload"
    fairness_key: str = ""
    exclusive: bool = False


async def render(
    services: Services,
    source: Source,
    recipe: Recipe,
    stages: JobTimer,
    urgency: SchedulingPolicy,
    stage: RenditionSink[T],
) -> tuple[list[StagedRendition[T]], SessionReport]:
    """Every rendition of the recipe, verified and taken in by `stage`, and the session's report.

    PermanentError says what is wrong with the source or the recipe; SessionLost that a fresh session may do better.
    """
    stages.current = "acquire"
    order = await _order(services, source, recipe, urgency)
    while True:
        try:
            return await _seated(services, order, stages, stage)
        except SessionLost as error:
            if error.kind != BUSY:
                raise
            log.info("%s; in another one", error)


async def _seated(
    services: Services, order: RenderRequest, stages: JobTimer, stage: RenditionSink[T]
) -> tuple[list[StagedRendition[T]], SessionReport]:
    """The same, in the next session that has a seat."""
    source, recipe, urgency = order.source, order.recipe, order.urgency
    stages.current, started = "acquire", time.perf_counter()
    async with services.scheduler.acquire_slot(
        _label(services, recipe, source),
        priority=urgency.priority,
        group=urgency.fairness_key or recipe.family,
        size=source.size,
        estimate=_estimate(services, recipe, source),
        doing=JobLabel(recipe.name, source.container, source.name),
    ) as session:
        stages.session = session.name
        stages.add_span("acquire", started, time.perf_counter())
        try:
            async with asyncio.timeout(services.settings.job_timeout):
                with session.workspace({each.name: each.extension or "bin" for each in recipe.renditions}) as names:
                    ran = await _run(services, order, session, names, stages)
                    with stages.stage("download"):
                        return await _download(services, order, session, names, ran, stage), ran.report
        except TimeoutError:
            raise SessionLost(
                f"the job was not through within {services.settings.job_timeout:g} s (PIPELINE_JOB_TIMEOUT)",
                kind="job_timeout",
            ) from None


def _estimate(services: Services, recipe: Recipe, source: Source) -> Estimate:
    return partial(services.scheduler.durations.estimate, recipe.name, source.size)


def _label(services: Services, recipe: Recipe, source: Source) -> str | None:
    """Who may share the session: everybody, dropped sources of trusted recipes, those of one top folder, or nobody."""
    if recipe.isolation == "single" or recipe.needs_code:
        return None
    if recipe.isolation == "tenant":
        return f"tenant:{source.container}/{source.name.split('/')[0]}"
    dropped = source.container == services.settings.input_container
    return TRUSTED if recipe.isolation == "trusted" and dropped else "shared"


async def _order(services: Services, source: Source, recipe: Recipe, urgency: SchedulingPolicy) -> RenderRequest:
    assets = {name: await services.assets.get(name) for name in recipe.assets}
    focal = focal_point(source.metadata.get(FOCAL_POINT_KEY)) if recipe.wants_focal else None
    if recipe.wants_focal and focal is None:
        focal = focal_point((await source.tags()).get(FOCAL_POINT_KEY))
    return RenderRequest(source, recipe, assets, focal, urgency)


async def _run(
    services: Services, order: RenderRequest, session: Session, names: Workspace, stages: JobTimer
) -> ExecutionResult:
    """Upload and run; both again when the session turns out to be a fresh, empty one."""
    source, work = order.source, _work(services, order, names)
    for replaced in range(REPLACEMENTS + 1):
        try:
            with stages.stage("upload"):
                for asset in order.assets.values():
                    await session.upload_asset(asset.file, asset.data)
                await session.upload(names.source, source.size, source.chunks)
            ran = await _turn(services, order, session, work, stages)
            if ran.report.failure:
                raise failure(ran.report.failure)
        except SessionLost as error:
            if error.kind != REPLACED or replaced == REPLACEMENTS:
                raise
            log.info("the session was empty; uploading again")
        else:
            return ran
    raise AssertionError("unreachable: the last try returns or raises")


async def _turn(
    services: Services, order: RenderRequest, session: Session, work: WorkItem, stages: JobTimer
) -> ExecutionResult:
    """Wait for the session to be free, and run, unless another has taken the job over meanwhile."""
    stages.current = "execute"
    await stages.ensure_claimed()
    waited = time.perf_counter()
    ran = await session.execute(work)
    stages.add_span("wait", waited, ran.began)
    stages.add_span("execute", ran.began, ran.ended)
    if ran.pack:
        stages.add_span("download", ran.ended, time.perf_counter())
    stages.ms["execution_share"] = round((ran.ended - ran.began) * 1000 / ran.jobs, 1)
    # Of a recipe that came with a request, the time is no guide to that of any other.
    if ran.report.failure is None and order.recipe.family == order.recipe.name:
        # The session's word, but never more than what was seen.
        seconds = min(ran.report.ms.get("total", inf) / 1000, ran.ended - ran.began)
        services.scheduler.durations.record(order.recipe.name, order.source.size, max(seconds, 0))
    return ran


def _work(services: Services, order: RenderRequest, names: Workspace) -> WorkItem:
    """The job as the session's line takes it. One with a limit of its own on time is not measured with others."""
    recipe, most = order.recipe, services.settings.execution_timeout
    # The service takes whole seconds, and at least one.
    seconds = min(ceil(recipe.limits.get("max_seconds", most)), most)
    alone = order.urgency.exclusive or "max_seconds" in recipe.limits or _label(services, recipe, order.source) is None
    return WorkItem(
        _job(services, order, names),
        seconds,
        estimate=_estimate(services, recipe, order.source),
        size=order.source.size,
        rank=PRIORITIES.index(order.urgency.priority),
        alone=alone,
    )


def _job(services: Services, order: RenderRequest, names: Workspace) -> Job:
    settings = services.settings
    return order.recipe.job(
        source=names.source,
        report=names.report,
        files=names.renditions,
        limits=settings.limits,
        formats=settings.format_names,
        assets={name: asset.file for name, asset in order.assets.items()},
        focal=order.focal,
    )


def failure(found: FailureFacts) -> PipelineError:
    """The session's word for what went wrong, as one of the pipeline's errors."""
    if found.kind == "source_missing":
        return SessionLost(found.message, kind=REPLACED)
    about = KINDS[found.kind].about if found.kind in KINDS else "session"
    kinds: dict[str, type[SourceError | RecipeError | SessionLost]]
    kinds = {"source": SourceError, "recipe": RecipeError, "session": SessionLost}
    error = kinds[about](found.message, kind=found.kind)
    error.source_format = found.source_format
    return error


async def _download(
    services: Services,
    order: RenderRequest,
    session: Session,
    names: Workspace,
    ran: ExecutionResult,
    stage: RenditionSink[T],
) -> list[StagedRendition[T]]:
    """Fetch and verify every declared rendition; only those count."""
    formats = {each.name: each.formats for each in order.recipe.renditions}
    facts = verification.declared(ran.report, names.renditions, formats, services.settings)

    async def fetched(rendition: Rendition) -> StagedRendition[T]:
        about = facts[rendition.name]
        path = _path(order, rendition, about)
        packed = ran.packed(about)
        if packed is not None:
            return StagedRendition(
                rendition, about, path, await stage(path, verification.checked(_whole(packed), about))
            )
        async for attempt in retry_attempts(services.settings):
            with attempt:
                async with session.download(about.file) as chunks:
                    staged = await stage(path, verification.checked(chunks, about))
        return StagedRendition(rendition, about, path, staged)

    return await gather_or_cancel(*map(fetched, order.recipe.renditions))


def _path(order: RenderRequest, rendition: Rendition, facts: RenditionFacts) -> str:
    try:
        return order.recipe.output_path(rendition, order.source.name, facts.as_reported)
    except ValueError as error:
        raise OutputError(f"no path for rendition {rendition.name}: {error}", kind="bad_path") from error


async def _whole(data: bytes) -> AsyncIterator[bytes]:
    yield data
