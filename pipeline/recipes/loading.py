"""From the recipe file to recipes: everything that is wrong with it is found at once, before anything is done."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from pipeline.errors import ConfigError, RecipeError
from pipeline.transforms.registry import FIRST

from . import conflicts
from .complaints import did_you_mean, explain
from .model import FileModel, RecipeModel, RenditionModel
from .recipe import Recipe, Rendition
from .yamlfile import Document, Problem, Problems, parse


@dataclass(frozen=True)
class Recipes:
    """The recipes of a file, in its order."""

    all: tuple[Recipe, ...]

    def __iter__(self) -> Iterator[Recipe]:
        return iter(self.all)

    def __len__(self) -> int:
        return len(self.all)

    @property
    def names(self) -> list[str]:
        """The names, in the order of the file."""
        return [recipe.name for recipe in self.all]

    def match(self, source_name: str) -> list[Recipe]:
        """The recipes that a dropped source is for, in the order of the file."""
        return [recipe for recipe in self.all if recipe.matches(source_name)]

    def get(self, name: str) -> Recipe:
        """The recipe of that name. Raise RecipeError (`unknown_recipe`) with the nearest one when there is none."""
        for recipe in self.all:
            if recipe.name == name:
                return recipe
        raise RecipeError(f"there is no recipe {name!r}; {did_you_mean(name, self.names)}", kind="unknown_recipe")


def load(path: Path, *, input_container: str | None = None, output_container: str | None = None) -> Recipes:
    """The recipes in the file at `path`. Raise ConfigError with every problem: file, line, column, what to change.

    With both containers named and the same, a recipe whose outputs could match a recipe's input is refused.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"the recipe file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"the recipe file {path} is not UTF-8 text") from None
    same = input_container is not None and input_container == output_container
    return loads(text, str(path), same_container=same)


def loads(text: str, name: str = "recipes.yaml", *, same_container: bool = False) -> Recipes:
    """The recipes in `text`, which messages call `name`."""
    try:
        return _recipes(parse(text), same_container=same_container)
    except Problems as found:
        lines = sorted(found.problems, key=lambda problem: (problem.line, problem.column))
        raise ConfigError("\n".join(problem.text(name) for problem in lines)) from None


def _recipes(document: Document, *, same_container: bool) -> Recipes:
    if not isinstance(document.data, dict):
        raise Problems([document.problem((), "the file needs a mapping with the key recipes at its top")])
    try:
        model = FileModel.model_validate_json(json.dumps(document.data))
    except ValidationError as error:
        raise Problems(explain(error, document)) from None
    recipes = [_recipe(name, recipe) for name, recipe in model.recipes.items()]
    problems = [*_misplaced(recipes, document), *conflicts.collisions(recipes, document)]
    if same_container:
        problems += conflicts.loops(recipes, document)
    if problems:
        raise Problems(problems)
    return Recipes(tuple(recipes))


def _recipe(name: str, model: RecipeModel) -> Recipe:
    return Recipe(
        name=name,
        include=tuple(model.match.include) if model.match else (),
        exclude=tuple(model.match.exclude) if model.match else (),
        steps=tuple(step.step() for step in model.transforms),
        renditions=tuple(_rendition(key, each, model) for key, each in model.renditions.items()),
    )


def _rendition(name: str, model: RenditionModel, recipe: RecipeModel) -> Rendition:
    return Rendition(
        name=name,
        encoder=model.format(),
        output=model.output(),
        steps=tuple(step.step() for step in model.transforms),
        path=model.path or recipe.path,
        cache_control=model.cache_control or recipe.cache_control,
    )


def _misplaced(recipes: list[Recipe], document: Document) -> Iterator[Problem]:
    """Transforms that are done to every source first, but stand elsewhere."""
    for recipe in recipes:
        at = ("recipes", recipe.name)
        names = [step["name"] for step in recipe.steps]
        leading = [name for name in FIRST if name in names]
        for index, name in enumerate(names):
            if name in FIRST and names[: len(leading)] != leading:
                yield document.problem((*at, "transforms", index), _ORDER.format(name))
        for rendition in recipe.renditions:
            for index, step in enumerate(rendition.steps):
                if step["name"] in FIRST:
                    place = (*at, "renditions", rendition.name, "transforms", index)
                    yield document.problem(place, _ORDER.format(step["name"]))


_ORDER = "{} is always done before everything else: it may only be named first in the recipe's own transforms (" + (
    " then ".join(FIRST) + ")"
)
