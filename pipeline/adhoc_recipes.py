"""Store recipes that requests supply, and find recipes by name.

An ad-hoc recipe is stored by its content, next to the documents of slots: queue messages are too small for it, and
another process, or a retry weeks later, needs it too.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Any

from pipeline.errors import RecipeError
from pipeline.recipes import Recipe, Recipes, adhoc
from pipeline.settings import Settings
from pipeline.storage import DocumentStore

# Recipes are small, but requests must not be able to fill the memory with them.
MAX_CACHED_RECIPES = 256
# A document that is in use is written again at this interval. Retention deletes it a day after its last write or later.
KEEP_INTERVAL = timedelta(hours=6)


class AdHocRecipes:
    """Validate, store and load the recipes of requests, as far as the settings allow them."""

    def __init__(self, settings: Settings, recipes: Recipes, store: DocumentStore) -> None:
        """Store documents in `store`. Outputs of an ad-hoc recipe must match no recipe of the file, `recipes`."""
        self._settings, self._store = settings, store
        same_container = settings.input_container == settings.output_container
        self._recipe_file = recipes if same_container else None
        self._cache: dict[str, Recipe] = {}
        self._kept: dict[str, float] = {}

    async def keep(self, document: Mapping[str, Any]) -> Recipe:
        """Validate the recipe of a request and store it for the job. Raises RecipeError if it is invalid."""
        name = adhoc.name_of(document)
        recipe = self._cache.get(name) or self._validated(document)
        if time.monotonic() - self._kept.get(name, -inf) > KEEP_INTERVAL.total_seconds():
            await self._write(name, document)
            self._remember(recipe)
            self._kept[name] = time.monotonic()
        return recipe

    async def get(self, name: str) -> Recipe:
        """Return the stored recipe `name`. Raises RecipeError if there is none, or if the settings forbid it by now."""
        self._must_be_allowed()
        if name not in self._cache:
            stored = await self._store.get(_file(name))
            if stored is None or adhoc.name_of(stored.content) != name:
                raise RecipeError(f"there is no recipe {name!r}: send it with the request", kind="unknown_recipe")
            self._remember(self._validated(stored.content))
        return self._cache[name]

    async def _write(self, name: str, document: Mapping[str, Any]) -> None:
        """Store a document, or write it again: retention goes by the time of the last write."""
        if not await self._store.add(_file(name), document):
            stored = await self._store.get(_file(name))
            if stored is None:
                await self._store.add(_file(name), document)
            elif datetime.now(UTC) - stored.written > KEEP_INTERVAL:
                await self._store.add(_file(name), document, stored)

    def of_text(self, text: str) -> Recipe:
        """Return the recipe in a YAML or JSON text, for a preview. Raises RecipeError if it is invalid."""
        self._must_be_allowed()
        settings = self._settings
        recipe = adhoc.for_preview(text, allow_code=settings.adhoc_may_have_code, code_folder=settings.module_folder)
        return self._within_limits(recipe)

    def _validated(self, document: Mapping[str, Any]) -> Recipe:
        self._must_be_allowed()
        settings = self._settings
        recipe = adhoc.for_job(
            document,
            allow_code=settings.adhoc_may_have_code,
            code_folder=settings.module_folder,
            recipe_file=self._recipe_file,
        )
        return self._within_limits(recipe)

    def _within_limits(self, recipe: Recipe) -> Recipe:
        limit = self._settings.max_renditions
        if len(recipe.renditions) > limit:
            raise RecipeError(
                f"the recipe has more than {limit} renditions (PIPELINE_MAX_RENDITIONS): split it into several requests"
            )
        return recipe

    def _must_be_allowed(self) -> None:
        if self._settings.adhoc_recipes == "off":
            raise RecipeError(
                "requests may only name recipes of the recipe file: name one of GET recipes, or allow others with "
                "PIPELINE_ADHOC_RECIPES",
                kind="adhoc_not_allowed",
            )

    def _remember(self, recipe: Recipe) -> None:
        if recipe.name not in self._cache and len(self._cache) >= MAX_CACHED_RECIPES:
            oldest = next(iter(self._cache))
            self._cache.pop(oldest)
            self._kept.pop(oldest, None)
        self._cache[recipe.name] = recipe


@dataclass(frozen=True)
class RecipeCatalog:
    """Find recipes by name, in the recipe file or among those of requests."""

    file: Recipes
    adhoc: AdHocRecipes

    async def get(self, name: str) -> Recipe:
        """Return the recipe `name`. Raises RecipeError of kind `unknown_recipe` if there is none."""
        return await self.adhoc.get(name) if adhoc.is_name(name) else self.file.get(name)


def _file(name: str) -> str:
    return f"{name.removeprefix(adhoc.MARK)}.json"
