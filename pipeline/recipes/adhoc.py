"""Recipes that come with a request: in the language of the file, but without a name, a match and a path of their own.

Such a recipe is called after its content, so that the same one asked for twice is one recipe, and its renditions lie
in a folder of that name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.errors import RecipeError

from . import conflicts
from .compiler import RecipeCompiler
from .error_messages import explain
from .loading import Recipes
from .model import FileModel
from .recipe import Recipe
from .yaml_loader import Document, Problem, Problems, dotted, parse

GROUP = "_adhoc"
# No recipe of a file can be called so: their names start with a letter or digit.
MARK = f"{GROUP}-"
_NAME = re.compile(rf"{MARK}[0-9a-f]{{32}}")
_FOLDER = "adhoc"
_PLACE = ("recipes", _FOLDER)
_JOB_KEYS = ("transforms", "renditions")


def is_name(name: str) -> bool:
    """Whether a recipe of this name came with a request."""
    return _NAME.fullmatch(name) is not None


def name_of(document: Mapping[str, Any]) -> str:
    """The name of a recipe with this content. The order of its keys does not count."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return MARK + hashlib.sha256(text.encode()).hexdigest()[:32]


def for_job(
    document: Mapping[str, Any], *, allow_code: bool = False, code: Path | None = None, beside: Recipes | None = None
) -> Recipe:
    """The recipe in `document`: `transforms` and `renditions`, nothing else. RecipeError lists what is wrong with it.

    `beside` are the recipes of the file where input and output share a container: what this one writes may then not
    be what one of them takes.
    """
    name = name_of(document)
    path = f"{_FOLDER}/{name.removeprefix(MARK)}/{{path}}/{{rendition}}.{{ext}}"
    given = Document({"recipes": {_FOLDER: dict(document)}})
    problems = [
        given.problem((*_PLACE, key), f"a request's recipe has {' and '.join(_JOB_KEYS)}, nothing else")
        for key in document
        if key not in _JOB_KEYS
    ]
    problems += [
        given.problem((*_PLACE, "renditions", each, "path"), "where it goes is not the request's to say: remove it")
        for each, rendition in _entries(document.get("renditions"))
        if "path" in rendition
    ]
    recipe = _built(given, problems, allow_code=allow_code, code=code)
    recipe = replace(recipe, name=name, renditions=tuple(replace(each, path=path) for each in recipe.renditions))
    if beside is not None:
        _refuse(list(conflicts.loops([recipe, *beside], given)))
    return recipe


def for_preview(text: str, *, allow_code: bool = False, code: Path | None = None) -> Recipe:
    """The recipe in `text`, YAML or JSON, as it stands below its name in a recipe file. RecipeError as above.

    Nothing is kept of what it makes and no source is looked for, so that its match may be there and is not looked at.
    """
    try:
        document = parse(text)
    except Problems as found:
        placed = [replace(problem, path=(*_PLACE, *problem.path)) for problem in found.problems]
        raise RecipeError("\n".join(_line(problem) for problem in placed)) from None
    places = {(*_PLACE, *path): place for path, place in document.places.items()}
    recipe = document.data
    if isinstance(recipe, dict):
        recipe = {key: value for key, value in recipe.items() if key != "match"}
    given = Document({"recipes": {_FOLDER: recipe}}, places)
    return replace(_built(given, [], allow_code=allow_code, code=code), name=f"{MARK}preview")


def _entries(renditions: Any) -> list[tuple[str, dict[str, Any]]]:  # noqa: ANN401 - whatever was sent
    """The renditions that have the form of one; the model tells the others."""
    found = renditions.items() if isinstance(renditions, dict) else ()
    return [(name, each) for name, each in found if isinstance(each, dict)]


def _built(given: Document, problems: list[Problem], *, allow_code: bool, code: Path | None) -> Recipe:
    _refuse(problems)
    try:
        model = FileModel.model_validate_json(json.dumps(given.data))
    except ValidationError as error:
        _refuse(explain(error, given, allow_code=allow_code))
        raise AssertionError("unreachable: what pydantic refuses has a problem") from error
    builder = RecipeCompiler(model, given, code, allow_code)
    (recipe,) = builder.recipes()
    _refuse(builder.problems)
    return recipe


def _refuse(problems: list[Problem]) -> None:
    """Raise what is wrong, each with its place: the line of a text, the key of a document."""
    if problems:
        raise RecipeError("\n".join(_line(problem) for problem in problems))


def _line(problem: Problem) -> str:
    at = dotted(problem.path[len(_PLACE) :]) if problem.path[: len(_PLACE)] == _PLACE else ""
    where = f"line {problem.line}, column {problem.column}: " if (problem.line, problem.column) != (1, 1) else ""
    return f"{where}{at}: {problem.message}" if at else f"{where}{problem.message}"
