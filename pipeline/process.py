"""One job, start to end: claim, lease, upload, run, download and verify, commit, clean."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, cast

from pipeline import verify
from pipeline.errors import (
    ConfigError,
    JobOvertaken,
    OutputError,
    PermanentError,
    PipelineError,
    PoolFull,
    RecipeError,
    SessionLost,
    SourceError,
    TransientError,
)
from pipeline.recipes import Recipe, Rendition
from pipeline.services import Services
from pipeline.sessions.report import FailureFacts, RenditionFacts, SessionReport
from pipeline.sessions.session import REPLACED, Session, Workspace
from pipeline.storage.blobs import Ownership, RenditionBlob, Source, Staged
from pipeline.storage.keys import JobKey
from pipeline.storage.ledger import Claim, Entry, Version
from pipeline.telemetry import about_job, logger
from pipeline.together import together
from pipeline.transforms.failures import KINDS
from pipeline.transforms.protocol import Limits, RenditionReport

log = logger(__name__)
# A session may be found replaced by an empty one this often in one job, before that counts as losing it.
REPLACEMENTS = 2


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
class Made:
    """A verified rendition, staged but not visible yet."""

    rendition: Rendition
    facts: RenditionFacts
    path: str
    staged: Staged


async def process(services: Services, container: str, name: str, recipe: Recipe, *, again: bool = False) -> Entry:
    """Do one job, unless it is done already or somebody is on it. The row of the ledger says what came of it.

    A failure is recorded, not raised. TransientError and PoolFull mean: once more, later. JobOvertaken means that
    there is nothing (left) to do here: the source went, or changed and another event brings the new version.
    """
    key = JobKey.of(recipe.name, container, name)
    with about_job(key.id):
        source = await services.sources.open(container, name)
        version = Version(source.etag, recipe.hash)
        claim = await services.ledger.claim(key, (container, name), version, source.is_current, again=again)
        if isinstance(claim, Entry):
            log.info("nothing to do: %s", claim.state)
            return claim
        async with _kept(claim):
            return await _carry_out(services, source, recipe, claim)


async def _carry_out(services: Services, source: Source, recipe: Recipe, claim: Claim) -> Entry:
    stages = Stages()
    try:
        made, report = await _twice(services, source, recipe, claim.entry.key, stages)
        with stages.stage("commit"):
            owner = Ownership(claim.entry.key.id, claim.entry.generation)
            await together(*(services.renditions.commit(one.staged, _blob(one, recipe), owner) for one in made))
        entry = await claim.done([_record(one) for one in made], _summary(source, report, stages))
    except (PermanentError, ConfigError) as error:
        log.warning("failed at %s: %s", stages.current, error)
        return await claim.failed(error.kind, error.message, stages.current)
    except (TransientError, PoolFull) as error:
        log.warning("not done yet, at %s: %s", stages.current, error)
        with suppress(PipelineError):
            await claim.give_back(error.kind, error.message, stages.current, tried=isinstance(error, TransientError))
        raise
    except JobOvertaken as error:
        with suppress(PipelineError):
            await claim.let_go(error.message)
        raise
    log.info("done: %d renditions, %d bytes", len(made), sum(one.facts.size for one in made))
    return entry


async def _twice(
    services: Services, source: Source, recipe: Recipe, key: JobKey, stages: Stages
) -> tuple[list[Made], SessionReport]:
    """In a session; when that is lost, once more in a fresh one. Lost twice is a failure: it may well be the source."""
    if source.size == 0:
        raise SourceError("the source has no bytes: upload the image again", kind="empty_source")
    if source.size > services.settings.max_source_bytes:
        raise SourceError(
            f"the source has {source.size:,} bytes; at most {services.settings.max_source_bytes:,} are taken "
            "(PIPELINE_MAX_SOURCE_BYTES)",
            kind="too_many_bytes",
        )
    for last in (False, True):
        try:
            return await _in_session(services, source, recipe, stages)
        except SessionLost as error:
            if last:
                raise PermanentError(f"{error.message}; tried in two sessions", kind=error.kind) from error
            log.warning("%s; once more in a fresh session", error)
    raise AssertionError("unreachable: the last try returns or raises")


async def _in_session(
    services: Services, source: Source, recipe: Recipe, stages: Stages
) -> tuple[list[Made], SessionReport]:
    extensions = {rendition.name: rendition.extension for rendition in recipe.renditions}
    stages.current = "lease"
    started = time.perf_counter()
    async with services.slots.seat() as session:
        stages.ms["lease"] = round((time.perf_counter() - started) * 1000, 1)
        try:
            async with asyncio.timeout(services.settings.job_timeout):
                with session.workspace(extensions) as names:
                    report = await _run(services, source, recipe, session, names, stages)
                    with stages.stage("download"):
                        return await _download(services, source, recipe, session, names, report), report
        except TimeoutError:
            raise SessionLost(
                f"the job was not through within {services.settings.job_timeout:g} s (PIPELINE_JOB_TIMEOUT)",
                kind="job_timeout",
            ) from None


async def _run(
    services: Services, source: Source, recipe: Recipe, session: Session, names: Workspace, stages: Stages
) -> SessionReport:
    """Upload and run; both again when the session turns out to be a fresh, empty one."""
    settings = services.settings
    job = recipe.job(
        source=names.source,
        report=names.report,
        remove=[],
        files=names.renditions,
        limits=Limits(
            max_pixels=settings.max_pixels,
            max_frames=settings.max_frames,
            max_rendition_bytes=settings.max_rendition_bytes,
            max_rendition_pixels=settings.max_rendition_pixels,
        ),
        formats=settings.allowed_formats,
    )
    for replaced in range(REPLACEMENTS + 1):
        try:
            with stages.stage("upload"):
                await session.upload(names.source, source.size, source.chunks)
            with stages.stage("run"):
                report = await session.run(job)
            if report.failure:
                raise _failure(report.failure)
        except SessionLost as error:
            if error.kind != REPLACED or replaced == REPLACEMENTS:
                raise
            log.info("the session was empty; uploading again")
        else:
            return report
    raise AssertionError("unreachable: the last try returns or raises")


def _failure(failure: FailureFacts) -> PipelineError:
    about = KINDS[failure.kind].about if failure.kind in KINDS else "session"
    if failure.kind == "source_missing":
        return SessionLost(failure.message, kind=REPLACED)
    kinds: dict[str, type[SourceError | RecipeError | SessionLost]]
    kinds = {"source": SourceError, "recipe": RecipeError, "session": SessionLost}
    return kinds[about](failure.message, kind=failure.kind)


async def _download(
    services: Services, source: Source, recipe: Recipe, session: Session, names: Workspace, report: SessionReport
) -> list[Made]:
    """Fetch and verify every declared rendition; only those count."""
    facts = verify.declared(report, names.renditions, services.settings)
    jobs = [
        _fetch(services, session, rendition, facts[rendition.name], _path(recipe, rendition, source, facts))
        for rendition in recipe.renditions
    ]
    return await together(*jobs)


def _path(recipe: Recipe, rendition: Rendition, source: Source, facts: dict[str, RenditionFacts]) -> str:
    try:
        return recipe.output_path(rendition, source.name, cast("RenditionReport", facts[rendition.name].model_dump()))
    except ValueError as error:
        raise OutputError(f"no path for rendition {rendition.name}: {error}", kind="bad_path") from error


async def _fetch(services: Services, session: Session, rendition: Rendition, facts: RenditionFacts, path: str) -> Made:
    async with session.get(facts.file) as chunks:
        staged = await services.renditions.stage(path, verify.checked(chunks, facts))
    return Made(rendition, facts, path, staged)


def _blob(made: Made, recipe: Recipe) -> RenditionBlob:
    about = {"recipe": recipe.name, "recipe_hash": recipe.hash, "sha256": made.facts.sha256}
    return RenditionBlob(made.path, made.rendition.content_type, made.rendition.cache_control, about)


def _record(made: Made) -> dict[str, Any]:
    facts = made.facts
    return {
        "name": facts.name,
        "path": made.path,
        "format": facts.format,
        "size": facts.size,
        "sha256": facts.sha256,
        "width": facts.width,
        "height": facts.height,
    }


def _summary(source: Source, report: SessionReport, stages: Stages) -> dict[str, Any]:
    about = report.source.model_dump() if report.source else {}
    return {
        "source": {"size": source.size, **about},
        "versions": report.versions,
        "ms": stages.ms,
        "session_ms": report.ms,
    }


@asynccontextmanager
async def _kept(claim: Claim) -> AsyncIterator[None]:
    """Renew the claim as long as the job takes; a job that is overtaken meanwhile ends at its next write."""

    async def renew() -> None:
        with suppress(JobOvertaken):
            while True:
                await asyncio.sleep(claim.renew_every)
                with suppress(TransientError):
                    await claim.renew()

    task = asyncio.create_task(renew())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
