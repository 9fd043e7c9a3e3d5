"""The examples of the published documents, replayed. Every other test's answers are checked against them too."""

from __future__ import annotations

from typing import Any

import pytest

from tests.session_pool_emulator import specs
from tests.session_pool_emulator.running import RunningPool

pytestmark = pytest.mark.asyncio(loop_scope="session")
_REASON = f"the published OpenAPI documents are not in {specs.FOLDER.name}/ (set DYNAMIC_SESSIONS_SPECS)"
_CASES = [
    pytest.param(version, example, id=f"{version[:7]}-{example.get('title', 'example')}")
    for version in specs.versions()
    for example in specs.examples(version)
    # Those for pools of shells have no code: there is nothing to run them with.
    if "code" in example["parameters"].get("codeExecutionRequest", {"code": ""})
] or [pytest.param("", {}, marks=pytest.mark.skip(reason=_REASON))]


@pytest.mark.parametrize(("version", "example"), _CASES)
async def test_a_published_example_is_answered_in_its_shape(
    shared_pool: RunningPool, version: str, example: dict[str, Any]
) -> None:
    wanted = dict(example["parameters"])
    method, path = specs.operation(version, example["operationId"])
    body = wanted.pop("codeExecutionRequest", None)
    identifier = wanted.pop("identifier", None)
    await _prepare(shared_pool, identifier, example, wanted)
    file = wanted.pop("file", None)
    options: dict[str, Any] = {"json": body} if body else {}
    if file is not None:
        options["files"] = {"file": ("testfile.yaml", file.encode())}
    if "operation-id" in wanted:
        options["headers"] = {"operation-id": wanted.pop("operation-id")}
    path = path.replace("{name}", wanted.pop("name", "")).replace("{executionId}", wanted.pop("executionId", ""))
    wanted.pop("api-version")
    answer = await shared_pool.call(method, path, identifier, version=version, params=wanted, **options)
    status, expected = next(iter(example["responses"].items()))
    assert answer.status_code == int(status), answer.text
    if body is not None and body["executionType"] == "Synchronous":
        assert answer.json()["status"] == expected["body"]["status"]
        theirs = expected["body"]["result"]["executionResult"]
        assert answer.json()["result"]["executionResult"] == theirs


async def _prepare(pool: RunningPool, identifier: str | None, example: dict[str, Any], wanted: dict[str, Any]) -> None:
    """What the example takes for granted: a session, a file, an execution."""
    if identifier is None:
        return
    if example["operationId"].startswith("SessionResourceFiles"):
        await pool.put(identifier, wanted.get("name", "testfile"), b"text", path=wanted.get("path", ""))
    elif "executionId" in wanted:
        headers = {"operation-id": wanted["executionId"]}
        kind = "Asynchronous" if "Running" in example.get("title", "") else "Synchronous"
        body = {"codeInputType": "Inline", "executionType": kind, "code": "print(7*9)", "timeoutInSeconds": 60}
        await pool.call("POST", "/executions", identifier, json=body, headers=headers)
    else:
        await pool.call("GET", "/files", identifier)


async def test_every_operation_of_the_documents_is_served(shared_pool: RunningPool) -> None:
    if not specs.versions():
        pytest.skip(_REASON)
    for version in specs.versions():
        for path, methods in specs.document(version)["paths"].items():
            for method in methods:
                plain = path.replace("{name}", "x.txt").replace("{executionId}", "x")
                answer = await shared_pool.call(method, plain, "testSessionIdentifier", version=version)
                unknown = (403, 405) if answer.headers.get("x-ms-error-code") == "Forbidden" else (405,)
                assert answer.status_code not in unknown, (version, method, path)
    await shared_pool.call("DELETE", "/session", "testSessionIdentifier")
