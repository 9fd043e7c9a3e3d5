"""Checks answers against the published OpenAPI documents of the data plane, where they lie at hand.

They are looked for in the folder that DYNAMIC_SESSIONS_SPECS names, else beside the repository; without them nothing is
checked here, and the project's own contract table stands alone.
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

_BESIDE = Path(__file__).parent.parent.parent.parent / "shared" / "reference" / "session-api-specs"
FOLDER = Path(os.environ.get("DYNAMIC_SESSIONS_SPECS") or _BESIDE)
_MOUNT = re.compile(r"^/subscriptions/[^/]+/resourceGroups/[^/]+/sessionPools/[^/]+")

checked: Counter[tuple[str, str]] = Counter()
"""How many answers were checked, by API version and operation."""


def versions() -> list[str]:
    """The API versions whose documents are at hand."""
    return sorted(path.parent.name for path in FOLDER.glob("*/DynamicSessions.json"))


def examples(version: str) -> list[dict[str, Any]]:
    """The examples of one version."""
    return [json.loads(path.read_text()) for path in sorted((FOLDER / version / "examples").glob("*.json"))]


@cache
def document(version: str) -> dict[str, Any]:
    """One version's document."""
    loaded: dict[str, Any] = json.loads((FOLDER / version / "DynamicSessions.json").read_text())
    return loaded


def check(answer: httpx.Response) -> None:
    """Fail if `answer` is not what the document of its version says; say nothing where there is no document."""
    request = answer.request
    version = request.url.params.get("api-version", "")
    if version not in versions() or answer.status_code == 401:
        return
    found = _operation(version, request.method, _MOUNT.sub("", request.url.path))
    if found is None:
        return
    responses = found["responses"]
    response = responses.get(str(answer.status_code)) or responses["default"]
    assert answer.is_error or str(answer.status_code) in responses, f"{answer.status_code} is not described"
    schema = response.get("schema", {})
    if schema.get("type") not in (None, "file") or "$ref" in schema:
        text = answer.headers["content-type"].startswith("text/plain")
        _validator(version, json.dumps(schema)).validate(answer.text if text else answer.json())
    if answer.is_error:
        assert answer.headers["x-ms-error-code"]
    checked[version, found["operationId"]] += 1


def operation(version: str, operation_id: str) -> tuple[str, str]:
    """The method and the path of an operation. LookupError when the document has none of that name."""
    for path, methods in document(version)["paths"].items():
        for method, found in methods.items():
            if found["operationId"] == operation_id:
                return method.upper(), path
    raise LookupError(f"{operation_id} is not in the document of {version}")


def _operation(version: str, method: str, path: str) -> dict[str, Any] | None:
    for template, methods in document(version)["paths"].items():
        if re.fullmatch(re.sub(r"\\{[^}]*\\}", "[^/]+", re.escape(template)), path):
            found: dict[str, Any] | None = methods.get(method.lower())
            return found
    return None


@cache
def _validator(version: str, schema: str) -> Any:
    whole = json.loads(schema) | {"definitions": document(version)["definitions"]}
    return jsonschema_rs.Draft4Validator(whole, validate_formats=True)
