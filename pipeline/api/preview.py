"""HTTP handler: preview a recipe on an image. Nothing is stored."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Self

from pydantic import Field

from pipeline.api.http import Preferences, Request, Response
from pipeline.api.images import SECURITY_HEADERS
from pipeline.api.schemas import RenditionBase
from pipeline.api.submit import read_upload
from pipeline.jobs.preview import Preview, Previewer, PreviewSource
from pipeline.jobs.rendering import StagedRendition
from pipeline.monitoring.document import Document
from pipeline.settings import Settings


class PreviewRendition(RenditionBase):
    """A rendition with its bytes in base64."""

    path: str
    """Path that a job would give it in the output container."""
    content_type: str
    data: str = Field(repr=False)
    """The bytes in base64."""

    @classmethod
    def of(cls, staged: StagedRendition[bytes]) -> Self:
        """Convert a rendition of a preview."""
        facts = staged.facts
        return cls(
            name=facts.name,
            path=staged.path,
            content_type=staged.content_type,
            format=facts.format,
            size=facts.size,
            sha256=facts.sha256,
            width=facts.width,
            height=facts.height,
            data=base64.b64encode(staged.staged).decode(),
        )


class PreviewDocument(Document):
    """The renditions of a preview."""

    recipe: str
    recipe_hash: str
    renditions: list[PreviewRendition]
    source: dict[str, Any]
    """Format, size and other facts about the source."""
    versions: dict[str, str]
    """Versions of Python and Pillow in the session."""
    ms: dict[str, float]
    """Milliseconds per stage, measured by the app; `session_ms` holds those measured in the session."""
    session_ms: dict[str, float]

    @classmethod
    def of(cls, preview: Preview) -> Self:
        """Convert a preview."""
        return cls(
            recipe=preview.recipe.name,
            recipe_hash=preview.recipe.hash,
            renditions=[PreviewRendition.of(each) for each in preview.renditions],
            source=preview.report.source.model_dump() if preview.report.source else {},
            versions=preview.report.versions,
            ms=preview.ms,
            session_ms=preview.report.ms,
        )


@dataclass(frozen=True)
class PreviewHandlers:
    """Handler of previews."""

    settings: Settings
    previewer: Previewer

    async def show(self, request: Request) -> Response:
        """Handle `POST /api/preview`: respond with JSON, or with the image if `Accept` prefers it and there is one."""
        upload = read_upload(request, self.settings, {"recipe", "text"})
        recipe = await self.previewer.recipe(upload.fields.get("recipe", ""), upload.fields.get("text", ""))
        preview = await self.previewer.preview(recipe, PreviewSource(upload.name, upload.data))
        if Preferences.of(request, self.settings).image and len(preview.renditions) == 1:
            (only,) = preview.renditions
            return Response(only.staged, headers=SECURITY_HEADERS, media_type=only.content_type)
        return Response(PreviewDocument.of(preview))
