"""One job, start to end: claim, lease, upload, run, download and verify, commit, clean."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from math import inf
from typing import Any, TypedDict, Unpack

from pipeline.concurrency import together
from pipeline.errors import (
    ConfigError,
    JobOvertaken,
    PermanentError,
    PipelineError,
    PoolFull,
    RecipeError,
    SessionLost,
    SourceError,
    TransientError,
)
from pipeline.jobs.rendering import Made, Urgency, render
from pipeline.jobs.timings import Stages
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
DROPPED = Urgency("drop")


class Wish(TypedDict, total=False):
    """Why a job is to be done: `again` although it has ended (unless a later generation than `seen` has), in a `run`.

    `known` is its row as it was when it was found to be due.
    """

    again: bool
    seen: int | None
    run: str
    known: Entry | None


async def process(
    services: Services,
    container: str,
    name: str,
    recipe: Recipe,
    *,
    urgency: Urgency = DROPPED,
    **wish: Unpack[Wish],
) -> Entry:
    """Do one job, unless it is done already or somebody is on it. The row of the ledger says what came of it.

    A failure is recorded, not raised. TransientError and PoolFull mean: once more, later. JobOvertaken means that
    there is nothing (left) to do here: the source went, or changed and another event brings the new version.
    """
    key = JobKey.of(recipe.name, container, name)
    stages = Stages(recipe.family)
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
        async with _kept(claim, stages):
            entry = await _carry_out(services, source, recipe, claim, stages, urgency)
            stages.state = entry.state
            return entry


async def _carry_out(
    services: Services, source: Source, recipe: Recipe, claim: Claim, stages: Stages, urgency: Urgency
) -> Entry:
    try:
        made, report = await _twice(services, source, recipe, stages, urgency)
        records = [_record(one) for one in made]
        if not can_be_kept(records):
            raise RecipeError(
                f"the names of {len(records)} renditions are more than the ledger can keep: give the recipe fewer "
                "renditions, or the source a shorter name",
                kind="too_many_renditions",
            )
        with stages.stage("commit"):
            owner = Ownership(claim.entry.key.id, claim.entry.generation)
            await together(*(services.renditions.commit(one.staged, _blob(one, source, recipe), owner) for one in made))
        with stages.stage("ledger"):
            entry = await claim.done(records, _summary(source, report, stages))
    except (PermanentError, ConfigError) as error:
        entry = await claim.failed(error, stages.current, stages.ms)
        # Said once it is written down: one such line for each failure, however often the job was begun.
        log.warning("failed at %s: %s", stages.current, error)
        return entry
    except (TransientError, PoolFull) as error:
        log.warning("not done yet, at %s: %s", stages.current, error)
        with suppress(PipelineError):
            await claim.give_back(error, stages.current, tried=isinstance(error, TransientError))
        raise
    except JobOvertaken as error:
        with suppress(PipelineError):
            await claim.let_go(error)
        raise
    size = sum(one.facts.size for one in made)
    bytes_moved.add(source.size, {"direction": "in", "recipe": recipe.family})
    bytes_moved.add(size, {"direction": "out", "recipe": recipe.family})
    log.info("done: %d rendition%s, %d bytes", len(made), "" if len(made) == 1 else "s", size)
    return entry


async def _twice(
    services: Services, source: Source, recipe: Recipe, stages: Stages, urgency: Urgency
) -> tuple[list[Made[Staged]], SessionReport]:
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
            how = replace(urgency, alone=urgency.alone or first is not None)
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


def _blob(made: Made[Staged], source: Source, recipe: Recipe) -> RenditionBlob:
    """Where the rendition goes; its metadata are what the recipe carries over, what was found out, and whose it is."""
    carried = {name: source.metadata[name] for name in recipe.carry if name in source.metadata}
    about = {"recipe": recipe.name, "recipe_hash": recipe.hash, "sha256": made.facts.sha256}
    content_type = made.rendition.content_type_of(made.facts.as_reported)
    metadata = {**carried, **made.facts.as_reported["extra"], **about}
    return RenditionBlob(made.path, content_type, made.rendition.cache_control, metadata)


def _record(made: Made[Staged]) -> dict[str, Any]:
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
        "began": round(stages.began, 3),
        "session": stages.session,
        "ms": dict(stages.ms),
        "marks": [list(mark) for mark in stages.marks],
        "session_ms": report.ms,
    }


@asynccontextmanager
async def _kept(claim: Claim, stages: Stages) -> AsyncIterator[None]:
    """Renew the claim as long as the job takes; a job that is overtaken meanwhile ends at its next stage."""

    async def renew() -> None:
        try:
            while True:
                await asyncio.sleep(claim.renew_every)
                with suppress(TransientError):
                    await claim.renew()
        except JobOvertaken as error:
            stages.lost = error

    stages.look = claim.make_sure
    task = asyncio.create_task(renew())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
