"""Load a recipe file. All its errors are reported at once."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from pipeline.errors import ConfigError, RecipeError
from pipeline.recipes import conflicts
from pipeline.recipes.compiler import RecipeCompiler
from pipeline.recipes.error_messages import did_you_mean, explain
from pipeline.recipes.model import FileModel
from pipeline.recipes.recipe import Recipe
from pipeline.recipes.yaml_loader import Document, Problems, parse
from pipeline.settings import Settings


@dataclass(frozen=True)
class Recipes:
    """The recipes of a file, in its order."""

    all: tuple[Recipe, ...]

    def __iter__(self) -> Iterator[Recipe]:
        """Iterate over the recipes, in the order of the file."""
        return iter(self.all)

    def __len__(self) -> int:
        """Return the number of recipes."""
        return len(self.all)

    @property
    def names(self) -> list[str]:
        """Return the names of the recipes, in the order of the file."""
        return [recipe.name for recipe in self.all]

    def match(self, source_name: str, *, size: int | None = None, content_type: str | None = None) -> list[Recipe]:
        """Return the recipes that an uploaded source matches, up to the first exclusive one.

        Rules on the size in bytes and on the content type count as met while these are None.
        """
        matching: list[Recipe] = []
        for recipe in self.all:
            if recipe.matches(source_name, size=size, content_type=content_type):
                matching.append(recipe)
                if recipe.exclusive:
                    break
        return matching

    def get(self, name: str) -> Recipe:
        """Return a recipe by its name. Raises RecipeError of kind `unknown_recipe` with the most similar name."""
        for recipe in self.all:
            if recipe.name == name:
                return recipe
        raise RecipeError(f"there is no recipe {name!r}; {did_you_mean(name, self.names)}", kind="unknown_recipe")


def load_recipes(settings: Settings, file: Path | None = None) -> Recipes:
    """Load `file`, or the recipe file of the settings.

    Raises:
        ConfigError: The file cannot be read, or has errors; the message lists all of them.
    """
    file = file or settings.recipe_file
    recipes = load(
        file,
        same_container=settings.input_container == settings.output_container,
        allow_code=settings.allow_code,
        code_folder=settings.module_folder,
    )
    excessive = [recipe.name for recipe in recipes if len(recipe.renditions) > settings.max_renditions]
    if excessive:
        raise ConfigError(
            f"{file}: more than {settings.max_renditions} renditions (PIPELINE_MAX_RENDITIONS) in the recipes "
            f"{', '.join(excessive)}: split them"
        )
    return recipes


def load(
    path: Path, *, same_container: bool = False, allow_code: bool = False, code_folder: Path | None = None
) -> Recipes:
    """Load the recipe file at `path`. Arguments and errors are those of `loads`."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"the recipe file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"the recipe file {path} is not UTF-8 text") from None
    return loads(text, str(path), same_container=same_container, allow_code=allow_code, code_folder=code_folder)


def loads(
    text: str,
    name: str = "recipes.yaml",
    *,
    same_container: bool = False,
    allow_code: bool = False,
    code_folder: Path | None = None,
) -> Recipes:
    """Load the recipes in `text`.

    Args:
        text: The recipe file as YAML.
        name: The name of the file in messages.
        same_container: Input and output share a container: refuse recipes whose outputs match a recipe.
        allow_code: Accept user code.
        code_folder: The folder of the modules of user code.

    Raises:
        ConfigError: The file has errors. The message lists all of them: file, line, column and remedy.
    """
    try:
        document = parse(text)
        compiler = RecipeCompiler(_model(document, allow_code=allow_code), document, code_folder, allow_code)
        recipes = compiler.recipes()
        problems = [*compiler.problems, *conflicts.collisions(recipes, document)]
        if same_container:
            problems += conflicts.loops(recipes, document)
        if problems:
            raise Problems(problems)  # noqa: TRY301 - one handler for the errors of all stages
    except Problems as error:
        lines = sorted(error.problems, key=lambda problem: (problem.line, problem.column))
        raise ConfigError("\n".join(problem.text(name) for problem in lines)) from None
    return Recipes(tuple(recipes))


def _model(document: Document, *, allow_code: bool) -> FileModel:
    if not isinstance(document.data, dict):
        raise Problems([document.problem((), "the file must be a mapping with the key recipes")])
    try:
        return FileModel.model_validate_json(json.dumps(document.data))
    except ValidationError as error:
        raise Problems(explain(error, document, allow_code=allow_code)) from None
