"""Forms from the parameter schemas of transforms and formats: one field per parameter, and parsing of their values."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from pydantic import TypeAdapter

from pipeline.engine.base import Transform
from pipeline.engine.constraints import NAMED_COLORS
from pipeline.engine.encode.formats import Format
from pipeline.engine.transforms.registry import FIRST, TRANSFORMS
from pipeline.recipes import yaml_loader

Kind = type[Transform] | type[Format]
Schema = dict[str, Any]
Control = Literal["number", "select", "check", "text", "area"]
MISSING = object()
"""The value of an empty field, and of a text that does not fit a type."""
INTEGER = re.compile(r"-?\d+")
DECIMAL = re.compile(r"-?(\d+\.?\d*|\.\d+)")
MAX_SINGLE_LINE_CHARACTERS = 200
"""A parameter that may be longer gets a field of several lines."""


@dataclass(frozen=True)
class Field:
    """A form field for one parameter: its control, its value as text, and the allowed values."""

    name: str
    control: Control
    help: str
    value: str
    default: str
    required: bool
    options: list[str] = field(default_factory=list)
    minimum: float | None = None
    maximum: float | None = None
    is_integer: bool = False
    is_box: bool = False
    """True if the parameter is a box that users can draw on the image."""


def transform_names() -> list[str]:
    """Return the transforms that users can add; those that apply to every source are left out."""
    return [*(name for name in TRANSFORMS if name not in FIRST), "frame"]


def summary(kind: Kind) -> str:
    """Return the description of a transform or format in one line."""
    return (kind.__doc__ or "").strip().splitlines()[0]


def fields(kind: Kind, values: Mapping[str, Any]) -> list[Field]:
    """Return the fields of a transform or format with these values; other fields have their defaults."""
    schema = _schema(kind)
    required = schema.get("required", [])
    return [
        _field(name, each, values.get(name, each.get("default")), required=name in required)
        for name, each in schema.get("properties", {}).items()
    ]


def parse(kind: Kind, texts: Mapping[str, str]) -> dict[str, Any]:
    """Parse the parameters of a transform or format from form fields; those with their default are left out."""
    properties = _schema(kind).get("properties", {})
    parsed = ((name, each, parse_value(each, texts.get(name, ""))) for name, each in properties.items())
    return {name: value for name, each, value in parsed if value is not MISSING and value != each.get("default")}


def to_text(value: Any) -> str:  # noqa: ANN401 - any parameter
    """Return a parameter as the text of a form field."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ", ".join(to_text(each) for each in value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)


def parse_value(schema: Schema, text: str) -> Any:  # noqa: ANN401 - any parameter
    """Parse the text of a field by its schema; MISSING for an empty text.

    A text that fits no type stays a text: the validation of the recipe then reports the error.
    """
    text = text.strip()
    if not text:
        return MISSING
    values = (_parse_as(each, text) for each in _types(schema))
    return next((value for value in values if value is not MISSING), text)


def _parse_as(schema: Schema, text: str) -> Any:  # noqa: ANN401
    match schema.get("type"):
        case "integer":
            return int(text) if INTEGER.fullmatch(text) and len(text) < 16 else MISSING
        case "number":
            return float(text) if DECIMAL.fullmatch(text) else MISSING
        case "boolean":
            return text in ("true", "on") if text in ("true", "on", "false") else MISSING
        case "array":
            return [parse_value(schema["items"], part) for part in text.split(",") if part.strip()]
        case "object":
            return _parse_mapping(text)
        case _:
            fits = text in schema["enum"] if "enum" in schema else re.fullmatch(schema.get("pattern", "(?s).*"), text)
            return text if fits else MISSING


def _parse_mapping(text: str) -> Any:  # noqa: ANN401
    try:
        data = yaml_loader.parse(text).data
    except yaml_loader.Problems:
        return MISSING
    return data if isinstance(data, dict) else MISSING


@cache
def _schema(kind: Kind) -> Schema:
    return TypeAdapter(kind).json_schema()


def _types(schema: Schema) -> list[Schema]:
    """Return the schemas of the types that a parameter may have, without null."""
    return [each for each in schema.get("anyOf", [schema]) if each.get("type") != "null"]


def _field(name: str, schema: Schema, value: Any, *, required: bool) -> Field:  # noqa: ANN401
    types = _types(schema)
    first = types[0]
    options = [*first["enum"]] if "enum" in first else []
    text = to_text(value)
    if options and text not in options:
        empty = [] if required or schema.get("default") is not None else [""]
        options = [*empty, *options, *([text] if text else [])]
    is_color = NAMED_COLORS.keys() & set(first.get("pattern", "").strip("^$()").split("|"))
    return Field(
        name=name,
        control=_control(first, is_single_type=len(types) == 1, options=options),
        help=schema.get("description", ""),
        value=text,
        default=to_text(schema.get("default")),
        required=required,
        options=options or (list(NAMED_COLORS) if is_color else []),
        minimum=first.get("minimum"),
        maximum=first.get("maximum"),
        is_integer=first.get("type") == "integer",
        is_box=first.get("type") == "array" and first.get("minItems") == first.get("maxItems") == 4,
    )


def _control(schema: Schema, *, is_single_type: bool, options: list[str]) -> Control:
    if options:
        return "select"
    kind = schema.get("type")
    if kind == "boolean":
        return "check"
    if kind in ("integer", "number") and is_single_type:
        return "number"
    is_long = "pattern" not in schema and schema.get("maxLength", 0) > MAX_SINGLE_LINE_CHARACTERS
    return "area" if kind == "object" or (kind == "string" and is_long) else "text"
