"""Validation of responses against the published OpenAPI documents of the data plane.

The documents are read from the folder in DYNAMIC_SESSIONS_SPECS, or from its default next to the repository. Without
documents, responses are not validated; the table in test_contract.py is always checked.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs

_DEFAULT_FOLDER = Path(__file__).parent.parent.parent.parent / "shared" / "reference" / "session-api-specs"
FOLDER = Path(os.environ.get("DYNAMIC_SESSIONS_SPECS") or _DEFAULT_FOLDER)
_POOL_PATH = re.compile(r"^/subscriptions/[^/]+/resourceGroups/[^/]+/sessionPools/[^/]+")

checked: Counter[tuple[str, str]] = Counter()
"""Number of validated responses by API version and operation."""


def versions() -> list[str]:
    """Return the API versions that have a document."""
    return sorted(path.parent.name for path in FOLDER.glob("*/DynamicSessions.json"))


def examples(version: str) -> list[dict[str, Any]]:
    """Return the published examples of an API version."""
    return [json.loads(path.read_text()) for path in sorted((FOLDER / version / "examples").glob("*.json"))]


@cache
def document(version: str) -> dict[str, Any]:
    """Return the document of an API version."""
    loaded: dict[str, Any] = json.loads((FOLDER / version / "DynamicSessions.json").read_text())
    return loaded


def check(response: httpx.Response) -> None:
    """Fail if a response violates the document of its API version; do nothing without a document."""
    request = response.request
    version = request.url.params.get("api-version", "")
    if version not in versions() or response.status_code == 401:
        return
    operation = _find_operation(version, request.method, _POOL_PATH.sub("", request.url.path))
    if operation is None:
        return
    documented = operation["responses"]
    status = str(response.status_code)
    assert response.is_error or status in documented, f"status {status} is not documented"
    schema = (documented.get(status) or documented["default"]).get("schema", {})
    if schema.get("type") not in (None, "file") or "$ref" in schema:
        text = response.headers["content-type"].startswith("text/plain")
        _validator(version, json.dumps(schema)).validate(response.text if text else response.json())
    if response.is_error:
        assert response.headers["x-ms-error-code"]
    checked[version, operation["operationId"]] += 1


def find_route(version: str, operation_id: str) -> tuple[str, str]:
    """Return the method and the path of an operation; raise LookupError if the document lacks it."""
    for path, methods in document(version)["paths"].items():
        for method, operation in methods.items():
            if operation["operationId"] == operation_id:
                return method.upper(), path
    raise LookupError(f"{operation_id} is not in the document of {version}")


def _find_operation(version: str, method: str, path: str) -> dict[str, Any] | None:
    for template, methods in document(version)["paths"].items():
        if re.fullmatch(re.sub(r"\\{[^}]*\\}", "[^/]+", re.escape(template)), path):
            operation: dict[str, Any] | None = methods.get(method.lower())
            return operation
    return None


@cache
def _validator(version: str, schema: str) -> Any:
    definitions = json.loads(schema) | {"definitions": document(version)["definitions"]}
    return jsonschema_rs.Draft4Validator(definitions, validate_formats=True)
