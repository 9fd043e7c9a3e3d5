"""HTTP handlers of recipes: list them, show their schema, and preview one on an image. Nothing is stored."""

import base64
from dataclasses import dataclass
from typing import Any, Self

from pydantic import Field, RootModel

from pipeline.api.http import Request, Response
from pipeline.api.images import SECURITY_HEADERS
from pipeline.api.negotiation import ResultFormat
from pipeline.api.schemas import RenditionBase
from pipeline.api.uploads import read_upload
from pipeline.jobs.preview import Preview, Previewer, PreviewSource
from pipeline.jobs.rendering import StagedRendition
from pipeline.monitoring.document import Document
from pipeline.recipes import Recipe, Recipes, explain, schema
from pipeline.settings import Settings


class RenditionInfo(Document):
    """One output of a recipe."""

    name: str
    formats: list[str]
    """The format, or the formats of which the engine chooses one."""
    path: str
    """Path template in the output container."""


class RecipeDocument(Document):
    """A recipe and a description of its steps."""

    name: str
    description: str
    hash: str
    """Recipe version: changes whenever the renditions may change."""
    include: list[str]
    """Patterns of the sources that the recipe processes on upload; empty if requests must name it."""
    exclude: list[str]
    isolation: str
    steps: list[str]
    """Steps in plain English."""
    renditions: list[RenditionInfo]

    @classmethod
    def of(cls, recipe: Recipe) -> Self:
        """Convert a recipe."""
        return cls(
            name=recipe.name,
            description=recipe.description,
            hash=recipe.hash,
            include=list(recipe.include),
            exclude=list(recipe.exclude),
            isolation=recipe.isolation,
            steps=explain.explain(recipe).splitlines()[1:],
            renditions=[
                RenditionInfo(name=each.name, formats=list(each.formats), path=each.path) for each in recipe.renditions
            ],
        )


class RecipesDocument(Document):
    """All recipes of the file."""

    recipes: list[RecipeDocument]
    adhoc_recipes: str
    """Recipes that requests may supply: `off`, `on`, or `code` (also with code)."""
    schema_href: str
    """URL of the JSON Schema of recipes, with every transform."""


class SchemaDocument(RootModel[dict[str, Any]]):
    """The JSON Schema of a recipe file."""


@dataclass(frozen=True)
class RecipeHandlers:
    """Handlers of recipes. `adhoc_recipes` is the setting of that name."""

    recipes: Recipes
    adhoc_recipes: str

    async def show(self, request: Request) -> Response:
        """Handle `GET /api/recipes`: return the recipes in the order of the file."""
        document = RecipesDocument(
            recipes=[RecipeDocument.of(recipe) for recipe in self.recipes],
            adhoc_recipes=self.adhoc_recipes,
            schema_href=request.links.to("recipes", "schema"),
        )
        return Response(document)

    async def show_schema(self, _: Request) -> Response:
        """Handle `GET /api/recipes/schema`: return the JSON Schema, for editors and for authors of recipes."""
        return Response(SchemaDocument(schema.schema()), media_type="application/schema+json")


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
            dropped=facts.dropped,
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


DOCUMENT_COPIES = 4


@dataclass(frozen=True)
class PreviewHandlers:
    """Handler of previews."""

    settings: Settings
    previewer: Previewer

    async def show(self, request: Request) -> Response:
        """Handle `POST /api/preview`: respond with JSON, or with a rendition if the client prefers an image."""
        upload, wanted = read_upload(request, self.settings, {"recipe", "text"}), ResultFormat.of(request)
        recipe = await self.previewer.recipe(upload.fields.get("recipe", ""), upload.fields.get("text", ""))
        wanted.check(recipe)
        preview = await self.previewer.preview(recipe, PreviewSource(upload.name, upload.data), request.reserve)
        chosen = wanted.chosen([each.facts.name for each in preview.renditions])
        rendition = next((each for each in preview.renditions if each.facts.name == chosen), None)
        if rendition and wanted.prefers_image(rendition.content_type):
            return Response(rendition.staged, headers=SECURITY_HEADERS, media_type=rendition.content_type)
        # The renditions in base64, as text and as the encoded document.
        request.reserve(DOCUMENT_COPIES * sum(each.facts.size for each in preview.renditions))
        return Response(PreviewDocument.of(preview))
