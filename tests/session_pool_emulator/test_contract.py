"""Contract of the API: status and fields of each operation in each API version."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from tests.session_pool_emulator.emulator import Emulator

pytestmark = pytest.mark.asyncio(loop_scope="session")

LEGACY = ("2024-02-02-preview", "2024-08-02-preview")
CURRENT = ("2024-10-02-preview", "2025-02-02-preview", "2025-10-02-preview")
MANAGED = CURRENT[1:]
SHARED = "contract-shared"  # one session for all tests that allow it: a new session takes longer
POOL_PATH = "/subscriptions/0-1-2/resourceGroups/rg/sessionPools/pool"
CODE = {"codeInputType": "inline", "executionType": "synchronous", "code": "print('hi'); 2", "timeoutInSeconds": 30}
UPLOAD = {"files": {"file": ("up.txt", b"text")}}

# operation, versions, method, path, options, status, fields of the body ("a.b": b of a; "a[].b": b of each item of a)
TABLE: list[tuple[str, tuple[str, ...], str, str, dict[str, Any], int, str]] = [
    ("execute", LEGACY, "POST", "/code/execute", {"json": {"properties": CODE}}, 200,
     ("$id properties.$id properties.status properties.stdout properties.stderr properties.result "
     "properties.executionTimeInMilliseconds")),
    ("upload", LEGACY, "POST", "/files/upload", UPLOAD, 200,
     ("$id value[].$id value[].properties.$id value[].properties.filename value[].properties.size "
     "value[].properties.lastModifiedTime")),
    ("list", LEGACY, "GET", "/files", {}, 200, "$id value[].properties.filename value[].properties.size"),
    ("download", LEGACY, "GET", "/files/content/kept.txt", {}, 200, ""),
    ("describe", LEGACY, "GET", "/files/kept.txt", {}, 200, "value[].properties.filename"),
    ("delete", LEGACY, "DELETE", "/files/kept.txt", {}, 200, "message"),
    ("execute", CURRENT, "POST", "/executions", {"json": CODE}, 200,
     ("id identifier executionType status result.stdout result.stderr result.executionResult "
     "result.executionTimeInMilliseconds")),
    ("upload", CURRENT, "POST", "/files", UPLOAD, 200, "name type contentType sizeInBytes lastModifiedAt"),
    ("list", CURRENT, "GET", "/files", {}, 200, "value[].name value[].type value[].sizeInBytes value[].lastModifiedAt"),
    ("download", CURRENT, "GET", "/files/kept.txt/content", {}, 200, ""),
    ("describe", CURRENT, "GET", "/files/kept.txt", {}, 200, "name type contentType sizeInBytes lastModifiedAt"),
    ("delete", CURRENT, "DELETE", "/files/kept.txt", {}, 204, ""),
    ("session", MANAGED, "GET", "/session", {}, 200, "identifier createdAt lastAccessedAt expireAt etag"),
    ("delete session", MANAGED, "DELETE", "/session", {}, 204, ""),
    ("list sessions", MANAGED, "GET", "/listSessions", {}, 200, "sessions[].identifier sessions[].expireAt"),
    ("metadata", MANAGED, "GET", "/metadata", {}, 200,
     "runtimes[].version preInstalledPackages[].name createdAt lastUpdatedAt jupyterKernel.name"),
    ("get session", MANAGED, "POST", "/.management/getSession", {}, 200, "identifier expiresAt etag"),
    ("list views", MANAGED, "POST", "/.management/listSessions", {}, 200, "count value[].identifier value[].expiresAt"),
    ("stop session", MANAGED, "POST", "/.management/stopSession", {}, 200, ""),
    ("execute", CURRENT, "POST", "/code/execute", {"json": {"properties": CODE}}, 400, "error.code error.message"),
    ("execute", LEGACY, "POST", "/executions", {"json": CODE}, 400, "error.code error.message"),
    ("session", (*LEGACY, CURRENT[0]), "GET", "/session", {}, 400, "error.code error.message"),
]  # fmt: skip
CASES = [(version, *row[:1], *row[2:]) for row in TABLE for version in row[1]]


def find_values(body: Any, path: str) -> list[Any]:
    """Return all values of a field; fail if it is missing or a list on the path is empty."""
    values = [body]
    for part in path.split("."):
        key, is_list, _ = part.partition("[]")
        values = [value[key] for value in values]
        if is_list:
            assert all(values), f"{key} is empty"
            values = [item for items in values for item in items]
    return values


@pytest.mark.parametrize("base", ["", POOL_PATH], ids=["root", "pool-path"])
@pytest.mark.parametrize(
    ("version", "operation", "method", "path", "options", "status", "names"),
    CASES,
    ids=[f"{case[0][:7]}-{case[1]}-{case[5]}".replace(" ", "-") for case in CASES],
)
async def test_every_operation_responds_as_its_version_requires(
    shared_pool: Emulator, base: str, version: str, operation: str, method: str, path: str,
    options: dict[str, Any], status: int, names: str,
) -> None:  # fmt: skip
    await shared_pool.upload(SHARED, "kept.txt", b"kept")
    response = await shared_pool.call(method, base + path, SHARED, version=version, **options)
    assert response.status_code == status, response.text
    if operation == "download":
        assert response.content == b"kept"
    if names:
        body = response.json()
        assert all(find_values(body, name) for name in names.split())


async def test_legacy_bodies_number_their_objects(shared_pool: Emulator, session: str) -> None:
    response = await shared_pool.call("POST", "/code/execute", session, version=LEGACY[0], json={"properties": CODE})
    body = response.json()
    body["properties"].pop("executionTimeInMilliseconds")
    assert body == {
        "$id": "1",
        "properties": {"$id": "2", "status": "Success", "stdout": "hi\n", "stderr": "", "result": 2},
    }
    failing = {"properties": CODE | {"code": "1/0"}}
    response = await shared_pool.call("POST", "/code/execute", session, version=LEGACY[0], json=failing)
    assert (response.status_code, response.json()["properties"]["status"]) == (200, "Failure")


async def test_an_execution_carries_the_recorded_headers(shared_pool: Emulator, session: str) -> None:
    headers = {"operation-id": "my-own-id"}
    response = await shared_pool.call("POST", POOL_PATH + "/executions", session, json=CODE, headers=headers)
    assert response.headers["operation-id"] == response.json()["id"] == "my-own-id"
    assert response.headers["x-ms-new-allocation"] == "true"
    assert response.headers["x-ms-session-guid"]
    assert {"x-ms-allocation-time", "x-ms-container-execution-duration"} <= set(response.headers)
    location = response.headers["operation-location"]
    assert location.startswith(f"{shared_pool.url}{POOL_PATH}/executions/my-own-id?")
    assert (await shared_pool.http.get(location)).json() == response.json()


async def test_an_asynchronous_execution_is_polled_until_it_ends(shared_pool: Emulator, session: str) -> None:
    code = "import os, time\nwhile not os.path.exists('/mnt/data/go'): time.sleep(0.01)\nprint('gone')"
    request = CODE | {"executionType": "Asynchronous", "code": code}
    response = await shared_pool.call("POST", "/executions", session, json=request)
    assert response.status_code == 200
    assert response.json()["status"] in ("NotStarted", "Running")
    assert "result" not in response.json()
    again = await shared_pool.call(
        "POST", "/executions", session, json=request, headers={"operation-id": response.json()["id"]}
    )
    assert (again.json()["id"], again.json()["status"]) == (response.json()["id"], "Running")
    await shared_pool.upload(session, "go", b"")
    status = "Running"
    while status in ("NotStarted", "Running"):
        body = (await shared_pool.http.get(response.headers["operation-location"])).json()
        status = body["status"]
    assert (status, body["result"]["stdout"]) == ("Succeeded", "gone\n")


INVALID_REQUESTS: list[tuple[str, str, dict[str, Any], int, str | None]] = [
    ("POST", "/executions", {"json": {"properties": CODE}}, 400, "SessionPropertiesMissing"),
    ("POST", "/executions", {"json": {"shellCommand": "ls"}}, 400, "SessionPropertiesMissing"),
    ("POST", "/executions", {"json": []}, 400, "SessionRequestValidationFailed"),
    ("POST", "/executions", {"content": b"{"}, 400, "SessionRequestValidationFailed"),
    ("POST", "/executions", {"content": b"\xff\xfe"}, 400, "SessionRequestValidationFailed"),
    ("POST", "/executions", {"content": b"[" * 100_000}, 400, "SessionRequestValidationFailed"),
    ("POST", "/executions", {"json": CODE | {"timeoutInSeconds": 0}}, 400, "SessionRequestValidationFailed"),
    ("POST", "/executions", {"json": CODE | {"timeoutInSeconds": "x"}}, 400, "SessionRequestValidationFailed"),
    ("POST", "/executions", {"json": CODE | {"codeInputType": "File"}}, 400, "SessionRequestValidationFailed"),
    ("POST", "/executions", {"json": CODE | {"outputStreamsMaxLength": -1}}, 400, "SessionRequestValidationFailed"),
    ("POST", "/executions", {"json": CODE, "headers": {"operation-id": "a b"}}, 400, "SessionRequestValidationFailed"),
    ("GET", "/executions/unknown", {}, 404, "ExecutionNotFound"),
    ("PUT", "/executions", {}, 400, "SessionRequestNotSupported"),
    ("POST", "/python/uploadFile", {}, 403, "Forbidden"),
    ("GET", "/files/none.txt", {}, 404, "FileNotFound"),
    ("GET", "/files/none.txt/content", {}, 404, "FileNotFound"),
    ("DELETE", "/files/none.txt", {}, 404, "DeleteFileError"),
    ("GET", "/files/a%2Fb.txt", {}, 400, "FilePathInvalid"),
    ("GET", "/files/a%00b", {}, 400, "FilePathInvalid"),
    ("GET", "/files/a%3Ab", {}, 400, "FilePathInvalid"),
    ("GET", "/files/%2E%2E/content", {}, 400, "FilePathInvalid"),
    ("GET", "/files", {"params": {"path": "/.ade/bin"}}, 400, "FilePathInvalid"),
    ("GET", "/files", {"params": {"path": "../.."}}, 400, "FilePathInvalid"),
    ("GET", "/files", {"params": {"recursive": "perhaps"}}, 400, "SessionRequestValidationFailed"),
    ("POST", "/files", {"content": b"x"}, 400, "SessionRequestValidationFailed"),
    ("POST", "/files", {"files": {"other": ("a.txt", b"x")}}, 400, "SessionRequestValidationFailed"),
    ("POST", "/files", {"files": {"file": (None, b"x")}}, 400, "SessionRequestValidationFailed"),
    ("POST", "/files", {"files": {"file": ("a/b.txt", b"x")}}, 400, "FilePathInvalid"),
    ("POST", "/files", {"files": {"file": ("a*b.txt", b"x")}}, 400, "FilePathInvalid"),
    ("GET", "/session", {"params": {"identifier": "none-such"}}, 404, "NoSessionFoundError"),
    ("DELETE", "/session", {"params": {"identifier": "none-such"}}, 404, "NoSessionFoundError"),
    ("POST", "/.management/getSession", {"params": {"identifier": "none-such"}}, 400, "SessionWithIdentifierNotFound"),
    ("POST", "/.management/stopSession", {"params": {"identifier": "none-such"}}, 400, "SessionWithIdentifierNotFound"),
    ("GET", "/listSessions", {"params": {"skip": "-1"}}, 400, "SessionRequestValidationFailed"),
    ("GET", "/listSessions", {"params": {"skip": "0" * 5000}}, 400, "SessionRequestValidationFailed"),
    ("GET", "/files", {"params": {"identifier": "abc"}}, 400, "SessionRequestValidationFailed"),
    ("GET", "/files", {"params": {"identifier": "a" * 129}}, 400, "SessionRequestValidationFailed"),
    ("GET", "/files", {"params": {"identifier": "with space"}}, 400, "SessionRequestValidationFailed"),
    ("GET", "/files", {"params": {"api-version": "2020-01-01"}}, 401, None),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "options", "status", "code"), INVALID_REQUESTS)
async def test_an_invalid_request_gets_the_recorded_response(
    shared_pool: Emulator, method: str, path: str, options: dict[str, Any], status: int,
    code: str | None,
) -> None:  # fmt: skip
    own = options.get("params", {}).get("identifier")
    response = await shared_pool.call(method, path, None if own else SHARED, **options)
    assert response.status_code == status, response.text
    assert response.headers.get("x-ms-error-code") == code
    if code is None:
        assert response.content == b""
    else:
        assert response.json()["error"]["code"] == code
        assert response.json()["error"]["message"]


async def test_the_error_names_a_missing_api_version_or_identifier(shared_pool: Emulator) -> None:
    assert (await shared_pool.http.get("/files?identifier=abcd")).json()["error"]["target"] == "api-version"
    assert (await shared_pool.call("GET", "/files")).json()["error"]["target"] == "identifier"


@pytest.mark.parametrize("name", ["a b.txt", "a-_.@$&=;,#%^().txt", "naïve 写真.png", "no-extension", "100%.txt"])
async def test_a_name_with_allowed_characters_is_unchanged(shared_pool: Emulator, name: str) -> None:
    response = await shared_pool.upload(SHARED, name, b"x")
    assert response.json()["name"] == name
    assert (await shared_pool.call("GET", f"/files/{quote(name)}/content", SHARED)).content == b"x"
    assert (await shared_pool.call("DELETE", f"/files/{quote(name)}", SHARED)).status_code == 204


async def test_a_file_name_may_include_the_data_folder(shared_pool: Emulator, session: str) -> None:
    assert (await shared_pool.upload(session, "/mnt/data/a.txt", b"x")).json()["name"] == "a.txt"
    params = {"path": "/mnt/data"}
    assert (await shared_pool.call("GET", "/files/a.txt", session, params=params)).status_code == 200


async def test_folders_are_created_and_listed(shared_pool: Emulator, session: str) -> None:
    await shared_pool.upload(session, "deep.txt", b"x", path="one/two")
    flat = (await shared_pool.call("GET", "/files", session)).json()["value"]
    assert [(entry["directory"], entry["name"], entry["type"], entry["sizeInBytes"]) for entry in flat] == [
        (".", "one", "directory", 4096)
    ]
    params = {"recursive": "true"}
    entries = (await shared_pool.call("GET", "/files", session, params=params)).json()["value"]
    assert [(entry["directory"], entry["name"]) for entry in entries] == [
        (".", "one"), ("one", "two"), ("one/two", "deep.txt")
    ]  # fmt: skip
    params = {"path": "/mnt/data/one/two"}
    assert (await shared_pool.call("GET", "/files/deep.txt/content", session, params=params)).content == b"x"
    older = await shared_pool.call("GET", "/files", session, version=CURRENT[0])
    assert "directory" not in older.json()["value"][0]


async def test_a_new_session_has_no_files(shared_pool: Emulator, session: str) -> None:
    assert (await shared_pool.call("GET", "/files", session)).json() == {"value": []}


async def test_sessions_are_listed_in_pages(shared_pool: Emulator, session: str) -> None:
    await shared_pool.execute(session, "1")
    sessions = (await shared_pool.call("GET", "/listSessions")).json()["sessions"]
    assert session in [listed["identifier"] for listed in sessions]
    params = {"skip": len(sessions)}
    assert (await shared_pool.call("GET", "/listSessions", params=params)).json() == {"sessions": []}


async def test_the_pool_is_healthy(shared_pool: Emulator) -> None:
    response = await shared_pool.http.get("/health")
    assert (response.status_code, response.json()) == (200, {"message": "healthy"})
