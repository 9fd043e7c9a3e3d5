"""What pydantic finds wrong, in words for the person who wrote the file: where it stands and what to change."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.engine.transforms.code import Code
from pipeline.engine.transforms.registry import TRANSFORMS

from .model import RENDITION_MODELS, Defaults, FileModel, Match, RecipeLimits, RecipeModel, Size
from .yaml_loader import Document, KeyPath, Problem

_MODELS: dict[str, type[BaseModel]] = {"match": Match, "size": Size, "limits": RecipeLimits, "defaults": Defaults}
_BOUNDS = {
    "greater_than_equal": "must be {ge} or more",
    "less_than_equal": "must be {le} or less",
    "too_short": "needs {min_length} or more items",
    "too_long": "may have {max_length} items",
}
# What pydantic calls by its JSON names, in the words of YAML.
_KINDS = dict.fromkeys(("list_type", "tuple_type"), "a list")
_KINDS |= dict.fromkeys(("dict_type", "model_type", "model_attributes_type", "dataclass_type"), "a mapping")


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """Advice for a word that is not known: the nearest one that is, or all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(str(word), known, n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(known)}"


def explain(error: ValidationError, document: Document, *, allow_code: bool = False) -> list[Problem]:
    """The problems that pydantic found, one per place, in the order of the file."""
    transforms = [*(name for name in TRANSFORMS if allow_code or name != Code.name), "use"]
    found: dict[KeyPath, Problem] = {}
    for detail in error.errors(include_url=False):
        path = _path(detail, document.data)
        found.setdefault(path, document.problem(path, _message(detail, transforms)))
    return list(found.values())


def _path(detail: ErrorDetails, data: Any) -> KeyPath:  # noqa: ANN401 - whatever the file holds
    """The error's place in the file: pydantic's, without the names of models and union members that it puts between."""
    path: list[str | int] = []
    for key in detail["loc"]:
        inside = key in data if isinstance(data, dict) else isinstance(data, list) and isinstance(key, int)
        if inside:
            data = data[key]
            path.append(key)
    if detail["type"] == "missing":
        path.append(detail["loc"][-1])
    return tuple(path)


def _message(detail: ErrorDetails, transforms: list[str]) -> str:
    kind, value = detail["type"], detail["input"]
    if kind in {"extra_forbidden", "unexpected_keyword_argument"}:
        return f"this key is not known here; {did_you_mean(detail['loc'][-1], _vocabulary(detail['loc']))}"
    if kind.startswith("union_tag"):
        return _union_message(detail, transforms)
    if kind == "missing":
        return "this key is needed"
    if kind in {"value_error", "assertion_error"}:
        return detail["msg"].partition(", ")[2]
    if kind == "string_pattern_mismatch" and detail["loc"][-1] == "[key]":
        return f"the name {value!r} must be 1 to 40 of a-z, 0-9, - and _, and start with a letter or digit"
    if kind in _BOUNDS:
        return f"{_BOUNDS[kind].format(**detail['ctx'])}, not {_shown(value)}"
    if kind in _KINDS:
        return f"must be {_KINDS[kind]}, not {_shown(value)}"
    return f"{_lower(detail['msg'].replace('Input should', 'must'))}, not {_shown(value)}"


def _union_message(detail: ErrorDetails, transforms: list[str]) -> str:
    """A transform or a format that is not known, or not named."""
    value = detail["input"]
    if not {"transforms", "blocks"} & set(detail["loc"]):
        name = value.get("format") if isinstance(value, dict) else None
        if name is None:
            return f"a rendition needs its format: one of {', '.join(RENDITION_MODELS)}"
        return f"there is no format {name!r}; {did_you_mean(name, RENDITION_MODELS)}"
    if isinstance(value, dict) and len(value) == 1:
        return f"there is no transform {next(iter(value))!r}; {did_you_mean(next(iter(value)), transforms)}"
    return "a transform is its name and its parameters, like `- resize: {width: 800}`, one to each dash"


def _vocabulary(loc: tuple[int | str, ...]) -> list[str]:
    """The keys that are known where an unknown one stands."""
    parents = loc[:-1]
    model: type[BaseModel] | None = None
    if not parents:
        model = FileModel
    elif parents[-1] in TRANSFORMS and parents[-2:] == (parents[-1],) * 2:
        return [field.name for field in fields(TRANSFORMS[str(parents[-1])])]
    elif parents[-1] in RENDITION_MODELS:
        model = RENDITION_MODELS[str(parents[-1])]
    elif parents[-1] in _MODELS:
        model = _MODELS[str(parents[-1])]
    elif len(parents) == 2:
        model = RecipeModel
    return [field.alias or name for name, field in model.model_fields.items()] if model else []


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
