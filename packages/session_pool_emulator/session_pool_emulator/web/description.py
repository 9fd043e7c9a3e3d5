"""What this server serves, in OpenAPI 3: for tools that read it, and for the tests that check answers against it."""

from __future__ import annotations

from functools import cache
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from session_pool_emulator.web.answers import json_response
from session_pool_emulator.web.call import VERSIONS, Version

_TEXT: dict[str, Any] = {"type": "string"}
_MOMENT = {"type": "string", "format": "date-time"}
_COUNT = {"type": "integer", "minimum": 0}
_FLAG = {"type": "boolean"}
_ANY: dict[str, Any] = {}


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"type": "object", "properties": required | (optional or {}), "required": list(required)}


def _array(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


_RESULT = _object({"stdout": _TEXT, "stderr": _TEXT, "executionResult": _ANY, "executionTimeInMilliseconds": _COUNT})
_STATUS = {"type": "string", "enum": ["NotStarted", "Running", "Succeeded", "Failed", "Canceled"]}
_EXECUTION = _object({"id": _TEXT, "identifier": _TEXT, "executionType": _TEXT, "status": _STATUS}, {"result": _RESULT})
_OLD_EXECUTION = _object(
    {
        "$id": _TEXT,
        "properties": _object(
            {
                "status": {"type": "string", "enum": ["Success", "Failure"]},
                "stdout": _TEXT,
                "stderr": _TEXT,
                "result": _ANY,
                "executionTimeInMilliseconds": _COUNT,
            }
        ),
    }
)
_FILE = _object(
    {"name": _TEXT, "type": {"type": "string", "enum": ["file", "directory"]}, "lastModifiedAt": _MOMENT},
    {"directory": _TEXT, "contentType": _TEXT, "sizeInBytes": _COUNT},
)
_OLD_FILE = _object({"properties": _object({"filename": _TEXT, "size": _COUNT, "lastModifiedTime": _MOMENT})})
_OLD_FILES = _object({"$id": _TEXT, "value": _array(_OLD_FILE)})
_FILES = {"anyOf": [_object({"value": _array(_FILE)}), _OLD_FILES]}
_ONE_FILE = {"anyOf": [_FILE, _OLD_FILES]}
_SESSION = _object(
    {"identifier": _TEXT, "createdAt": _MOMENT, "lastAccessedAt": _MOMENT, "expireAt": _MOMENT, "etag": _TEXT}
)
_VIEW = _object(
    {"identifier": _TEXT, "createdAt": _MOMENT, "lastAccessedAt": _MOMENT, "expiresAt": _MOMENT, "etag": _TEXT}
)
_PACKAGE = _object({"name": _TEXT, "version": _TEXT})
_METADATA = _object(
    {
        "runtimes": _array(_PACKAGE),
        "preInstalledPackages": _array(_PACKAGE),
        "createdAt": _MOMENT,
        "lastUpdatedAt": _MOMENT,
        "jupyterKernel": _object({"name": _TEXT, "version": _TEXT, "projectUrl": _TEXT, "description": _TEXT}),
    }
)
_DETAIL = _object({"code": _TEXT, "message": _TEXT}, {"target": _TEXT, "traceId": _TEXT})
_ERROR = {"anyOf": [_object({"error": _DETAIL}), _DETAIL]}

_PROGRAM_FIELDS = {
    "codeInputType": {"type": "string", "enum": ["Inline", "InlineBase64", "InlineText"]},
    "executionType": {"type": "string", "enum": ["Synchronous", "Asynchronous"]},
    "timeoutInSeconds": {"type": "integer", "minimum": 1, "maximum": 220},
}
_NEW_FIELDS = {
    "outputStreamsMaxLength": {"type": "integer", "minimum": 1},
    "useEmptyKernel": _FLAG,
    "returnJupyterFormatExecutionResult": _FLAG,
}
_PROGRAM = _object({"code": _TEXT}, _PROGRAM_FIELDS | _NEW_FIELDS)
_OLD_PROGRAM = _object({"properties": _object({"code": _TEXT}, _PROGRAM_FIELDS)})
_UPLOAD = _object({"file": {"type": "string", "format": "binary"}})

_IDENTIFIER = {"type": "string", "pattern": "^[A-Za-z0-9-]{4,128}$"}
_PATH = {"type": "string"}


@cache
def document() -> dict[str, Any]:
    """The whole description."""
    old, new, managed = (Version.V2024_02, Version.V2024_08), (Version.V2024_10, Version.V2025_10), Version.V2025_02
    every, later = (Version.V2024_02, Version.V2025_10), (managed, Version.V2025_10)
    folder = {"path": _PATH}
    operations = [
        _operation("post", "/executions", new, body=_PROGRAM, answer=_EXECUTION),
        _operation("get", "/executions/{executionId}", new, answer=_EXECUTION),
        _operation("post", "/code/execute", old, body=_OLD_PROGRAM, answer=_OLD_EXECUTION),
        _operation("get", "/files", every, query=folder | {"recursive": _FLAG}, answer=_FILES),
        _operation("post", "/files", every, query=folder, upload=_UPLOAD, answer=_ONE_FILE),
        _operation("post", "/files/upload", old, query=folder, upload=_UPLOAD, answer=_OLD_FILES),
        _operation("get", "/files/{name}", every, query=folder, answer=_ONE_FILE),
        _operation("get", "/files/{name}/content", new, query=folder),
        _operation("get", "/files/content/{name}", old, query=folder),
        _operation("delete", "/files/{name}", new, query=folder, status="204"),
        _operation("get", "/session", later, answer=_SESSION),
        _operation("delete", "/session", later, status="204"),
        _operation(
            "get", "/listSessions", later, query={"skip": _COUNT}, answer=_object({"sessions": _array(_SESSION)})
        ),
        _operation("get", "/metadata", later, answer=_METADATA),
        _operation("post", "/.management/getSession", later, answer=_VIEW),
        _operation(
            "post",
            "/.management/listSessions",
            later,
            query={"skip": _COUNT},
            answer=_object({"value": _array(_VIEW), "count": _COUNT}),
        ),
        _operation("post", "/.management/stopSession", later),
    ]
    paths: dict[str, dict[str, Any]] = {}
    for method, path, operation in operations:
        paths.setdefault(path, {})[method] = operation
    info = {"title": "Session pool: a local twin of the dynamic sessions data plane", "version": "1"}
    return {"openapi": "3.0.3", "info": info, "paths": paths}


def _operation(
    method: str,
    path: str,
    versions: tuple[Version, Version],
    *,
    query: dict[str, Any] | None = None,
    body: dict[str, Any] | None = None,
    upload: dict[str, Any] | None = None,
    answer: dict[str, Any] | None = None,
    status: str = "200",
) -> tuple[str, str, dict[str, Any]]:
    names = [name for name, version in VERSIONS.items() if versions[0] <= version <= versions[1]]
    asked: dict[str, Any] = {"api-version": {"type": "string", "enum": names}}
    if path not in ("/listSessions", "/metadata", "/.management/listSessions"):
        asked["identifier"] = _IDENTIFIER
    operation: dict[str, Any] = {
        "operationId": f"{method}{path.title().translate(_NO_MARKS)}",
        "parameters": [_parameter(name, "query", schema, required=True) for name, schema in asked.items()],
        "responses": {status: _success(status, answer), **_FAILURES},
    }
    operation["parameters"] += [_parameter(name, "query", schema) for name, schema in (query or {}).items()]
    operation["parameters"] += [_parameter(name, "path", _TEXT, required=True) for name in _placeholders(path)]
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    if upload is not None:
        operation["requestBody"] = {"required": True, "content": {"multipart/form-data": {"schema": upload}}}
    return method, path, operation


_NO_MARKS = str.maketrans("", "", "/{}.")


def _placeholders(path: str) -> list[str]:
    return [part.strip("{}") for part in path.split("/") if part.startswith("{")]


def _parameter(name: str, place: str, schema: dict[str, Any], *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": place, "required": required, "schema": schema}


def _success(status: str, answer: dict[str, Any] | None) -> dict[str, Any]:
    if status == "204":
        return {"description": "Done."}
    if answer is None:
        return {"description": "Content.", "content": {"*/*": {"schema": {"type": "string"}}}}
    return {"description": "Done.", "content": {"application/json": {"schema": answer}}}


def _failure(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": _ERROR}}}


_FAILURES = {
    "400": _failure("The request is wrong; the message says what to change."),
    "401": {"description": "No valid token, or an api-version that nobody knows."},
    "403": _failure("There is no such path."),
    "404": _failure("There is no such thing."),
    "413": _failure("Too much at once, or no room in the session."),
    "429": _failure("Every session is taken."),
}


async def show(_: Request) -> Response:
    """GET openapi.json."""
    return json_response(document())
