"""Recipes: what each does, in words, and on pictures of one's own."""

from __future__ import annotations

from dataclasses import dataclass

import azure.functions as func

from pipeline.recipes import Recipe, explain
from pipeline.web.console.visit import Visit


@dataclass(frozen=True)
class Told:
    """A recipe in words."""

    recipe: Recipe
    takes: str
    shared: list[str]
    renditions: list[tuple[str, str, list[str]]]

    @classmethod
    def of(cls, recipe: Recipe) -> Told:
        """Explain a recipe."""
        own = [
            (each.name, explain.path(recipe, each, explain.EXAMPLE), list(explain.own(each)))
            for each in recipe.renditions
        ]
        return cls(recipe, explain.matching(recipe), list(explain.shared(recipe)), own)


async def index(visit: Visit) -> func.HttpResponse:
    """`GET recipes`: all of them."""
    return visit.page("recipes.html", told=[Told.of(recipe) for recipe in visit.services.recipes], strips={})


async def show(visit: Visit) -> func.HttpResponse:
    """`GET recipes/{name}`: one of them. RecipeError when there is none of that name."""
    return visit.page("recipe.html", told=Told.of(visit.services.recipes.get(visit.parts["name"])), strip=None)
