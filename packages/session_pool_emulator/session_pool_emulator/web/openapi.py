"""OpenAPI 3 description of the emulator, for tools and for the tests that validate responses."""

from __future__ import annotations

from functools import cache
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from session_pool_emulator.web.request_context import API_VERSIONS, ApiVersion
from session_pool_emulator.web.responses import json_response

_STRING: dict[str, Any] = {"type": "string"}
_TIMESTAMP = {"type": "string", "format": "date-time"}
_NON_NEGATIVE = {"type": "integer", "minimum": 0}
_BOOLEAN = {"type": "boolean"}
_ANY: dict[str, Any] = {}


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the schema of an object with these properties."""
    return {"type": "object", "properties": required | (optional or {}), "required": list(required)}


def _array(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


_RESULT = _object(
    {"stdout": _STRING, "stderr": _STRING, "executionResult": _ANY, "executionTimeInMilliseconds": _NON_NEGATIVE}
)
_STATUS = {"type": "string", "enum": ["NotStarted", "Running", "Succeeded", "Failed", "Canceled"]}
_EXECUTION = _object(
    {"id": _STRING, "identifier": _STRING, "executionType": _STRING, "status": _STATUS}, {"result": _RESULT}
)
_LEGACY_EXECUTION = _object(
    {
        "$id": _STRING,
        "properties": _object(
            {
                "status": {"type": "string", "enum": ["Success", "Failure"]},
                "stdout": _STRING,
                "stderr": _STRING,
                "result": _ANY,
                "executionTimeInMilliseconds": _NON_NEGATIVE,
            }
        ),
    }
)
_FILE = _object(
    {"name": _STRING, "type": {"type": "string", "enum": ["file", "directory"]}, "lastModifiedAt": _TIMESTAMP},
    {"directory": _STRING, "contentType": _STRING, "sizeInBytes": _NON_NEGATIVE},
)
_LEGACY_FILE = _object(
    {"properties": _object({"filename": _STRING, "size": _NON_NEGATIVE, "lastModifiedTime": _TIMESTAMP})}
)
_LEGACY_FILES = _object({"$id": _STRING, "value": _array(_LEGACY_FILE)})
_FILES = {"anyOf": [_object({"value": _array(_FILE)}), _LEGACY_FILES]}
_FILE_OR_LEGACY_FILE = {"anyOf": [_FILE, _LEGACY_FILES]}
_SESSION = _object(
    {
        "identifier": _STRING,
        "createdAt": _TIMESTAMP,
        "lastAccessedAt": _TIMESTAMP,
        "expireAt": _TIMESTAMP,
        "etag": _STRING,
    }
)
_MANAGED_SESSION = _object(
    {
        "identifier": _STRING,
        "createdAt": _TIMESTAMP,
        "lastAccessedAt": _TIMESTAMP,
        "expiresAt": _TIMESTAMP,
        "etag": _STRING,
    }
)
_PACKAGE = _object({"name": _STRING, "version": _STRING})
_METADATA = _object(
    {
        "runtimes": _array(_PACKAGE),
        "preInstalledPackages": _array(_PACKAGE),
        "createdAt": _TIMESTAMP,
        "lastUpdatedAt": _TIMESTAMP,
        "jupyterKernel": _object({"name": _STRING, "version": _STRING, "projectUrl": _STRING, "description": _STRING}),
    }
)
_ERROR_FIELDS = _object({"code": _STRING, "message": _STRING}, {"target": _STRING, "traceId": _STRING})
_ERROR = {"anyOf": [_object({"error": _ERROR_FIELDS}), _ERROR_FIELDS]}

_EXECUTION_FIELDS = {
    "codeInputType": {"type": "string", "enum": ["Inline", "InlineBase64", "InlineText"]},
    "executionType": {"type": "string", "enum": ["Synchronous", "Asynchronous"]},
    "timeoutInSeconds": {"type": "integer", "minimum": 1, "maximum": 220},
}
_NEW_FIELDS = {
    "outputStreamsMaxLength": {"type": "integer", "minimum": 1},
    "useEmptyKernel": _BOOLEAN,
    "returnJupyterFormatExecutionResult": _BOOLEAN,
}
_EXECUTION_REQUEST = _object({"code": _STRING}, _EXECUTION_FIELDS | _NEW_FIELDS)
_LEGACY_EXECUTION_REQUEST = _object({"properties": _object({"code": _STRING}, _EXECUTION_FIELDS)})
_UPLOAD = _object({"file": {"type": "string", "format": "binary"}})

_IDENTIFIER = {"type": "string", "pattern": "^[A-Za-z0-9-]{4,128}$"}
_FOLDER_PATH = {"type": "string"}


@cache
def openapi_document() -> dict[str, Any]:
    """Return the description as an object."""
    every = (ApiVersion.V2024_02, ApiVersion.V2025_10)
    legacy = (ApiVersion.V2024_02, ApiVersion.V2024_08)
    current = (ApiVersion.V2024_10, ApiVersion.V2025_10)
    managed = (ApiVersion.V2025_02, ApiVersion.V2025_10)
    folder = {"path": _FOLDER_PATH}
    operations = [
        _operation("post", "/executions", current, body=_EXECUTION_REQUEST, response=_EXECUTION),
        _operation("get", "/executions/{executionId}", current, response=_EXECUTION),
        _operation("post", "/code/execute", legacy, body=_LEGACY_EXECUTION_REQUEST, response=_LEGACY_EXECUTION),
        _operation("get", "/files", every, query=folder | {"recursive": _BOOLEAN}, response=_FILES),
        _operation("post", "/files", every, query=folder, upload=_UPLOAD, response=_FILE_OR_LEGACY_FILE),
        _operation("post", "/files/upload", legacy, query=folder, upload=_UPLOAD, response=_LEGACY_FILES),
        _operation("get", "/files/{name}", every, query=folder, response=_FILE_OR_LEGACY_FILE),
        _operation("get", "/files/{name}/content", current, query=folder),
        _operation("get", "/files/content/{name}", legacy, query=folder),
        _operation("delete", "/files/{name}", current, query=folder, status="204"),
        _operation("get", "/session", managed, response=_SESSION),
        _operation("delete", "/session", managed, status="204"),
        _operation(
            "get",
            "/listSessions",
            managed,
            query={"skip": _NON_NEGATIVE},
            response=_object({"sessions": _array(_SESSION)}),
        ),
        _operation("get", "/metadata", managed, response=_METADATA),
        _operation("post", "/.management/getSession", managed, response=_MANAGED_SESSION),
        _operation(
            "post",
            "/.management/listSessions",
            managed,
            query={"skip": _NON_NEGATIVE},
            response=_object({"value": _array(_MANAGED_SESSION), "count": _NON_NEGATIVE}),
        ),
        _operation("post", "/.management/stopSession", managed),
    ]
    paths: dict[str, dict[str, Any]] = {}
    for method, path, operation in operations:
        paths.setdefault(path, {})[method] = operation
    info = {"title": "Session pool emulator: data plane of Azure Container Apps dynamic sessions", "version": "1"}
    return {"openapi": "3.0.3", "info": info, "paths": paths}


def _operation(
    method: str,
    path: str,
    versions: tuple[ApiVersion, ApiVersion],
    *,
    query: dict[str, Any] | None = None,
    body: dict[str, Any] | None = None,
    upload: dict[str, Any] | None = None,
    response: dict[str, Any] | None = None,
    status: str = "200",
) -> tuple[str, str, dict[str, Any]]:
    """Return method, path and description of an operation that exists in a range of API versions."""
    names = [name for name, version in API_VERSIONS.items() if versions[0] <= version <= versions[1]]
    required: dict[str, Any] = {"api-version": {"type": "string", "enum": names}}
    if path not in ("/listSessions", "/metadata", "/.management/listSessions"):
        required["identifier"] = _IDENTIFIER
    operation: dict[str, Any] = {
        "operationId": f"{method}{path.title().translate(_REMOVE_PUNCTUATION)}",
        "parameters": [_parameter(name, "query", schema, required=True) for name, schema in required.items()],
        "responses": {status: _success(status, response), **_FAILURES},
    }
    operation["parameters"] += [_parameter(name, "query", schema) for name, schema in (query or {}).items()]
    operation["parameters"] += [_parameter(name, "path", _STRING, required=True) for name in _path_parameters(path)]
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    if upload is not None:
        operation["requestBody"] = {"required": True, "content": {"multipart/form-data": {"schema": upload}}}
    return method, path, operation


_REMOVE_PUNCTUATION = str.maketrans("", "", "/{}.")


def _path_parameters(path: str) -> list[str]:
    return [part.strip("{}") for part in path.split("/") if part.startswith("{")]


def _parameter(name: str, location: str, schema: dict[str, Any], *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": location, "required": required, "schema": schema}


def _success(status: str, response: dict[str, Any] | None) -> dict[str, Any]:
    """Return the description of a successful response; without a schema it is the content of a file, or text."""
    if status == "204":
        return {"description": "Success."}
    if response is None:
        return {"description": "Content of the file, or text.", "content": {"*/*": {"schema": {"type": "string"}}}}
    return {"description": "Success.", "content": {"application/json": {"schema": response}}}


def _failure(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": _ERROR}}}


_FAILURES = {
    "400": _failure("The request is invalid; the message describes the error."),
    "401": {"description": "The token is missing or invalid, or the api-version is unknown."},
    "403": _failure("The path is unknown."),
    "404": _failure("The file, the session or the execution does not exist."),
    "413": _failure("The request or the file is too large, or the storage of the session is full."),
    "429": _failure("The pool is full."),
}


async def get_openapi(_: Request) -> Response:
    """Handle GET /openapi.json."""
    return json_response(openapi_document())
