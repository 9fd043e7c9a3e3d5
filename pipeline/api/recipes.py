"""The recipes over HTTP: what there is to ask for."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, RootModel

from pipeline.api.http import Request, Response
from pipeline.api.links import Links
from pipeline.api.schemas import DOCUMENT
from pipeline.recipes import Recipe, explain, schema
from pipeline.services import Services


class RenditionInfo(BaseModel):
    """One output of a recipe."""

    model_config = DOCUMENT

    name: str
    formats: list[str]
    """One format, or those of which it comes out in one."""
    path: str
    """The pattern of its place in the output container."""


class RecipeDocument(BaseModel):
    """A recipe and what it does."""

    model_config = DOCUMENT

    name: str
    description: str
    hash: str
    """Changes whenever the renditions may."""
    include: list[str]
    """Which dropped sources it takes; empty for one that has to be named."""
    exclude: list[str]
    isolation: str
    steps: list[str]
    """What it does, in words."""
    renditions: list[RenditionInfo]

    @classmethod
    def of(cls, recipe: Recipe) -> Self:
        """A recipe as a document."""
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


class RecipesDocument(BaseModel):
    """All recipes of the file."""

    model_config = DOCUMENT

    recipes: list[RecipeDocument]
    adhoc_recipes: str
    """Whether requests may bring recipes of their own: off, on, or code."""
    schema_href: str
    """Where the JSON Schema of recipes is, with every transform."""


class SchemaDocument(RootModel[dict[str, Any]]):
    """The JSON Schema of a recipe file."""


def listed(services: Services, links: Links) -> RecipesDocument:
    """The recipes, in the order of the file."""
    return RecipesDocument(
        recipes=[RecipeDocument.of(recipe) for recipe in services.recipes],
        adhoc_recipes=services.settings.adhoc_recipes,
        schema_href=links.to("recipes", "schema"),
    )


async def show(services: Services, call: Request) -> Response:
    """`GET /api/recipes`: what there is to ask for."""
    return Response(listed(services, call.links))


async def show_schema(_: Services, __: Request) -> Response:
    """`GET /api/recipes/schema`: every transform and format, for editors and for whoever writes recipes."""
    return Response(SchemaDocument(schema.schema()), media_type="application/schema+json")
