"""HTTP handlers of recipes: list them, and return their JSON Schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from pydantic import RootModel

from pipeline.api.http import Request, Response
from pipeline.monitoring.document import Document
from pipeline.recipes import Recipe, Recipes, explain, schema


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
