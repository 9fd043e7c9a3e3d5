"""The transforms and formats with their parameters and examples, out of the code that runs them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import TypeAdapter

from pipeline.engine.base import Transform
from pipeline.engine.constraints import NAMED_COLORS
from pipeline.engine.encode.formats import FORMATS, Format
from pipeline.engine.encode.output import Output
from pipeline.engine.transforms.registry import FIRST, TRANSFORMS


@dataclass(frozen=True)
class Parameter:
    """One parameter in words."""

    name: str
    kind: str
    default: str
    help: str


@dataclass(frozen=True)
class Entry:
    """One transform or format: its name, its line, its parameters, and an example as it stands in a recipe."""

    name: str
    line: str
    parameters: list[Parameter]
    example: str
    shorthand: str | None


def transforms() -> list[Entry]:
    """Every transform, in the order of the registry."""
    return [_transform(kind) for kind in TRANSFORMS.values()]


def formats() -> list[Entry]:
    """Every format that a rendition can name."""
    return [
        Entry(name, _line(kind), _parameters(kind), f"- {{format: {name}}}", None) for name, kind in FORMATS.items()
    ]


def outputs() -> list[Parameter]:
    """What every rendition can say, whatever its format."""
    return _parameters(Output)


def as_text() -> str:
    """All transforms for a terminal."""
    return "\n".join(line for entry in transforms() for line in _entry_text(entry))


def as_markdown(pictures: str | None = None) -> str:
    """The page `docs/transforms.md`. `pictures` is the folder, relative to the page, of one picture for each."""
    return "\n".join(_page(pictures)) + "\n"


def _transform(kind: type[Transform]) -> Entry:
    example = yaml.dump([{kind.name: kind.example} if kind.example else kind.name], sort_keys=False, width=100).strip()
    return Entry(kind.name, _line(kind), _parameters(kind), example, kind.shorthand)


def _line(kind: type[Any]) -> str:
    return (kind.__doc__ or "").strip().splitlines()[0]


def _parameters(kind: type[Transform] | type[Format] | type[Output]) -> list[Parameter]:
    schema = TypeAdapter(kind).json_schema()
    needed = schema.get("required", [])
    return [
        Parameter(name, _kind(field), "needed" if name in needed else _default(field), field.get("description", ""))
        for name, field in schema.get("properties", {}).items()
    ]


def _kind(field: dict[str, Any]) -> str:
    """A type in words: number 0 to 10, color, one of a, b."""
    if "enum" in field:
        return " · ".join(str(value) for value in field["enum"])
    if "anyOf" in field:
        kinds = [_kind(option) for option in field["anyOf"] if option.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if field.get("type") in {"integer", "number"}:
        low, high = field.get("minimum"), field.get("maximum")
        word = "whole number" if field["type"] == "integer" else "number"
        return word if low is None else f"{word}, {low:g} to {high:,g}"
    if field.get("type") == "array":
        return f"list of ({_kind(field.get('items', {}))})"
    pattern = field.get("pattern", "")
    special = {"#[0-9": "color", ")%$": "percentage", ":[1-9]": "width:height"}
    found = next((word for sign, word in special.items() if sign in pattern), None)
    return found or {"string": "text", "boolean": "true or false", "object": "mapping"}.get(
        field.get("type", ""), "any"
    )


def _default(field: dict[str, Any]) -> str:
    default = field.get("default")
    return "none" if default in (None, [], {}) else json.dumps(default).strip('"')


def _entry_text(entry: Entry) -> Iterator[str]:
    yield f"{entry.name}: {entry.line}"
    for each in entry.parameters:
        yield f"    {each.name} ({each.kind}; {each.default}): {each.help}"
    yield from (f"    | {line}" for line in entry.example.splitlines())
    yield ""


def _page(pictures: str | None) -> Iterator[str]:
    yield "# Transforms and formats"
    yield ""
    yield "`scripts/docs` generates this page from the code; a test checks that it is current."
    yield ""
    yield "A session detects the format of a source from its first bytes, checks it against the limits, decodes it"
    yield "once, converts it to sRGB and rotates it upright. Then it applies the transforms of the recipe, and for each"
    yield "rendition its own transforms and its encoder. Coordinates refer to the upright image. Lengths are pixels, or"
    yield "percentages in quotes."
    yield ""
    yield "A color is `'#rgb'`, `'#rrggbb'` or `'#rrggbbaa'` (`aa` from 00, transparent, to ff, opaque) in quotes, as"
    yield "a bare `#` starts a comment in YAML, or one of these names:"
    yield f"{', '.join(NAMED_COLORS)}."
    yield ""
    yield "## Transforms"
    for entry in transforms():
        yield from _section(entry, pictures)
    yield ""
    yield "## Formats"
    for entry in formats():
        yield from ("", f"### `format: {entry.name}`", "", entry.line, "")
        yield from _table(entry.parameters)
    yield from ("", "## Options of every rendition", "")
    yield from _table(outputs())


def _section(entry: Entry, pictures: str | None) -> Iterator[str]:
    yield from ("", f"### `{entry.name}`", "", entry.line, "")
    if pictures and entry.name not in FIRST:
        yield from (f"![{entry.name}]({pictures}/{entry.name}.webp)", "")
    yield from ("```yaml", entry.example, "```", "")
    yield from _table(entry.parameters)
    if entry.shorthand:
        yield from ("", f"Shorthand for `{entry.shorthand}` alone: `- {entry.name}: …`")


def _table(parameters: list[Parameter]) -> Iterator[str]:
    if not parameters:
        yield "No parameters."
        return
    yield "| parameter | values | default | meaning |"
    yield "|---|---|---|---|"
    for each in parameters:
        kind = each.kind.replace("|", "\\|")
        yield f"| `{each.name}` | {kind} | {each.default} | {each.help} |"
