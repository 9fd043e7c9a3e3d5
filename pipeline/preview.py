"""What a recipe makes of one picture, shown and not kept: in a session as a job is, but without ledger and blobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from pipeline import verify
from pipeline.errors import SessionLost
from pipeline.recipes import Recipe, Rendition
from pipeline.rendering import failure
from pipeline.sessions.client import Chunks
from pipeline.sessions.report import RenditionFacts, SessionReport
from pipeline.sessions.session import REPLACED, Session, Workspace
from pipeline.settings import Settings
from pipeline.storage.assets import Asset
from pipeline.transforms.protocol import Job


@dataclass(frozen=True)
class Picture:
    """What is to be shown: its size in bytes, its bytes (from the start each time), its focal point if any."""

    size: int
    chunks: Chunks
    focal: tuple[float, float] | None = None


@dataclass(frozen=True)
class Shown:
    """A verified rendition and its bytes."""

    rendition: Rendition
    facts: RenditionFacts
    data: bytes


async def preview(
    settings: Settings, session: Session, recipe: Recipe, picture: Picture, assets: Mapping[str, Asset]
) -> tuple[list[Shown], SessionReport]:
    """Every rendition, verified, and the session's report. PermanentError says what is wrong with picture or recipe."""
    try:
        return await _once(settings, session, recipe, picture, assets)
    except SessionLost as error:
        if error.kind != REPLACED:
            raise
        return await _once(settings, session, recipe, picture, assets)


async def _once(
    settings: Settings, session: Session, recipe: Recipe, picture: Picture, assets: Mapping[str, Asset]
) -> tuple[list[Shown], SessionReport]:
    with session.workspace({each.name: each.extension or "bin" for each in recipe.renditions}) as names:
        for asset in assets.values():
            await session.bring(asset.file, asset.data)
        await session.upload(names.source, picture.size, picture.chunks)
        most = min(ceil(recipe.limits.get("max_seconds", settings.run_timeout)), settings.run_timeout)
        report = await session.run(_job(settings, recipe, picture, assets, names), most)
        if report.failure:
            raise failure(report.failure)
        formats = {each.name: each.formats for each in recipe.renditions}
        facts = verify.declared(report, names.renditions, formats, settings)
        return [
            Shown(each, facts[each.name], await _fetch(session, facts[each.name])) for each in recipe.renditions
        ], report


def _job(settings: Settings, recipe: Recipe, picture: Picture, assets: Mapping[str, Asset], names: Workspace) -> Job:
    return recipe.job(
        source=names.source,
        report=names.report,
        files=names.renditions,
        limits=settings.limits,
        formats=settings.allowed_formats,
        assets={name: asset.file for name, asset in assets.items()},
        focal=picture.focal,
    )


async def _fetch(session: Session, facts: RenditionFacts) -> bytes:
    async with session.get(facts.file) as chunks:
        return b"".join([chunk async for chunk in verify.checked(chunks, facts)])
