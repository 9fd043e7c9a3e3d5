"""The shape of the recipe file as JSON Schema, for editors that complete and check while one types."""

from __future__ import annotations

import json
from typing import Any

from pipeline.engine.transforms.registry import TRANSFORMS

from .model import FileModel
from .steps import STEP_MODELS

DRAFT = "https://json-schema.org/draft/2020-12/schema"
_REFERENCE = "#/$defs/"


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the recipe file."""
    found = FileModel.model_json_schema(by_alias=True)
    definitions = found["$defs"]
    names = {f"{_REFERENCE}{model.__name__}" for model in STEP_MODELS.values()}
    for name, model in STEP_MODELS.items():
        _open_shorthand(definitions, name, definitions[model.__name__]["properties"])
    for definition in (found, *definitions.values()):
        _shorten(definition, names)
    definitions["Step"] = _step()
    definitions["StepOrUse"] = {"oneOf": [*_step()["oneOf"], {"$ref": f"{_REFERENCE}Use"}]}
    return {"$schema": DRAFT, **found, "title": "Recipes"}


def text() -> str:
    """The schema as the file `recipes.schema.json` holds it."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def _step() -> dict[str, Any]:
    """Any transform: a mapping of its name, or the name alone."""
    models = [{"$ref": f"{_REFERENCE}{model.__name__}"} for model in STEP_MODELS.values()]
    return {"oneOf": [*models, {"enum": list(STEP_MODELS), "description": "a transform with its default parameters"}]}


def _open_shorthand(definitions: dict[str, Any], name: str, properties: dict[str, Any]) -> None:
    """The parameter that may be written alone, or nothing at all after the colon."""
    kind = TRANSFORMS[name]
    reference = properties[name]
    options: list[dict[str, Any]] = [reference, {"type": "null"}]
    if kind.shorthand:
        parameters = definitions[kind.__name__]["properties"]
        options.append({key: value for key, value in parameters[kind.shorthand].items() if key != "default"})
    properties[name] = {"anyOf": options}


def _shorten(node: Any, names: set[str]) -> None:  # noqa: ANN401 - any part of a schema
    """One reference instead of each list of all transforms; a constant instead of a pattern that fits one word."""
    if isinstance(node, list):
        for item in node:
            _shorten(item, names)
    if not isinstance(node, dict):
        return
    references = {each.get("$ref") for each in node.get("oneOf", ()) if isinstance(each, dict)}
    if names <= references:
        node["$ref"] = _REFERENCE + ("StepOrUse" if f"{_REFERENCE}Use" in references else "Step")
        del node["oneOf"]
    pattern = node.get("pattern", "")
    if isinstance(pattern, str) and pattern.strip("^$").isalnum() and pattern != pattern.strip("^$"):
        node["const"] = node.pop("pattern").strip("^$")
    for key, value in node.items():
        if key != "example":
            _shorten(value, names)
