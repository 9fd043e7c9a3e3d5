"""Recipes: what each does, in words, and on the picture that it was last done to."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import azure.functions as func

from pipeline.console.request import ConsoleRequest
from pipeline.recipes import Recipe, explain


@dataclass(frozen=True)
class RecipeSummary:
    """A recipe in words: which sources, what is done once, and what for each rendition (name, path, steps)."""

    recipe: Recipe
    takes: str
    shared: list[str]
    renditions: list[tuple[str, str, list[str]]]

    @classmethod
    def of(cls, recipe: Recipe) -> RecipeSummary:
        """Explain a recipe."""
        own = [
            (each.name, explain.path(recipe, each, explain.EXAMPLE), list(explain.own(each)))
            for each in recipe.renditions
        ]
        return cls(recipe, explain.matching(recipe), list(explain.shared(recipe)), own)


@dataclass(frozen=True)
class RenditionStrip:
    """The newest job of a recipe that is done: its source beside what was made of it."""

    id: str
    name: str
    etag: str
    bytes_in: int
    renditions: list[dict[str, Any]]


async def index(visit: ConsoleRequest) -> func.HttpResponse:
    """`GET recipes`: all of them."""
    recipes = list(visit.services.recipes)
    strips = await asyncio.gather(*(_strip(visit, recipe) for recipe in recipes))
    return visit.page("recipes.html", told=[(RecipeSummary.of(recipe), strips[i]) for i, recipe in enumerate(recipes)])


async def show(visit: ConsoleRequest) -> func.HttpResponse:
    """`GET recipes/{name}`: one of them. RecipeError when there is none of that name."""
    recipe = visit.services.recipes.get(visit.parts["name"])
    return visit.page("recipe.html", told=RecipeSummary.of(recipe), strip=await _strip(visit, recipe))


async def _strip(visit: ConsoleRequest, recipe: Recipe) -> RenditionStrip | None:
    found, _ = await visit.services.ledger.page(recipe=recipe.name, state="done", limit=1)
    return next(
        (RenditionStrip(one.key.id, one.name, one.version.etag, one.bytes_in, one.renditions) for one in found), None
    )
