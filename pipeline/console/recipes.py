"""Recipe pages: the steps of each recipe in words, and their result for the latest source."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import azure.functions as func

from pipeline.console.request import ConsoleRequest
from pipeline.recipes import Recipe, Recipes, explain
from pipeline.storage.ledger import Ledger


@dataclass(frozen=True)
class RecipeSummary:
    """A recipe in words: its sources, the shared steps, and for each rendition its name, example path and steps."""

    recipe: Recipe
    sources: str
    shared_steps: list[str]
    renditions: list[tuple[str, str, list[str]]]

    @classmethod
    def of(cls, recipe: Recipe) -> RecipeSummary:
        """Summarize a recipe."""
        renditions = [
            (each.name, explain.path(recipe, each, explain.EXAMPLE), list(explain.own(each)))
            for each in recipe.renditions
        ]
        return cls(recipe, explain.matching(recipe), list(explain.shared(recipe)), renditions)


@dataclass(frozen=True)
class RenditionStrip:
    """The source and the renditions of a recipe's latest job in the state done, side by side."""

    id: str
    name: str
    etag: str
    bytes_in: int
    renditions: list[dict[str, Any]]


@dataclass(frozen=True)
class RecipePages:
    """Show recipes."""

    recipes: Recipes
    ledger: Ledger

    async def index(self, request: ConsoleRequest) -> func.HttpResponse:
        """`GET recipes`: show all recipes."""
        strips = await asyncio.gather(*map(self._strip, self.recipes))
        summaries = [(RecipeSummary.of(recipe), strip) for recipe, strip in zip(self.recipes, strips, strict=True)]
        return request.render("recipes.html", summaries=summaries)

    async def show(self, request: ConsoleRequest) -> func.HttpResponse:
        """`GET recipes/{name}`: show a recipe. Raises RecipeError if it is unknown."""
        recipe = self.recipes.get(request.parts["name"])
        return request.render("recipe.html", summary=RecipeSummary.of(recipe), strip=await self._strip(recipe))

    async def _strip(self, recipe: Recipe) -> RenditionStrip | None:
        entries, _ = await self.ledger.page(recipe=recipe.name, state="done", limit=1)
        strips = (
            RenditionStrip(each.key.id, each.name, each.version.etag, each.bytes_in, each.renditions) for each in entries
        )
        return next(strips, None)
