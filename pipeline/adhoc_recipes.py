"""Recipes of requests: taken in where the settings allow it, and found again wherever the job goes on.

They are kept by their content beside the slots, since the queue's messages are small, and since another process, or a
retry weeks later, needs them too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import RecipeError
from pipeline.recipes import Recipe, Recipes, adhoc
from pipeline.settings import Settings
from pipeline.storage.json_documents import DocumentStore

# Recipes are small, but nobody should be able to fill the memory with them.
MOST_KNOWN = 256


class AdHocRecipes:
    """The recipes that came with requests."""

    def __init__(self, settings: Settings, recipes: Recipes, notes: DocumentStore, code_folder: Path | None) -> None:
        self._settings, self._notes, self._code = settings, notes, code_folder
        same = settings.input_container == settings.output_container
        self._beside = recipes if same else None
        self._known: dict[str, Recipe] = {}

    async def keep(self, document: Mapping[str, Any]) -> Recipe:
        """The recipe in a request, checked, and kept for the job's further way. RecipeError says what is wrong."""
        name = adhoc.name_of(document)
        recipe = self._known.get(name) or self._checked(document)
        if name not in self._known:
            await self._notes.add(_file(name), document)
            self._remember(recipe)
        return recipe

    async def get(self, name: str) -> Recipe:
        """The recipe that is called so. RecipeError when there is none, or when the settings allow none (any more)."""
        self._must_be_allowed()
        if name not in self._known:
            note = await self._notes.get(_file(name))
            if note is None or adhoc.name_of(note.content) != name:
                raise RecipeError(f"there is no recipe {name!r}: send it with the request", kind="unknown_recipe")
            self._remember(self._checked(note.content))
        return self._known[name]

    def of_text(self, text: str) -> Recipe:
        """The recipe in a text, for a preview. RecipeError says what is wrong."""
        self._must_be_allowed()
        recipe = adhoc.for_preview(text, allow_code=self._settings.adhoc_may_have_code, code=self._code)
        return self._within_limits(recipe)

    def _checked(self, document: Mapping[str, Any]) -> Recipe:
        self._must_be_allowed()
        with_code = self._settings.adhoc_may_have_code
        recipe = adhoc.for_job(document, allow_code=with_code, code=self._code, beside=self._beside)
        return self._within_limits(recipe)

    def _within_limits(self, recipe: Recipe) -> Recipe:
        most = self._settings.max_renditions
        if len(recipe.renditions) > most:
            raise RecipeError(f"more than {most} renditions (PIPELINE_MAX_RENDITIONS): ask in several requests")
        return recipe

    def _must_be_allowed(self) -> None:
        if self._settings.adhoc_recipes == "off":
            raise RecipeError(
                "requests may only name recipes here: name one of GET recipes, or allow others with "
                "PIPELINE_ADHOC_RECIPES",
                kind="adhoc_not_allowed",
            )

    def _remember(self, recipe: Recipe) -> None:
        if len(self._known) >= MOST_KNOWN:
            self._known.pop(next(iter(self._known)))
        self._known[recipe.name] = recipe


def _file(name: str) -> str:
    return f"{name.removeprefix(adhoc.MARK)}.json"
