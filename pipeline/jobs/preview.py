"""Previews: render an image in memory, in a real session of the pool. Nothing is stored."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from pipeline.adhoc_recipes import RecipeCatalog
from pipeline.errors import PermanentError, PipelineError, RequestError, SourceError
from pipeline.jobs.rendering import Renderer, SchedulingPolicy, StagedRendition
from pipeline.jobs.timings import JobTimer
from pipeline.pool.report import SessionReport
from pipeline.recipes import Recipe
from pipeline.settings import MIB, Settings

MAX_RECIPE_CHARACTERS = 64 * 1024
CHUNK_BYTES = 1 * MIB
PREVIEW_CONTAINER = "preview"
"""Container name of sources that are in no container: an uploaded image of a preview is never stored."""
PREVIEW_POLICY = SchedulingPolicy("interactive", exclusive=True)
"""A client waits for the response, so a preview precedes uploads and runs, and shares its execution with no job."""


@dataclass(frozen=True)
class PreviewSource:
    """An image in memory, as a source of renditions."""

    name: str
    data: bytes | memoryview
    container: str = PREVIEW_CONTAINER
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Size in bytes."""
        return len(self.data)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the data in chunks of 1 MiB."""
        for start in range(0, len(self.data), CHUNK_BYTES):
            yield bytes(self.data[start : start + CHUNK_BYTES])

    async def tags(self) -> dict[str, str]:
        """Return no index tags."""
        return {}


@dataclass(frozen=True)
class Preview:
    """Renditions of a preview with their bytes, the report of the session, and milliseconds per stage."""

    recipe: Recipe
    renditions: list[StagedRendition[bytes]]
    report: SessionReport
    ms: dict[str, float]


class _MemorySink:
    """Collect renditions in memory, up to a limit for all of them together; `reserve` is called with each size."""

    def __init__(self, max_bytes: int, reserve: Callable[[int], None]) -> None:
        self._remaining, self._reserve = max_bytes, reserve

    async def __call__(self, path: str, chunks: AsyncIterator[bytes]) -> bytes:
        data = bytearray()
        async for chunk in chunks:
            self._reserve(len(chunk))
            data += chunk
            self._remaining -= len(chunk)
            if self._remaining < 0:
                raise PermanentError(
                    "the renditions together exceed PIPELINE_HTTP_MAX_RESPONSE_BYTES: preview fewer or smaller ones",
                    kind="response_too_large",
                )
        return bytes(data)


@dataclass(frozen=True)
class Previewer:
    """Choose the recipe of a preview, and render the preview."""

    settings: Settings
    catalog: RecipeCatalog
    renderer: Renderer

    async def recipe(self, name: str, text: str) -> Recipe:
        """Return the recipe `name`, or the recipe in the YAML or JSON `text`; exactly one must not be empty.

        Raises:
            RequestError: Both or neither are given, or the text is too long.
            RecipeError: The recipe is unknown or invalid, or the settings forbid it.
        """
        if bool(name) == bool(text):
            raise RequestError("name a recipe in the field 'recipe', or send one as YAML or JSON in the field 'text'")
        if len(text) > MAX_RECIPE_CHARACTERS:
            raise RequestError(f"the recipe is longer than {MAX_RECIPE_CHARACTERS:,} characters", kind="body_too_large")
        return self.catalog.adhoc.of_text(text) if text else await self.catalog.get(name)

    async def preview(
        self, recipe: Recipe, source: PreviewSource, reserve: Callable[[int], None] = lambda _: None
    ) -> Preview:
        """Render all renditions of an image. `reserve` is called before bytes of renditions are kept; it may raise.

        Raises:
            PermanentError: The image or the recipe is at fault, or the renditions exceed the size limit.
            JobPaused: Requests are paused.
            PipelineError: Of kind `timeout`, after PIPELINE_PREVIEW_TIMEOUT.
        """
        if not source.size:
            raise SourceError("the image is empty (0 bytes): send it again", kind="empty_source")
        timer, timeout = JobTimer(recipe.family), self.settings.preview_timeout
        sink = _MemorySink(self.settings.http_max_response_bytes, reserve)
        try:
            async with asyncio.timeout(timeout):
                async with self.renderer.admission.admitted("requests", source.name, ("pool", "identity")):
                    renditions, report = await self.renderer.render(source, recipe, timer, PREVIEW_POLICY, sink)
        except TimeoutError:
            raise PipelineError(
                f"the preview exceeded {timeout:g} s (PIPELINE_PREVIEW_TIMEOUT) in the stage {timer.current}: "
                "use a smaller image or fewer transforms",
                kind="timeout",
            ) from None
        return Preview(recipe, renditions, report, timer.ms)
