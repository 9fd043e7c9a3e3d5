"""Generated files and pages match the code."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from pipeline import recipes
from pipeline.engine.protocol import Limits
from pipeline.engine.transforms.registry import FIRST, TRANSFORMS
from pipeline.recipes import explain, output_paths, reference, schema

ROOT = Path(__file__).parents[2]


def test_schema_file_is_current() -> None:
    assert (ROOT / "recipes.schema.json").read_text(encoding="utf-8") == schema.text(), "run scripts/docs"


def test_transforms_page_is_current_and_has_all_images() -> None:
    assert (ROOT / "docs/transforms.md").read_text(encoding="utf-8") == reference.as_markdown("transforms"), (
        "run scripts/docs"
    )
    names = {file.stem for file in (ROOT / "docs/transforms").iterdir()}
    assert names == set(TRANSFORMS) - set(FIRST)


def _resolved(node: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        node = whole["$defs"][node["$ref"].rpartition("/")[2]]
    return node


def _fits(value: Any, node: dict[str, Any], whole: dict[str, Any]) -> bool:
    """Validate the part of JSON Schema that the schema uses: objects, lists, constants and choices."""
    node = _resolved(node, whole)
    for key in ("oneOf", "anyOf"):
        if key in node:
            count = sum(_fits(value, each, whole) for each in node[key])
            return count == 1 if key == "oneOf" else count >= 1
    if "const" in node or "enum" in node:
        return value in node.get("enum", [node.get("const")])
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}
    if node.get("type") == "null" or value is None:
        return value is None and node.get("type", "null") == "null"
    if "type" in node and not isinstance(value, kinds[node["type"]]):
        return False
    if isinstance(value, list):
        return all(_fits(item, node.get("items", {}), whole) for item in value)
    if not isinstance(value, dict):
        return True
    properties, other = node.get("properties", {}), node.get("additionalProperties", True)
    if not set(node.get("required", ())) <= set(value):
        return False
    if other is False and not set(value) <= set(properties):
        return False
    rest = next(iter(node.get("patternProperties", {}).values()), other if isinstance(other, dict) else {})
    return all(_fits(item, properties.get(key, rest), whole) for key, item in value.items())


def _data(text: str) -> Any:
    from pipeline.recipes.yaml_loader import parse

    return parse(text).data


@pytest.mark.parametrize(
    ("step", "fits"),
    [
        *((each.example.removeprefix("- "), True) for each in reference.transforms()),
        ("sharpen", True),
        ("sharpen:", True),
        ("blur: 4", True),
        ("use: block", True),
        ("blurr: 4", False),
        ("resize: {widht: 4}", False),
        ("rotate: {}", False),
    ],
)
def test_schema_accepts_the_same_files_as_loading(step: str, fits: bool) -> None:
    lines = "\n".join(f"        {line}" for line in step.splitlines())
    text = f"recipes:\n  a:\n    transforms:\n      -\n{lines}\n    renditions: {{b: {{format: webp}}}}\n"
    whole = schema.schema()
    assert _fits(_data(text), whole, whole) == fits
    assert _fits(_data((ROOT / "recipes.yaml").read_text(encoding="utf-8")), whole, whole)


def test_explain_lists_all_steps_in_order() -> None:
    (one,) = recipes.loads("""
recipes:
  one:
    description: portraits
    limits: {max_frames: 5}
    transforms:
      - to_srgb: {intent: relative}
      - crop: {aspect: 3:4, gravity: [focal, smart]}
      - watermark: {image: logo.png}
    renditions:
      a: {format: webp, transforms: [sharpen], max_bytes: 5000, keep: [copyright]}
      b: {format: auto}
""")
    lines = explain.explain(one).splitlines()
    assert lines[0] == "recipe one: portraits"
    order = [line.split(". ", 1)[1] for line in lines if line.startswith("    ")]
    assert order == [
        "detect the format, check the limits",
        "decode once, as small as the renditions allow (truncated files: fail)",
        "convert the colors to sRGB (intent relative)",
        "rotate upright by the EXIF orientation",
        "crop: aspect 3:4, gravity focal,smart",
        "watermark: image logo.png",
        "sharpen",
        "encode as webp (quality 80, lossless no, effort 4)",
        "with max_bytes 5000, keep copyright",
        "decode again, check size and limits",
        "encode as auto (quality 80, among avif,webp,jpeg)",
        "strip metadata, decode again, check size and limits",
    ]


def test_explain_shows_the_job_document() -> None:
    (one,) = recipes.loads("recipes: {one: {renditions: {a: {format: png}}}}")
    limits = Limits(max_pixels=1, max_frames=1, max_rendition_bytes=1, max_rendition_pixels=1)
    assert json.loads(explain.job_text(one, limits, ["PNG"]))["renditions"][0]["name"] == "a"


def test_text_list_has_all_transforms_and_parameters() -> None:
    text = reference.as_text()
    for name, kind in TRANSFORMS.items():
        assert f"{name}: " in text
        assert all(f"    {field.name} (" in text for field in fields(kind))


BLOCKS = re.findall(r"```yaml( code)?\n(.*?)```", (ROOT / "docs/recipes.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize(("code", "text"), BLOCKS)
def test_every_example_of_the_guide_loads(code: str, text: str) -> None:
    assert recipes.loads(text, allow_code=bool(code)).names


def test_the_guide_has_every_field_of_a_path() -> None:
    page = (ROOT / "docs/recipes.md").read_text(encoding="utf-8")
    assert all(f"`{{{name}}}`" in page for name in output_paths.FIELDS)
