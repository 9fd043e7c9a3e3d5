"""Ad-hoc recipes: recipes of requests, in the language of the recipe file, without name, match rules and paths.

An ad-hoc recipe is named by a digest of its content. The same content gives the same recipe, and its renditions are in
a folder of that name.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.errors import RecipeError
from pipeline.recipes import conflicts
from pipeline.recipes.compiler import RecipeCompiler
from pipeline.recipes.error_messages import explain
from pipeline.recipes.loading import Recipes
from pipeline.recipes.model import FileModel
from pipeline.recipes.recipe import Recipe
from pipeline.recipes.yaml_loader import Document, Problem, Problems, dotted, parse

GROUP = "_adhoc"
# Names of a recipe file start with a letter or digit.
MARK = f"{GROUP}-"
_NAME = re.compile(rf"{MARK}[0-9a-f]{{32}}")
_FOLDER = "adhoc"
# Position of the recipe in a document that has the form of a recipe file.
_ROOT = ("recipes", _FOLDER)
_KEYS = ("transforms", "renditions")


def is_name(name: str) -> bool:
    """Return True if `name` is the name of an ad-hoc recipe."""
    return _NAME.fullmatch(name) is not None


def name_of(document: Mapping[str, Any]) -> str:
    """Return the name of the ad-hoc recipe in `document`. The order of its keys does not matter."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return MARK + hashlib.sha256(text.encode()).hexdigest()[:32]


def for_job(
    document: Mapping[str, Any],
    *,
    allow_code: bool = False,
    code_folder: Path | None = None,
    recipe_file: Recipes | None = None,
) -> Recipe:
    """Compile the recipe of a request.

    Args:
        document: The keys `transforms` and `renditions`, and no others.
        allow_code: Accept user code.
        code_folder: The folder of the modules of user code.
        recipe_file: The recipe file, if input and output share a container: no recipe may match the outputs.

    Raises:
        RecipeError: The recipe has errors; the message lists all of them.
    """
    name, whole = name_of(document), Document({"recipes": {_FOLDER: dict(document)}})
    renditions = document.get("renditions")
    entries = renditions.items() if isinstance(renditions, dict) else ()
    only = f"not allowed: a recipe of a request has only {' and '.join(_KEYS)}"
    problems = [whole.problem((*_ROOT, key), only) for key in document if key not in _KEYS]
    problems += [
        whole.problem((*_ROOT, "renditions", key, "path"), "a request cannot set the output path: remove it")
        for key, rendition in entries
        if isinstance(rendition, dict) and "path" in rendition
    ]
    recipe = _compile(whole, problems, allow_code=allow_code, code_folder=code_folder)
    path = f"{_FOLDER}/{name.removeprefix(MARK)}/{{path}}/{{rendition}}.{{ext}}"
    recipe = replace(recipe, name=name, renditions=tuple(replace(each, path=path) for each in recipe.renditions))
    if recipe_file is not None:
        _raise_any(list(conflicts.loops([recipe, *recipe_file], whole)))
    return recipe


def for_preview(text: str, *, allow_code: bool = False, code_folder: Path | None = None) -> Recipe:
    """Compile the recipe in `text`: YAML or JSON, as below a recipe's name in a recipe file.

    A preview stores no renditions and matches no sources, so `match` is ignored. Raises RecipeError as `for_job` does.
    """
    try:
        document = parse(text)
    except Problems as error:
        _raise_any([replace(problem, path=(*_ROOT, *problem.path)) for problem in error.problems])
        raise
    recipe = document.data
    if isinstance(recipe, dict):
        recipe = {key: value for key, value in recipe.items() if key != "match"}
    positions = {(*_ROOT, *path): position for path, position in document.positions.items()}
    whole = Document({"recipes": {_FOLDER: recipe}}, positions)
    return replace(_compile(whole, [], allow_code=allow_code, code_folder=code_folder), name=f"{MARK}preview")


def _compile(whole: Document, problems: list[Problem], *, allow_code: bool, code_folder: Path | None) -> Recipe:
    _raise_any(problems)
    try:
        model = FileModel.model_validate_json(json.dumps(whole.data))
    except ValidationError as error:
        _raise_any(explain(error, whole, allow_code=allow_code))
        raise
    compiler = RecipeCompiler(model, whole, code_folder, allow_code)
    (recipe,) = compiler.recipes()
    _raise_any(compiler.problems)
    return recipe


def _raise_any(problems: list[Problem]) -> None:
    """Raise RecipeError if there are problems, one line for each."""
    if problems:
        raise RecipeError("\n".join(map(_line, problems))) from None


def _line(problem: Problem) -> str:
    """Return a problem with its position in the text, if it has one, and its path within the recipe."""
    path = dotted(problem.path[len(_ROOT) :]) if problem.path[: len(_ROOT)] == _ROOT else ""
    position = (problem.line, problem.column)
    where = f"line {problem.line}, column {problem.column}: " if position != (1, 1) else ""
    return f"{where}{path + ': ' if path else ''}{problem.message}"
