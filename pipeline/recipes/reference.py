"""Reference of transforms and formats: parameters and examples, generated from the classes of the engine."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Template
from pydantic import TypeAdapter

from pipeline.engine.base import Transform
from pipeline.engine.constraints import NAMED_COLORS
from pipeline.engine.encode.formats import FORMATS, Format
from pipeline.engine.encode.output import Output
from pipeline.engine.transforms.registry import FIRST, TRANSFORMS

TEMPLATE = Path(__file__).with_name("transforms.md.jinja")


@dataclass(frozen=True)
class Parameter:
    """A parameter: name, values, default and meaning, as text."""

    name: str
    kind: str
    default: str
    help: str


@dataclass(frozen=True)
class Entry:
    """A transform or format: name, summary, parameters, an example in YAML, and the parameter of the short form."""

    name: str
    summary: str
    parameters: list[Parameter]
    example: str
    shorthand: str | None


def transforms() -> list[Entry]:
    """Return all transforms, in the order of the registry."""
    return [_transform(kind) for kind in TRANSFORMS.values()]


def formats() -> list[Entry]:
    """Return all formats of renditions."""
    return [
        Entry(name, _summary(kind), _parameters(kind), f"- {{format: {name}}}", None) for name, kind in FORMATS.items()
    ]


def outputs() -> list[Parameter]:
    """Return the parameters that renditions of all formats have."""
    return _parameters(Output)


def as_text() -> str:
    """Return all transforms as text for a terminal."""
    lines: list[str] = []
    for entry in transforms():
        lines.append(f"{entry.name}: {entry.summary}")
        lines += [f"    {each.name} ({each.kind}; {each.default}): {each.help}" for each in entry.parameters]
        lines += [*(f"    | {line}" for line in entry.example.splitlines()), ""]
    return "\n".join(lines)


def as_markdown(images: str | None = None) -> str:
    """Return the page `docs/transforms.md`.

    Args:
        images: The folder of the images, relative to the page: one for each transform that has a visible effect.
    """
    template = Template(TEMPLATE.read_text(encoding="utf-8"), trim_blocks=True, lstrip_blocks=True)
    page: str = template.render(
        colors=", ".join(NAMED_COLORS),
        transforms=transforms(),
        formats=formats(),
        outputs=outputs(),
        images=images,
        without_image=FIRST,
    )
    return page


def _transform(kind: type[Transform]) -> Entry:
    example = yaml.dump([{kind.name: kind.example} if kind.example else kind.name], sort_keys=False, width=100).strip()
    return Entry(kind.name, _summary(kind), _parameters(kind), example, kind.shorthand)


def _summary(kind: type[Any]) -> str:
    return (kind.__doc__ or "").strip().splitlines()[0]


def _parameters(kind: type[Transform] | type[Format] | type[Output]) -> list[Parameter]:
    schema = TypeAdapter(kind).json_schema()
    required = schema.get("required", [])
    return [
        Parameter(name, _kind(field), "required" if name in required else _default(field), field.get("description", ""))
        for name, field in schema.get("properties", {}).items()
    ]


def _kind(field: dict[str, Any]) -> str:
    """Describe the values of a parameter by its JSON schema: `number, 0 to 10`, `color`, `a · b`."""
    if "enum" in field:
        return " · ".join(str(value) for value in field["enum"])
    if "anyOf" in field:
        kinds = [_kind(option) for option in field["anyOf"] if option.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    kind, low = field.get("type", ""), field.get("minimum")
    if kind in {"integer", "number"}:
        name = "whole number" if kind == "integer" else "number"
        return name if low is None else f"{name}, {low:g} to {field.get('maximum'):,g}"
    if kind == "array":
        return f"list of ({_kind(field.get('items', {}))})"
    patterns = {"#[0-9": "color", ")%$": "percentage", ":[1-9]": "width:height"}
    names = (name for part, name in patterns.items() if part in field.get("pattern", ""))
    return next(names, {"string": "text", "boolean": "true or false", "object": "mapping"}.get(kind, "any"))


def _default(field: dict[str, Any]) -> str:
    default = field.get("default")
    return "none" if default in (None, [], {}) else json.dumps(default).strip('"')
