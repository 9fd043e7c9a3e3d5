"""Recipe pages: the steps of each recipe in words, and their result for the latest source."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import azure.functions as func

from pipeline.console.request import ConsoleRequest
from pipeline.recipes import Recipe, Recipes, explain
from pipeline.storage import Entry, Ledger


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
            (each.name, explain.output_path(recipe, each, explain.EXAMPLE), list(explain.rendition_steps(each)))
            for each in recipe.renditions
        ]
        return cls(recipe, explain.match_rules(recipe), list(explain.source_steps(recipe)), renditions)


@dataclass(frozen=True)
class RecipePages:
    """Show recipes."""

    recipes: Recipes
    ledger: Ledger

    async def index(self, request: ConsoleRequest) -> func.HttpResponse:
        """`GET recipes`: show all recipes."""
        jobs = await asyncio.gather(*map(self._latest_job, self.recipes))
        summaries = [(RecipeSummary.of(recipe), job) for recipe, job in zip(self.recipes, jobs, strict=True)]
        return request.render("recipes.html", summaries=summaries)

    async def show(self, request: ConsoleRequest) -> func.HttpResponse:
        """`GET recipes/{name}`: show a recipe. Raises RecipeError if it is unknown."""
        recipe = self.recipes.get(request.parts["name"])
        return request.render("recipe.html", summary=RecipeSummary.of(recipe), job=await self._latest_job(recipe))

    async def _latest_job(self, recipe: Recipe) -> Entry | None:
        """Return the latest job in the state done: its images show the effect of the recipe."""
        entries, _ = await self.ledger.page(recipe=recipe.name, state="done", limit=1)
        return await self.ledger.get(entries[0].key) if entries else None
