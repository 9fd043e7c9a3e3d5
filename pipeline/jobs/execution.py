"""One job, start to end: claim, lease, upload, run, download and verify, commit, clean."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from math import inf
from typing import Any, TypedDict, Unpack

from pipeline.concurrency import gather_or_cancel
from pipeline.errors import (
    ConfigError,
    JobSuperseded,
    PermanentError,
    PipelineError,
    PoolFull,
    RecipeError,
    SessionLost,
    SourceError,
    TransientError,
)
from pipeline.jobs.rendering import SchedulingPolicy, StagedRendition, render
from pipeline.jobs.timings import JobTimer
from pipeline.pool.report import SessionReport
from pipeline.pool.session import SLOT_LOST
from pipeline.recipes import Recipe
from pipeline.services import Services
from pipeline.storage.blobs import MARK, Ownership, RenditionBlob, Source, Staged
from pipeline.storage.entry import can_be_kept
from pipeline.storage.keys import JobKey
from pipeline.storage.ledger import Claim, Entry, Version
from pipeline.telemetry import about_job, bytes_moved, logger

log = logger(__name__)
UPLOAD_POLICY = SchedulingPolicy("upload")


class ClaimOptions(TypedDict, total=False):
    """Why a job is to be done: `again` although it has ended (unless a later generation than `seen` has), in a `run`.

    `known` is its row as it was when it was found to be due.
    """

    again: bool
    seen: int | None
    run: str
    known: Entry | None


async def execute_job(
    services: Services,
    container: str,
    name: str,
    recipe: Recipe,
    *,
    urgency: SchedulingPolicy = UPLOAD_POLICY,
    **wish: Unpack[ClaimOptions],
) -> Entry:
    """Do one job, unless it is done already or somebody is on it. The row of the ledger says what came of it.

    A failure is recorded, not raised. TransientError and PoolFull mean: once more, later. JobSuperseded means that
    there is nothing (left) to do here: the source went, or changed and another event brings the new version.
    """
    key = JobKey.of(recipe.name, container, name)
    stages = JobTimer(recipe.family)
    with about_job(key.id), stages.job(key.id):
        with stages.stage("claim"):
            source = await services.sources.open(container, name)
            version = Version(source.etag, recipe.hash)
            current = partial(services.sources.is_current, container, name, source.etag)
            claim = await services.ledger.claim(key, (container, name), version, current, **wish)
        if isinstance(claim, Entry):
            log.info("nothing to do: %s", claim.state)
            stages.state = "skipped"
            return claim
        async with _heartbeat(claim, stages):
            entry = await _render_and_commit(services, source, recipe, claim, stages, urgency)
            stages.state = entry.state
            return entry


async def _render_and_commit(
    services: Services, source: Source, recipe: Recipe, claim: Claim, stages: JobTimer, urgency: SchedulingPolicy
) -> Entry:
    try:
        made, report = await _render_with_retry(services, source, recipe, stages, urgency)
        records = [_record(one) for one in made]
        if not can_be_kept(records):
            raise RecipeError(
                f"the names of {len(records)} renditions are more than the ledger can keep: give the recipe fewer "
                "renditions, or the source a shorter name",
                kind="too_many_renditions",
            )
        with stages.stage("commit"):
            owner = Ownership(claim.entry.key.id, claim.entry.generation)
            await gather_or_cancel(
                *(services.renditions.commit(one.staged, _blob(one, source, recipe), owner) for one in made)
            )
        with stages.stage("ledger"):
            entry = await claim.complete(records, _summary(source, report, stages))
    except (PermanentError, ConfigError) as error:
        entry = await claim.fail(error, stages.current, stages.ms)
        # Said once it is written down: one such line for each failure, however often the job was begun.
        log.warning("failed at %s: %s", stages.current, error)
        return entry
    except (TransientError, PoolFull) as error:
        log.warning("not done yet, at %s: %s", stages.current, error)
        with suppress(PipelineError):
            await claim.requeue(error, stages.current, tried=isinstance(error, TransientError))
        raise
    except JobSuperseded as error:
        with suppress(PipelineError):
            await claim.abandon(error)
        raise
    size = sum(one.facts.size for one in made)
    bytes_moved.add(source.size, {"direction": "in", "recipe": recipe.family})
    bytes_moved.add(size, {"direction": "out", "recipe": recipe.family})
    log.info("done: %d rendition%s, %d bytes", len(made), "" if len(made) == 1 else "s", size)
    return entry


async def _render_with_retry(
    services: Services, source: Source, recipe: Recipe, stages: JobTimer, urgency: SchedulingPolicy
) -> tuple[list[StagedRendition[Staged]], SessionReport]:
    """In a session; when that is lost, once more in a fresh one, and there in an execution of its own.

    Lost twice is a failure: it may well be the source. Not so where it is this process that lost a session, and that
    is alive: then the job comes back later, as after any trouble of storage.
    """
    if MARK in source.metadata:
        raise SourceError(
            f"this blob is itself a rendition (its metadata has {MARK}): it is not transformed again; remove that "
            "metadata if it should be",
            kind="own_rendition",
        )
    if source.size == 0:
        raise SourceError("the source has no bytes: upload the image again", kind="empty_source")
    most = min(services.settings.max_source_bytes, recipe.limits.get("max_source_bytes", inf))
    if source.size > most:
        raise SourceError(
            f"the source has {source.size:,} bytes; at most {most:,} are taken (PIPELINE_MAX_SOURCE_BYTES, or the "
            "recipe's limits)",
            kind="too_many_bytes",
        )
    first: SessionLost | None = None
    for _ in range(2):
        try:
            how = replace(urgency, exclusive=urgency.exclusive or first is not None)
            return await render(services, source, recipe, stages, how, services.renditions.stage)
        except SessionLost as error:
            if first and SLOT_LOST in (first.kind, error.kind):
                raise
            if first:
                told = f"{error.message}; tried in two sessions"
                raise PermanentError(told, kind=error.kind, said=error.said) from error
            first = error
            log.warning("%s; once more in a fresh session", error)
    raise AssertionError("unreachable: the last try returns or raises")


def _blob(made: StagedRendition[Staged], source: Source, recipe: Recipe) -> RenditionBlob:
    """Where the rendition goes; its metadata are what the recipe carries over, what was found out, and whose it is."""
    carried = {name: source.metadata[name] for name in recipe.carry if name in source.metadata}
    about = {"recipe": recipe.name, "recipe_hash": recipe.hash, "sha256": made.facts.sha256}
    content_type = made.rendition.content_type_of(made.facts.as_reported)
    metadata = {**carried, **made.facts.as_reported["extra"], **about}
    return RenditionBlob(made.path, content_type, made.rendition.cache_control, metadata)


def _record(made: StagedRendition[Staged]) -> dict[str, Any]:
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


def _summary(source: Source, report: SessionReport, stages: JobTimer) -> dict[str, Any]:
    about = report.source.model_dump() if report.source else {}
    return {
        "source": {"size": source.size, **about},
        "versions": report.versions,
        "began": round(stages.started, 3),
        "session": stages.session,
        "ms": dict(stages.ms),
        "spans": [list(span) for span in stages.spans],
        "session_ms": report.ms,
    }


@asynccontextmanager
async def _heartbeat(claim: Claim, stages: JobTimer) -> AsyncIterator[None]:
    """Renew the claim as long as the job takes; a job that is superseded meanwhile ends at its next stage."""

    async def renew() -> None:
        try:
            while True:
                await asyncio.sleep(claim.heartbeat_interval)
                with suppress(TransientError):
                    await claim.renew()
        except JobSuperseded as error:
            stages.lost_claim = error

    stages.claim_check = claim.ensure_fresh
    task = asyncio.create_task(renew())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
