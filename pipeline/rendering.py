"""One source through one session: upload, run, download, verify. What comes back is staged, not yet visible."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil
from typing import Generic, Protocol, TypeVar

from pipeline import verify
from pipeline.errors import OutputError, PipelineError, RecipeError, SessionLost, SourceError
from pipeline.recipes import Recipe, Rendition, focal_point
from pipeline.services import Services
from pipeline.sessions.client import tries
from pipeline.sessions.report import FailureFacts, RenditionFacts, SessionReport
from pipeline.sessions.session import REPLACED, Session, Workspace
from pipeline.storage.assets import Asset
from pipeline.telemetry import logger
from pipeline.together import together
from pipeline.transforms.failures import KINDS
from pipeline.transforms.protocol import Job

log = logger(__name__)
# A session may be found replaced by an empty one this often in one job, before that counts as losing it.
REPLACEMENTS = 2
FOCAL = "focal"

T = TypeVar("T")
# Takes in what a rendition's path and bytes are, as they come.
Stage = Callable[[str, AsyncIterator[bytes]], Awaitable[T]]


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


@dataclass
class Stages:
    """Where a job is, and how long each stage took, in milliseconds."""

    current: str = "claim"
    ms: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Within this, the job is at `name`."""
        self.current, started = name, time.perf_counter()
        try:
            yield
        finally:
            self.ms[name] = round(self.ms.get(name, 0) + (time.perf_counter() - started) * 1000, 1)


@dataclass(frozen=True)
class Made(Generic[T]):
    """A verified rendition, staged but not visible yet."""

    rendition: Rendition
    facts: RenditionFacts
    path: str
    staged: T


@dataclass(frozen=True)
class Order:
    """What is to be made of a source, and with what."""

    source: Source
    recipe: Recipe
    assets: dict[str, Asset]
    focal: tuple[float, float] | None


async def render(
    services: Services, source: Source, recipe: Recipe, stages: Stages, stage: Stage[T]
) -> tuple[list[Made[T]], SessionReport]:
    """Every rendition of the recipe, verified and taken in by `stage`, and the session's report.

    PermanentError says what is wrong with the source or the recipe; SessionLost that a fresh session may do better.
    """
    stages.current = "lease"
    order = await _order(services, source, recipe)
    started = time.perf_counter()
    async with services.slots.seat(_label(recipe, source)) as session:
        stages.ms["lease"] = round((time.perf_counter() - started) * 1000, 1)
        try:
            async with asyncio.timeout(services.settings.job_timeout):
                with session.workspace({each.name: each.extension or "bin" for each in recipe.renditions}) as names:
                    report = await _run(services, order, session, names, stages)
                    with stages.stage("download"):
                        return await _download(services, order, session, names, report, stage), report
        except TimeoutError:
            raise SessionLost(
                f"the job was not through within {services.settings.job_timeout:g} s (PIPELINE_JOB_TIMEOUT)",
                kind="job_timeout",
            ) from None


def _label(recipe: Recipe, source: Source) -> str | None:
    """Who may share the session: everybody, the sources of one top folder, or (None) nobody."""
    if recipe.isolation == "single" or recipe.needs_code:
        return None
    return "shared" if recipe.isolation == "shared" else f"tenant:{source.container}/{source.name.split('/')[0]}"


async def _order(services: Services, source: Source, recipe: Recipe) -> Order:
    assets = {name: await services.assets.get(name) for name in recipe.assets}
    focal = focal_point(source.metadata.get(FOCAL)) if recipe.wants_focal else None
    if recipe.wants_focal and focal is None:
        focal = focal_point((await source.tags()).get(FOCAL))
    return Order(source, recipe, assets, focal)


async def _run(services: Services, order: Order, session: Session, names: Workspace, stages: Stages) -> SessionReport:
    """Upload and run; both again when the session turns out to be a fresh, empty one."""
    source, job = order.source, _job(services, order, names)
    most = services.settings.run_timeout
    # The service takes whole seconds, and at least one.
    seconds = min(ceil(order.recipe.limits.get("max_seconds", most)), most)
    for replaced in range(REPLACEMENTS + 1):
        try:
            with stages.stage("upload"):
                for asset in order.assets.values():
                    await session.bring(asset.file, asset.data)
                await session.upload(names.source, source.size, source.chunks)
            with stages.stage("run"):
                report = await session.run(job, seconds)
            if report.failure:
                raise failure(report.failure)
        except SessionLost as error:
            if error.kind != REPLACED or replaced == REPLACEMENTS:
                raise
            log.info("the session was empty; uploading again")
        else:
            return report
    raise AssertionError("unreachable: the last try returns or raises")


def _job(services: Services, order: Order, names: Workspace) -> Job:
    settings = services.settings
    return order.recipe.job(
        source=names.source,
        report=names.report,
        files=names.renditions,
        limits=settings.limits,
        formats=settings.allowed_formats,
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
    return kinds[about](found.message, kind=found.kind)


async def _download(
    services: Services, order: Order, session: Session, names: Workspace, report: SessionReport, stage: Stage[T]
) -> list[Made[T]]:
    """Fetch and verify every declared rendition; only those count."""
    formats = {each.name: each.formats for each in order.recipe.renditions}
    facts = verify.declared(report, names.renditions, formats, services.settings)
    jobs = [_fetch(services, order, session, each, facts[each.name], stage) for each in order.recipe.renditions]
    return await together(*jobs)


async def _fetch(
    services: Services, order: Order, session: Session, rendition: Rendition, facts: RenditionFacts, stage: Stage[T]
) -> Made[T]:
    try:
        path = order.recipe.output_path(rendition, order.source.name, facts.as_reported)
    except ValueError as error:
        raise OutputError(f"no path for rendition {rendition.name}: {error}", kind="bad_path") from error
    async for attempt in tries(services.settings):
        with attempt:
            async with session.get(facts.file) as chunks:
                staged = await stage(path, verify.checked(chunks, facts))
    return Made(rendition, facts, path, staged)
