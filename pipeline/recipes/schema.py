"""JSON Schema of the recipe file, for completion and validation in editors."""

import json
from typing import Any

from pipeline.engine.transforms.registry import TRANSFORMS
from pipeline.recipes.model import FileModel
from pipeline.recipes.steps import STEP_MODELS

DRAFT = "https://json-schema.org/draft/2020-12/schema"
_REFERENCE = "#/$defs/"


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the recipe file."""
    whole = FileModel.model_json_schema(by_alias=True)
    definitions = whole["$defs"]
    names = {f"{_REFERENCE}{model.__name__}" for model in STEP_MODELS.values()}
    for name, model in STEP_MODELS.items():
        _open_shorthand(definitions, name, definitions[model.__name__]["properties"])
    for definition in (whole, *definitions.values()):
        _shorten(definition, names)
    definitions["Step"] = _step()
    definitions["StepOrUse"] = {"oneOf": [*_step()["oneOf"], {"$ref": f"{_REFERENCE}Use"}]}
    return {"$schema": DRAFT, **whole, "title": "Recipes"}


def text() -> str:
    """Return the text of the file `recipes.schema.json`."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def _step() -> dict[str, Any]:
    """Return the schema of any transform: a mapping with its name as key, or the name alone."""
    models = [{"$ref": f"{_REFERENCE}{model.__name__}"} for model in STEP_MODELS.values()]
    return {"oneOf": [*models, {"enum": list(STEP_MODELS), "description": "A transform with default parameters."}]}


def _open_shorthand(definitions: dict[str, Any], name: str, properties: dict[str, Any]) -> None:
    """Allow the short forms of a transform: its main parameter alone, or no parameters."""
    kind = TRANSFORMS[name]
    reference = properties[name]
    options: list[dict[str, Any]] = [reference, {"type": "null"}]
    if kind.shorthand:
        parameters = definitions[kind.__name__]["properties"]
        options.append({key: value for key, value in parameters[kind.shorthand].items() if key != "default"})
    properties[name] = {"anyOf": options}


def _shorten(node: Any, names: set[str]) -> None:  # noqa: ANN401 - any JSON value
    """Replace each list of all transforms by a reference, and each pattern for one word by a constant."""
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
