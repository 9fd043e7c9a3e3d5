"""The OpenAPI 3.1 document, made of the table of routes and of the models that requests and answers go through."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic import BaseModel, RootModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from pipeline.api.health import API_VERSION
from pipeline.api.links import Links
from pipeline.api.problems import MEDIA_TYPE, Problem
from pipeline.api.route import Route
from pipeline.recipes import schema as recipe_schema

REFERENCE = "#/components/schemas/{model}"
BINARY: dict[str, Any] = {"type": "string", "format": "binary"}
UPLOADS = ("image/jpeg", "image/png", "image/webp", "image/gif", "application/octet-stream")
SUCCESSES = {
    200: "Done.",
    201: "Begun.",
    202: "It goes on: look again later.",
    304: "It is the one that is known.",
    503: "Not well.",
}
REFUSALS = {
    400: "The request is wrong; the detail says what to change.",
    401: "The function key is missing or wrong.",
    403: "The settings do not allow it.",
    404: "There is no such thing.",
    409: "It is in another state than that takes.",
    413: "The body is too large.",
    415: "The body is of a type that is not taken.",
    422: "The image or the recipe cannot be used; the type says why.",
    503: "A service does not answer, or no session is free.",
    504: "It took too long.",
}


class OpenApiDocument(RootModel[dict[str, Any]]):
    """An OpenAPI description."""


def document(table: Sequence[Route], links: Links) -> OpenApiDocument:
    """The description of the routes, as they are reached through `links`."""
    paths: dict[str, dict[str, Any]] = {}
    for route in table:
        paths.setdefault(f"/{route.path}", {})[route.method.lower()] = _operation(route)
    return OpenApiDocument(
        {
            "openapi": "3.1.0",
            "info": {"title": "Image pipeline", "version": API_VERSION},
            "servers": [{"url": links.base or "/"}],
            "security": [{"header": []}, {"query": []}],
            "paths": paths,
            "components": {
                "schemas": _schemas(tuple(table)),
                "securitySchemes": {
                    "header": {"type": "apiKey", "in": "header", "name": "x-functions-key"},
                    "query": {"type": "apiKey", "in": "query", "name": "code"},
                },
            },
        }
    )


def _schemas(table: Sequence[Route]) -> dict[str, Any]:
    """The schemas of all documents, with those of transforms and renditions out of the recipe file's."""
    given = _answers(table)
    models = sorted(given | {route.body for route in table if route.body}, key=lambda model: model.__name__)
    modes: list[tuple[type[BaseModel], JsonSchemaMode]]
    modes = [(model, "serialization" if model in given else "validation") for model in models]
    found: dict[str, Any] = models_json_schema(modes, ref_template=REFERENCE)[1]["$defs"]
    text = json.dumps(recipe_schema.schema()["$defs"])
    recipes = json.loads(text.replace("#/$defs/", REFERENCE.format(model="")))
    # A request's recipe is what stands below a recipe's name, with neither blocks nor places of its own.
    job, recipe = found["JobRequest"]["properties"], recipes["RecipeModel"]["properties"]
    job["transforms"] = {"type": "array", "maxItems": 50, "items": {"$ref": REFERENCE.format(model="Step")}}
    job["renditions"] = recipe["renditions"]
    return {**recipes, **found}


def _answers(table: Iterable[Route]) -> set[type[BaseModel]]:
    kinds = (kind for route in table for found in route.answers.values() for kind in _kinds(found))
    return {Problem, *(kind for kind in kinds if not isinstance(kind, str))}


def _kinds(found: type[BaseModel] | tuple[type[BaseModel] | str, ...]) -> tuple[type[BaseModel] | str, ...]:
    return found if isinstance(found, tuple) else (found,)


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "parameters": list(_parameters(route)),
        "responses": _responses(route),
    }
    content = _content(route)
    if content:
        operation["requestBody"] = {"required": route.body is None or bool(route.form), "content": content}
    return operation


def _parameters(route: Route) -> Iterator[dict[str, Any]]:
    for name in route.parameters:
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    for name, description in route.headers.items():
        yield {"name": name, "in": "header", "description": description, "schema": {"type": "string"}}
    for name in ("name", *route.form) if route.form else ():
        about = f"`{name}`, where the body is an image."
        yield {"name": name, "in": "query", "description": about, "schema": {"type": "string"}}
    properties = route.query.model_json_schema()["properties"] if route.query else {}
    for name, schema in properties.items():
        yield {"name": name, "in": "query", "description": schema.pop("description", ""), "schema": schema}


def _content(route: Route) -> dict[str, Any]:
    """What a body may be: a document, a form with an image, the image itself."""
    content: dict[str, Any] = {}
    if route.body:
        content["application/json"] = {"schema": _reference(route.body)}
    if route.form:
        fields = {"image": BINARY, **{name: {"type": "string"} for name in route.form}}
        form = {"type": "object", "properties": fields, "required": ["image"], "additionalProperties": False}
        content["multipart/form-data"] = {"schema": form}
        content |= {kind: {"schema": BINARY} for kind in UPLOADS}
    return content


def _responses(route: Route) -> dict[str, Any]:
    responses = {str(status): _answer(status, found) for status, found in route.answers.items()}
    for status in sorted({401, *route.refusals} - set(route.answers)):
        refusal = {MEDIA_TYPE: {"schema": _reference(Problem)}} if status != 401 else None
        responses[str(status)] = {"description": REFUSALS[status], **({"content": refusal} if refusal else {})}
    return responses


def _answer(status: int, found: type[BaseModel] | tuple[type[BaseModel] | str, ...]) -> dict[str, Any]:
    content = dict(map(_content_type, _kinds(found)))
    words = {
        200: "Done.",
        201: "Begun.",
        202: "It goes on: look again later.",
        304: "It is the one that is known.",
        503: "Not well.",
    }
    return {"description": words[status], **({"content": content} if content else {})}


def _content_type(kind: type[BaseModel] | str) -> tuple[str, dict[str, Any]]:
    if not isinstance(kind, str):
        return "application/json", {"schema": _reference(kind)}
    return kind, {"schema": {"type": "object"} if kind.endswith("json") else BINARY}


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": REFERENCE.format(model=model.__name__)}
