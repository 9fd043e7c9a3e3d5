"""Forms out of the transforms' own parameter descriptions: one field per parameter, and values back out of its text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from pydantic import TypeAdapter

from pipeline.engine.base import Transform
from pipeline.engine.constraints import NAMED_COLORS
from pipeline.engine.encode.formats import FORMATS, Format
from pipeline.engine.transforms.registry import FIRST, TRANSFORMS
from pipeline.recipes import yaml_loader

Schema = dict[str, Any]
Control = Literal["number", "select", "check", "text", "area"]
NOTHING = object()
WHOLE = re.compile(r"-?\d+")
DECIMAL = re.compile(r"-?(\d+\.?\d*|\.\d+)")
LONG = 200
"""Texts that may be longer than this get several lines."""


@dataclass(frozen=True)
class Field:
    """One parameter as a field of a form: its control, its value as text, and what may be typed."""

    name: str
    control: Control
    help: str
    value: str
    default: str
    needed: bool
    options: list[str] = field(default_factory=list)
    low: float | None = None
    high: float | None = None
    whole: bool = False
    region: bool = False
    """Whether it is a box, which can be drawn on the picture."""


def transform_names() -> list[str]:
    """The transforms that can be added: those that are done to every source anyway need no adding."""
    return [*(name for name in TRANSFORMS if name not in FIRST), "frame"]


def line(name: str) -> str:
    """What a transform does, in one line."""
    return _line(TRANSFORMS[name])


def format_line(name: str) -> str:
    """What a format is for, in one line."""
    return _line(FORMATS[name])


def of_transform(name: str, values: Mapping[str, Any]) -> list[Field]:
    """The fields of a transform, with these values where they are given."""
    return _fields(_schema(TRANSFORMS[name]), values)


def of_format(name: str, values: Mapping[str, Any]) -> list[Field]:
    """The fields of a format."""
    return _fields(_schema(FORMATS[name]), values)


def read_transform(name: str, texts: Mapping[str, str]) -> dict[str, Any]:
    """The parameters of a transform out of a form's texts; those that say the default are left out."""
    return _read_all(_schema(TRANSFORMS[name]), texts)


def read_format(name: str, texts: Mapping[str, str]) -> dict[str, Any]:
    """The options of a format out of a form's texts."""
    return _read_all(_schema(FORMATS[name]), texts)


def as_text(value: Any) -> str:  # noqa: ANN401 - any parameter
    """A value as it stands in a field."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ", ".join(as_text(each) for each in value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)


def read(schema: Schema, text: str) -> Any:  # noqa: ANN401 - any parameter
    """The value that a text stands for; NOTHING for an empty one.

    What fits no type stays a text, so that the recipe's own check says what is wrong with it.
    """
    text = text.strip()
    if not text:
        return NOTHING
    return next((value for each in _kinds(schema) if (value := _as(each, text)) is not NOTHING), text)


def _as(schema: Schema, text: str) -> Any:  # noqa: ANN401
    match schema.get("type"):
        case "integer":
            return int(text) if WHOLE.fullmatch(text) and len(text) < 16 else NOTHING
        case "number":
            return float(text) if DECIMAL.fullmatch(text) else NOTHING
        case "boolean":
            return text in ("true", "on") if text in ("true", "on", "false") else NOTHING
        case "array":
            return [read(schema["items"], part) for part in text.split(",") if part.strip()]
        case "object":
            return _mapping(text)
        case _:
            fits = text in schema["enum"] if "enum" in schema else re.fullmatch(schema.get("pattern", "(?s).*"), text)
            return text if fits else NOTHING


def _mapping(text: str) -> Any:  # noqa: ANN401
    try:
        found = yaml_loader.parse(text).data
    except yaml_loader.Problems:
        return NOTHING
    return found if isinstance(found, dict) else NOTHING


@cache
def _schema(kind: type[Transform] | type[Format]) -> Schema:
    return TypeAdapter(kind).json_schema()


def _line(kind: type[Any]) -> str:
    return (kind.__doc__ or "").strip().splitlines()[0]


def _kinds(schema: Schema) -> list[Schema]:
    """The types that a parameter may have."""
    return [each for each in schema.get("anyOf", [schema]) if each.get("type") != "null"]


def _fields(schema: Schema, values: Mapping[str, Any]) -> list[Field]:
    needed = schema.get("required", [])
    return [
        _field(name, each, values.get(name, each.get("default")), needed=name in needed)
        for name, each in schema.get("properties", {}).items()
    ]


def _field(name: str, schema: Schema, value: Any, *, needed: bool) -> Field:  # noqa: ANN401
    kinds = _kinds(schema)
    first = kinds[0]
    options = [*first["enum"]] if "enum" in first else []
    text = as_text(value)
    if options and text not in options:
        options = [*([] if needed or schema.get("default") is not None else [""]), *options, *([text] if text else [])]
    colour = NAMED_COLORS.keys() & set(first.get("pattern", "").strip("^$()").split("|"))
    return Field(
        name=name,
        control=_control(first, single=len(kinds) == 1, options=options),
        help=schema.get("description", ""),
        value=text,
        default=as_text(schema.get("default")),
        needed=needed,
        options=options or (list(NAMED_COLORS) if colour else []),
        low=first.get("minimum"),
        high=first.get("maximum"),
        whole=first.get("type") == "integer",
        region=first.get("type") == "array" and first.get("minItems") == first.get("maxItems") == 4,
    )


def _control(schema: Schema, *, single: bool, options: list[str]) -> Control:
    if options:
        return "select"
    kind = schema.get("type")
    if kind == "boolean":
        return "check"
    if kind in ("integer", "number") and single:
        return "number"
    long = kind == "object" or (kind == "string" and "pattern" not in schema and schema.get("maxLength", 0) > LONG)
    return "area" if long else "text"


def _read_all(schema: Schema, texts: Mapping[str, str]) -> dict[str, Any]:
    found = {}
    for name, each in schema.get("properties", {}).items():
        value = read(each, texts.get(name, ""))
        if value is not NOTHING and value != each.get("default"):
            found[name] = value
    return found
