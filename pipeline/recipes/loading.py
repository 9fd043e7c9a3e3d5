"""From the recipe file to recipes: everything that is wrong with it is found at once, before anything is done."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from pipeline.errors import ConfigError, RecipeError

from . import conflicts
from .compiler import RecipeCompiler
from .error_messages import did_you_mean, explain
from .model import FileModel
from .recipe import Recipe
from .yaml_loader import Document, Problems, parse


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

    def match(self, source_name: str, *, size: int | None = None, content_type: str | None = None) -> list[Recipe]:
        """The recipes that a dropped source is for, in the order of the file; none below an exclusive one.

        Without `size` (in bytes) and `content_type` the rules about them count as met.
        """
        found: list[Recipe] = []
        for recipe in self.all:
            if recipe.matches(source_name, size=size, content_type=content_type):
                found.append(recipe)
                if recipe.exclusive:
                    break
        return found

    def get(self, name: str) -> Recipe:
        """The recipe of that name. Raise RecipeError (`unknown_recipe`) with the nearest one when there is none."""
        for recipe in self.all:
            if recipe.name == name:
                return recipe
        raise RecipeError(f"there is no recipe {name!r}; {did_you_mean(name, self.names)}", kind="unknown_recipe")


def load(
    path: Path,
    *,
    input_container: str | None = None,
    output_container: str | None = None,
    allow_code: bool = False,
    code_folder: Path | None = None,
) -> Recipes:
    """The recipes in the file at `path`. Raise ConfigError with every problem: file, line, column, what to change.

    With both containers named and the same, a recipe whose outputs could match a recipe's input is refused. Recipes
    with code of their own are refused unless `allow_code`; their modules are looked up in `code_folder`.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"the recipe file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"the recipe file {path} is not UTF-8 text") from None
    same = input_container is not None and input_container == output_container
    return loads(text, str(path), same_container=same, allow_code=allow_code, code_folder=code_folder)


def loads(
    text: str,
    name: str = "recipes.yaml",
    *,
    same_container: bool = False,
    allow_code: bool = False,
    code_folder: Path | None = None,
) -> Recipes:
    """The recipes in `text`, which messages call `name`."""
    try:
        document = parse(text)
        builder = RecipeCompiler(_model(document, allow_code=allow_code), document, code_folder, allow_code)
        recipes = builder.recipes()
        problems = [*builder.problems, *conflicts.collisions(recipes, document)]
        if same_container:
            problems += conflicts.loops(recipes, document)
        if problems:
            raise Problems(problems)  # noqa: TRY301 - problems of every stage are told in one way
    except Problems as found:
        lines = sorted(found.problems, key=lambda problem: (problem.line, problem.column))
        raise ConfigError("\n".join(problem.text(name) for problem in lines)) from None
    return Recipes(tuple(recipes))


def _model(document: Document, *, allow_code: bool) -> FileModel:
    if not isinstance(document.data, dict):
        raise Problems([document.problem((), "the file needs a mapping with the key recipes at its top")])
    try:
        return FileModel.model_validate_json(json.dumps(document.data))
    except ValidationError as error:
        raise Problems(explain(error, document, allow_code=allow_code)) from None
