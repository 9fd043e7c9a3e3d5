"""Error messages for recipe files: pydantic's validation errors in terms of YAML, with position and remedy."""

import difflib
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.engine.transforms.code import Code
from pipeline.engine.transforms.registry import TRANSFORMS
from pipeline.recipes.model import RENDITION_MODELS, Defaults, FileModel, Match, RecipeLimits, RecipeModel, Size
from pipeline.recipes.yaml_loader import Document, KeyPath, Problem

_MODELS: dict[str, type[BaseModel]] = {
    "match": Match,
    "size": Size,
    "limits": RecipeLimits,
    "defaults": Defaults,
    **RENDITION_MODELS,
}
_BOUNDS = {
    "greater_than_equal": "must be {ge} or more",
    "less_than_equal": "must be {le} or less",
    "too_short": "needs {min_length} or more items",
    "too_long": "may have {max_length} items",
}
# Pydantic names these types as JSON does.
_YAML_TYPES = dict.fromkeys(("list_type", "tuple_type"), "a list")
_YAML_TYPES |= dict.fromkeys(("dict_type", "model_type", "model_attributes_type", "dataclass_type"), "a mapping")


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """Return a hint for an unknown word: the most similar known word, or all known words."""
    known = sorted(known)
    similar = difflib.get_close_matches(str(word), known, n=1, cutoff=0.6)
    return f"did you mean {similar[0]!r}?" if similar else f"choose one of: {', '.join(known)}"


def explain(error: ValidationError, document: Document, *, allow_code: bool = False) -> list[Problem]:
    """Return the problems in a validation error, one for each key path, in the order of the file.

    The transform `code` is suggested only with `allow_code`.
    """
    transforms = [*(name for name in TRANSFORMS if allow_code or name != Code.name), "use"]
    problems: dict[KeyPath, Problem] = {}
    for detail in error.errors(include_url=False):
        path = _path(detail, document.data)
        problems.setdefault(path, document.problem(path, _message(detail, transforms)))
    return list(problems.values())


def _path(detail: ErrorDetails, data: Any) -> KeyPath:  # noqa: ANN401 - any plain data
    """Return the key path of an error: pydantic's location, without the names of models and union members in it."""
    path: list[str | int] = []
    for key in detail["loc"]:
        if key in data if isinstance(data, dict) else isinstance(data, list) and isinstance(key, int):
            data = data[key]
            path.append(key)
    if detail["type"] == "missing":
        path.append(detail["loc"][-1])
    return tuple(path)


def _message(detail: ErrorDetails, transforms: list[str]) -> str:
    kind, value, loc = detail["type"], detail["input"], detail["loc"]
    if kind in {"extra_forbidden", "unexpected_keyword_argument"}:
        return f"unknown key; {did_you_mean(loc[-1], _known_keys(loc[:-1]))}"
    if kind.startswith("union_tag"):
        is_transform = {"transforms", "blocks"} & set(loc)
        return _transform_message(value, transforms) if is_transform else _format_message(value)
    if kind == "missing":
        return "this key is required"
    if kind in {"value_error", "assertion_error"}:
        return detail["msg"].partition(", ")[2]
    if kind == "string_pattern_mismatch" and loc[-1] == "[key]":
        return f"the name {value!r} must be 1 to 40 of a-z, 0-9, - and _, and start with a letter or digit"
    if kind in _BOUNDS:
        rule = _BOUNDS[kind].format(**detail["ctx"])
    elif kind in _YAML_TYPES:
        rule = f"must be {_YAML_TYPES[kind]}"
    else:
        rule = detail["msg"].replace("Input should", "must")
        rule = rule[0].lower() + rule[1:]
    shown = "nothing" if value is None else repr(value)
    return f"{rule}, not {shown if len(shown) <= 60 else shown[:57] + '...'}"


def _format_message(rendition: object) -> str:
    name = rendition.get("format") if isinstance(rendition, dict) else None
    if name is None:
        return f"a rendition needs a format: one of {', '.join(RENDITION_MODELS)}"
    return f"there is no format {name!r}; {did_you_mean(name, RENDITION_MODELS)}"


def _transform_message(step: object, transforms: list[str]) -> str:
    if isinstance(step, dict) and len(step) == 1:
        (name,) = step
        return f"there is no transform {name!r}; {did_you_mean(name, transforms)}"
    return "write one transform per list item, with its parameters: `- resize: {width: 800}`"


def _known_keys(parents: tuple[int | str, ...]) -> list[str]:
    """Return the keys of the mapping at a location of pydantic, which names models and union members, too."""
    last = str(parents[-1]) if parents else ""
    if last in TRANSFORMS and parents[-2:] == (last, last):
        return [field.name for field in fields(TRANSFORMS[last])]
    by_depth: dict[int, type[BaseModel]] = {0: FileModel, 2: RecipeModel}
    model = _MODELS.get(last) or by_depth.get(len(parents))
    return [field.alias or name for name, field in model.model_fields.items()] if model else []
