"""OpenAPI 3.1 document, generated from the routes and from the models of requests and responses."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from pipeline.api.contracts import CONTRACTS, Contract, OpenApiDocument
from pipeline.api.handlers import Route
from pipeline.api.http import MEDIA_TYPE, Links, Problem
from pipeline.api.uploads import RENDITION_PARAMETER
from pipeline.monitoring.health import API_VERSION
from pipeline.recipes import schema as recipe_schema

REFERENCE = "#/components/schemas/{model}"
BINARY: dict[str, Any] = {"type": "string", "format": "binary"}
UPLOADS = ("image/jpeg", "image/png", "image/webp", "image/gif", "application/octet-stream")
RESPONSE_DESCRIPTIONS = {
    200: "Success.",
    201: "Created.",
    202: "Accepted: the job or run continues. Request it again later.",
    304: "Not modified.",
    503: "Not healthy.",
}
PROBLEM_DESCRIPTIONS = {
    400: "The request is invalid; `detail` names the fault.",
    401: "The function key is missing or invalid.",
    403: "The settings do not allow the request.",
    404: "Not found.",
    406: "`Accept` allows neither JSON nor the rendition.",
    409: "Conflict: the current state does not allow the request.",
    411: "The body has no Content-Length, and the platform has dropped it.",
    413: "The body is too large.",
    415: "The media type or the content encoding of the body is not supported.",
    422: "The image or the recipe cannot be used; `type` is the reason.",
    503: "A service does not respond, or no session is free.",
    504: "Timeout.",
}


def document(routes: Sequence[Route], links: Links) -> OpenApiDocument:
    """Describe the routes, with the path prefix of `links`."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(f"/{route.path}", {})[route.method.lower()] = _operation(route, CONTRACTS[route.name])
    return OpenApiDocument(
        {
            "openapi": "3.1.0",
            "info": {"title": "Image pipeline", "version": API_VERSION},
            "servers": [{"url": links.base or "/"}],
            "security": [{"header": []}, {"query": []}],
            "paths": paths,
            "components": {
                "schemas": _schemas([CONTRACTS[route.name] for route in routes]),
                "securitySchemes": {
                    "header": {"type": "apiKey", "in": "header", "name": "x-functions-key"},
                    "query": {"type": "apiKey", "in": "query", "name": "code"},
                },
            },
        }
    )


def _schemas(contracts: Sequence[Contract]) -> dict[str, Any]:
    """Return the schemas of all documents, with those of transforms and renditions from the recipe file's schema."""
    returned = _response_models(contracts)
    models = sorted(returned | {each.body for each in contracts if each.body}, key=lambda model: model.__name__)
    modes: list[tuple[type[BaseModel], JsonSchemaMode]]
    modes = [(model, "serialization" if model in returned else "validation") for model in models]
    schemas: dict[str, Any] = models_json_schema(modes, ref_template=REFERENCE)[1]["$defs"]
    text = json.dumps(recipe_schema.schema()["$defs"])
    recipes = json.loads(text.replace("#/$defs/", REFERENCE.format(model="")))
    # The recipe of a request has transforms and renditions as in the file, but no match rules.
    job, recipe = schemas["JobRequest"]["properties"], recipes["RecipeModel"]["properties"]
    job["transforms"] = {"type": "array", "maxItems": 50, "items": {"$ref": REFERENCE.format(model="Step")}}
    job["renditions"] = recipe["renditions"]
    return {**recipes, **schemas}


def _response_models(contracts: Iterable[Contract]) -> set[type[BaseModel]]:
    contents = (
        content for contract in contracts for each in contract.responses.values() for content in _contents(each)
    )
    return {Problem, *(content for content in contents if not isinstance(content, str))}


def _contents(response: type[BaseModel] | tuple[type[BaseModel] | str, ...]) -> tuple[type[BaseModel] | str, ...]:
    return response if isinstance(response, tuple) else (response,)


def _operation(route: Route, contract: Contract) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "parameters": list(_parameters(route.path, contract)),
        "responses": _responses(contract),
    }
    content = _request_content(contract)
    if content:
        operation["requestBody"] = {"required": contract.body is None or bool(contract.form), "content": content}
    return operation


def _parameters(path: str, contract: Contract) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"\{(\w+)\}", path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    for name, description in contract.headers.items():
        yield {"name": name, "in": "header", "description": description, "schema": {"type": "string"}}
    for name in ("name", *contract.form) if contract.form else ():
        description = f"`{name}`, if the body is an image."
        yield {"name": name, "in": "query", "description": description, "schema": {"type": "string"}}
    if contract.form:
        description = "Name of the rendition to return as an image, if `Accept` allows it."
        yield {"name": RENDITION_PARAMETER, "in": "query", "description": description, "schema": {"type": "string"}}
    properties = contract.query.model_json_schema()["properties"] if contract.query else {}
    for name, schema in properties.items():
        yield {"name": name, "in": "query", "description": schema.pop("description", ""), "schema": schema}


def _request_content(contract: Contract) -> dict[str, Any]:
    """Return the content types of the request body: a document, a form with an image, the image itself."""
    content: dict[str, Any] = {}
    if contract.body:
        content["application/json"] = {"schema": _reference(contract.body)}
    if contract.form:
        fields = {"image": BINARY, **{name: {"type": "string"} for name in contract.form}}
        form = {"type": "object", "properties": fields, "required": ["image"], "additionalProperties": False}
        content["multipart/form-data"] = {"schema": form}
        content |= {kind: {"schema": BINARY} for kind in UPLOADS}
    return content


def _responses(contract: Contract) -> dict[str, Any]:
    responses = {str(status): _response(status, content) for status, content in contract.responses.items()}
    for status in sorted({401, *contract.problems} - set(contract.responses)):
        # The host itself responds with 401, without a document.
        content = {"content": {MEDIA_TYPE: {"schema": _reference(Problem)}}} if status != 401 else {}
        responses[str(status)] = {"description": PROBLEM_DESCRIPTIONS[status], **content}
    return responses


def _response(status: int, response: type[BaseModel] | tuple[type[BaseModel] | str, ...]) -> dict[str, Any]:
    content = dict(map(_content_type, _contents(response)))
    return {"description": RESPONSE_DESCRIPTIONS[status], **({"content": content} if content else {})}


def _content_type(content: type[BaseModel] | str) -> tuple[str, dict[str, Any]]:
    if not isinstance(content, str):
        return "application/json", {"schema": _reference(content)}
    return content, {"schema": {"type": "object"} if content.endswith("json") else BINARY}


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": REFERENCE.format(model=model.__name__)}
