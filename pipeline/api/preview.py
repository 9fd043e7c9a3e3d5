"""`POST /api/preview`: what a recipe makes of an image, at once, in a real session. Nothing of it is kept."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, Field

from pipeline.api.http import Request, Response
from pipeline.api.images import SAFE
from pipeline.api.preferences import Preferences
from pipeline.api.problems import BadRequest
from pipeline.api.schemas import DOCUMENT
from pipeline.api.submit_request import upload
from pipeline.errors import PermanentError, PipelineError, SourceError
from pipeline.jobs.rendering import SchedulingPolicy, StagedRendition
from pipeline.jobs.timings import JobTimer
from pipeline.pool.report import SessionReport
from pipeline.recipes import Recipe
from pipeline.services import Services
from pipeline.settings import MIB

LONGEST_RECIPE = 64 * 1024
CHUNK = 1 * MIB
# No container of blobs: what is dropped into the playground is nowhere.
CONTAINER = "preview"
# Somebody waits for the answer.
ASKED = SchedulingPolicy("interactive", exclusive=True)


@dataclass(frozen=True)
class Image:
    """An image in memory, as a source of renditions."""

    name: str
    data: bytes
    container: str = CONTAINER
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Its bytes."""
        return len(self.data)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The bytes, in parts."""
        for start in range(0, len(self.data), CHUNK):
            yield self.data[start : start + CHUNK]

    async def tags(self) -> dict[str, str]:
        """It has none."""
        return {}


class PreviewRendition(BaseModel):
    """A rendition, with its bytes in base64."""

    model_config = DOCUMENT

    name: str
    path: str
    """Where it would have gone."""
    content_type: str
    format: str
    size: int
    sha256: str
    width: int
    height: int
    data: str = Field(repr=False)


class PreviewDocument(BaseModel):
    """What came out."""

    model_config = DOCUMENT

    recipe: str
    recipe_hash: str
    renditions: list[PreviewRendition]
    source: dict[str, Any]
    versions: dict[str, str]
    ms: dict[str, float]
    """Milliseconds per stage as seen from here; `session_ms` are those inside the session."""
    session_ms: dict[str, float]


async def show(services: Services, call: Request) -> Response:
    """Answer a request for a preview: with JSON, or with the image where one is liked better and there is one."""
    found = upload(call, services.settings, {"recipe", "text"})
    recipe = await chosen(services, found.fields.get("recipe", ""), found.fields.get("text", ""))
    document = await preview(services, recipe, Image(found.name, found.data))
    if Preferences.of(call, services.settings).image and len(document.renditions) == 1:
        (only,) = document.renditions
        return Response(base64.b64decode(only.data), headers=SAFE, media_type=only.content_type)
    return Response(document)


async def chosen(services: Services, name: str, text: str) -> Recipe:
    """The recipe of a preview: one that is known by `name`, or the one in `text`."""
    if bool(name) == bool(text):
        raise BadRequest("name a recipe with the field 'recipe', or send one as YAML or JSON in the field 'text'")
    if len(text) > LONGEST_RECIPE:
        raise BadRequest(f"the recipe is longer than {LONGEST_RECIPE:,} characters", kind="body_too_large")
    return services.adhoc_recipes.of_text(text) if text else await services.catalog.get(name)


async def preview(services: Services, recipe: Recipe, image: Image) -> PreviewDocument:
    """Every rendition of an image. PermanentError says what is wrong; kind `timeout` when it took too long."""
    if not image.data:
        raise SourceError("the image has no bytes: send it again", kind="empty_source")
    stages, seconds = JobTimer(recipe.family), services.settings.preview_timeout
    try:
        async with asyncio.timeout(seconds):
            made, report = await services.renderer.render(image, recipe, stages, ASKED, _in_memory(services))
    except TimeoutError:
        raise PipelineError(
            f"the preview was not through within {seconds:g} s (PIPELINE_PREVIEW_TIMEOUT), at {stages.current}: "
            "take a smaller image or fewer transforms",
            kind="timeout",
        ) from None
    return _described(recipe, made, report, stages)


class _Kept:
    """Takes in renditions, as long as all of them fit into an answer."""

    def __init__(self, most: int) -> None:
        self._left = most

    async def __call__(self, path: str, chunks: AsyncIterator[bytes]) -> bytes:
        taken = bytearray()
        async for chunk in chunks:
            taken += chunk
            self._left -= len(chunk)
            if self._left < 0:
                raise PermanentError(
                    "the renditions together exceed PIPELINE_HTTP_MAX_RESPONSE_BYTES: preview fewer or smaller ones",
                    kind="answer_too_large",
                )
        return bytes(taken)


def _in_memory(services: Services) -> _Kept:
    return _Kept(services.settings.http_max_response_bytes)


def _described(
    recipe: Recipe, made: list[StagedRendition[bytes]], report: SessionReport, stages: JobTimer
) -> PreviewDocument:
    return PreviewDocument(
        recipe=recipe.name,
        recipe_hash=recipe.hash,
        renditions=[_rendition(each) for each in made],
        source=report.source.model_dump() if report.source else {},
        versions=report.versions,
        ms=stages.ms,
        session_ms=report.ms,
    )


def _rendition(made: StagedRendition[bytes]) -> PreviewRendition:
    facts = made.facts
    return PreviewRendition(
        name=facts.name,
        path=made.path,
        content_type=made.rendition.content_type_of(facts.as_reported),
        format=facts.format,
        size=facts.size,
        sha256=facts.sha256,
        width=facts.width,
        height=facts.height,
        data=base64.b64encode(made.staged).decode(),
    )
