"""Published examples, replayed. The responses in all other tests are validated against the same documents."""

from __future__ import annotations

from typing import Any

import pytest

from tests.session_pool_emulator import api_specs
from tests.session_pool_emulator.emulator import Emulator

pytestmark = pytest.mark.asyncio(loop_scope="session")
_REASON = f"no published OpenAPI documents in {api_specs.FOLDER.name}/: set DYNAMIC_SESSIONS_SPECS"
_CASES = [
    pytest.param(version, example, id=f"{version[:7]}-{example.get('title', 'example')}")
    for version in api_specs.versions()
    for example in api_specs.examples(version)
    # Examples for shell pools have no code; the emulator does not support these pools.
    if "code" in example["parameters"].get("codeExecutionRequest", {"code": ""})
] or [pytest.param("", {}, marks=pytest.mark.skip(reason=_REASON))]


@pytest.mark.parametrize(("version", "example"), _CASES)
async def test_a_published_example_gets_its_published_response(
    shared_pool: Emulator, version: str, example: dict[str, Any]
) -> None:
    parameters = dict(example["parameters"])
    method, path = api_specs.find_route(version, example["operationId"])
    body = parameters.pop("codeExecutionRequest", None)
    identifier = parameters.pop("identifier", None)
    await _prepare(shared_pool, identifier, example, parameters)
    file = parameters.pop("file", None)
    options: dict[str, Any] = {"json": body} if body else {}
    if file is not None:
        options["files"] = {"file": ("testfile.yaml", file.encode())}
    if "operation-id" in parameters:
        options["headers"] = {"operation-id": parameters.pop("operation-id")}
    path = path.replace("{name}", parameters.pop("name", "")).replace(
        "{executionId}", parameters.pop("executionId", "")
    )
    parameters.pop("api-version")
    response = await shared_pool.call(method, path, identifier, version=version, params=parameters, **options)
    status, expected = next(iter(example["responses"].items()))
    assert response.status_code == int(status), response.text
    if body is not None and body["executionType"] == "Synchronous":
        assert response.json()["status"] == expected["body"]["status"]
        value = expected["body"]["result"]["executionResult"]
        assert response.json()["result"]["executionResult"] == value


async def _prepare(pool: Emulator, identifier: str | None, example: dict[str, Any], parameters: dict[str, Any]) -> None:
    """Create the session, the file or the execution that an example requires."""
    if identifier is None:
        return
    if example["operationId"].startswith("SessionResourceFiles"):
        await pool.upload(identifier, parameters.get("name", "testfile"), b"text", path=parameters.get("path", ""))
    elif "executionId" in parameters:
        headers = {"operation-id": parameters["executionId"]}
        kind = "Asynchronous" if "Running" in example.get("title", "") else "Synchronous"
        body = {"codeInputType": "Inline", "executionType": kind, "code": "print(7*9)", "timeoutInSeconds": 60}
        await pool.call("POST", "/executions", identifier, json=body, headers=headers)
    else:
        await pool.call("GET", "/files", identifier)


async def test_every_published_operation_is_served(shared_pool: Emulator) -> None:
    if not api_specs.versions():
        pytest.skip(_REASON)
    for version in api_specs.versions():
        for path, methods in api_specs.document(version)["paths"].items():
            for method in methods:
                url = path.replace("{name}", "x.txt").replace("{executionId}", "x")
                response = await shared_pool.call(method, url, "testSessionIdentifier", version=version)
                unknown = (403, 405) if response.headers.get("x-ms-error-code") == "Forbidden" else (405,)
                assert response.status_code not in unknown, (version, method, path)
    await shared_pool.call("DELETE", "/session", "testSessionIdentifier")
