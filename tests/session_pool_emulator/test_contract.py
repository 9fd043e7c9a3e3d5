"""The project's own small contract table: what each operation answers in each API version. Always runs."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from tests.session_pool_emulator.running import RunningPool

pytestmark = pytest.mark.asyncio(loop_scope="session")

OLD = ("2024-02-02-preview", "2024-08-02-preview")
NEW = ("2024-10-02-preview", "2025-02-02-preview", "2025-10-02-preview")
MANAGED = NEW[1:]
SHARED = "contract-shared"  # one session for everything that does not mind: starting one takes a while
POOL_PATH = "/subscriptions/0-1-2/resourceGroups/rg/sessionPools/pool"
CODE = {"codeInputType": "inline", "executionType": "synchronous", "code": "print('hi'); 2", "timeoutInSeconds": 30}
UPLOAD = {"files": {"file": ("up.txt", b"text")}}

# operation, versions, method, path, options, status, names in the body ("a.b": b inside a; "a[].b": b in all of list a)
TABLE: list[tuple[str, tuple[str, ...], str, str, dict[str, Any], int, str]] = [
    ("execute", OLD, "POST", "/code/execute", {"json": {"properties": CODE}}, 200,
     ("$id properties.$id properties.status properties.stdout properties.stderr properties.result "
     "properties.executionTimeInMilliseconds")),
    ("upload", OLD, "POST", "/files/upload", UPLOAD, 200,
     ("$id value[].$id value[].properties.$id value[].properties.filename value[].properties.size "
     "value[].properties.lastModifiedTime")),
    ("list", OLD, "GET", "/files", {}, 200, "$id value[].properties.filename value[].properties.size"),
    ("download", OLD, "GET", "/files/content/kept.txt", {}, 200, ""),
    ("look at", OLD, "GET", "/files/kept.txt", {}, 200, "value[].properties.filename"),
    ("delete", OLD, "DELETE", "/files/kept.txt", {}, 200, "message"),
    ("execute", NEW, "POST", "/executions", {"json": CODE}, 200,
     ("id identifier executionType status result.stdout result.stderr result.executionResult "
     "result.executionTimeInMilliseconds")),
    ("upload", NEW, "POST", "/files", UPLOAD, 200, "name type contentType sizeInBytes lastModifiedAt"),
    ("list", NEW, "GET", "/files", {}, 200, "value[].name value[].type value[].sizeInBytes value[].lastModifiedAt"),
    ("download", NEW, "GET", "/files/kept.txt/content", {}, 200, ""),
    ("look at", NEW, "GET", "/files/kept.txt", {}, 200, "name type contentType sizeInBytes lastModifiedAt"),
    ("delete", NEW, "DELETE", "/files/kept.txt", {}, 204, ""),
    ("session", MANAGED, "GET", "/session", {}, 200, "identifier createdAt lastAccessedAt expireAt etag"),
    ("end session", MANAGED, "DELETE", "/session", {}, 204, ""),
    ("list sessions", MANAGED, "GET", "/listSessions", {}, 200, "sessions[].identifier sessions[].expireAt"),
    ("metadata", MANAGED, "GET", "/metadata", {}, 200,
     "runtimes[].version preInstalledPackages[].name createdAt lastUpdatedAt jupyterKernel.name"),
    ("get session", MANAGED, "POST", "/.management/getSession", {}, 200, "identifier expiresAt etag"),
    ("list views", MANAGED, "POST", "/.management/listSessions", {}, 200, "count value[].identifier value[].expiresAt"),
    ("stop session", MANAGED, "POST", "/.management/stopSession", {}, 200, ""),
    ("execute", NEW, "POST", "/code/execute", {"json": {"properties": CODE}}, 400, "error.code error.message"),
    ("execute", OLD, "POST", "/executions", {"json": CODE}, 400, "error.code error.message"),
    ("session", (*OLD, NEW[0]), "GET", "/session", {}, 400, "error.code error.message"),
]  # fmt: skip
CASES = [(version, *row[:1], *row[2:]) for row in TABLE for version in row[1]]


def values(body: Any, name: str) -> list[Any]:
    """Everything that `name` stands for in `body`; fails where it is missing."""
    found = [body]
    for part in name.split("."):
        key, many, _ = part.partition("[]")
        found = [inner[key] for inner in found]
        if many:
            assert all(found), f"{key} is empty"
            found = [item for items in found for item in items]
    return found


@pytest.mark.parametrize("base", ["", POOL_PATH], ids=["root", "pool-path"])
@pytest.mark.parametrize(
    ("version", "operation", "method", "path", "options", "status", "names"),
    CASES,
    ids=[f"{case[0][:7]}-{case[1]}-{case[5]}".replace(" ", "-") for case in CASES],
)
async def test_every_operation_answers_as_its_version_says(
    shared_pool: RunningPool, base: str, version: str, operation: str, method: str, path: str,
    options: dict[str, Any], status: int, names: str,
) -> None:  # fmt: skip
    await shared_pool.put(SHARED, "kept.txt", b"kept")
    answer = await shared_pool.call(method, base + path, SHARED, version=version, **options)
    assert answer.status_code == status, answer.text
    if operation == "download":
        assert answer.content == b"kept"
    if names:
        body = answer.json()
        assert all(values(body, name) for name in names.split())


async def test_old_bodies_count_their_ids_as_strings(shared_pool: RunningPool, session: str) -> None:
    answer = await shared_pool.call("POST", "/code/execute", session, version=OLD[0], json={"properties": CODE})
    body = answer.json()
    body["properties"].pop("executionTimeInMilliseconds")
    assert body == {
        "$id": "1",
        "properties": {"$id": "2", "status": "Success", "stdout": "hi\n", "stderr": "", "result": 2},
    }
    failing = {"properties": CODE | {"code": "1/0"}}
    answer = await shared_pool.call("POST", "/code/execute", session, version=OLD[0], json=failing)
    assert (answer.status_code, answer.json()["properties"]["status"]) == (200, "Failure")


async def test_an_execution_carries_the_recorded_headers(shared_pool: RunningPool, session: str) -> None:
    headers = {"operation-id": "my-own-id"}
    answer = await shared_pool.call("POST", POOL_PATH + "/executions", session, json=CODE, headers=headers)
    assert answer.headers["operation-id"] == answer.json()["id"] == "my-own-id"
    assert answer.headers["x-ms-new-allocation"] == "true"
    assert answer.headers["x-ms-session-guid"]
    assert {"x-ms-allocation-time", "x-ms-container-execution-duration"} <= set(answer.headers)
    location = answer.headers["operation-location"]
    assert location.startswith(f"{shared_pool.address}{POOL_PATH}/executions/my-own-id?")
    assert (await shared_pool.http.get(location)).json() == answer.json()


async def test_an_asynchronous_execution_is_polled_until_it_ends(shared_pool: RunningPool, session: str) -> None:
    code = "import os, time\nwhile not os.path.exists('/mnt/data/go'): time.sleep(0.01)\nprint('gone')"
    request = CODE | {"executionType": "Asynchronous", "code": code}
    answer = await shared_pool.call("POST", "/executions", session, json=request)
    assert answer.status_code == 200
    assert answer.json()["status"] in ("NotStarted", "Running")
    assert "result" not in answer.json()
    again = await shared_pool.call(
        "POST", "/executions", session, json=request, headers={"operation-id": answer.json()["id"]}
    )
    assert (again.json()["id"], again.json()["status"]) == (answer.json()["id"], "Running")
    await shared_pool.put(session, "go", b"")
    status = "Running"
    while status in ("NotStarted", "Running"):
        body = (await shared_pool.http.get(answer.headers["operation-location"])).json()
        status = body["status"]
    assert (status, body["result"]["stdout"]) == ("Succeeded", "gone\n")


WRONG: list[tuple[str, str, dict[str, Any], int, str | None]] = [
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


@pytest.mark.parametrize(("method", "path", "options", "status", "code"), WRONG)
async def test_a_wrong_request_gets_the_recorded_answer(
    shared_pool: RunningPool, method: str, path: str, options: dict[str, Any], status: int,
    code: str | None,
) -> None:  # fmt: skip
    own = options.get("params", {}).get("identifier")
    answer = await shared_pool.call(method, path, None if own else SHARED, **options)
    assert answer.status_code == status, answer.text
    assert answer.headers.get("x-ms-error-code") == code
    if code is None:
        assert answer.content == b""
    else:
        assert answer.json()["error"]["code"] == code
        assert answer.json()["error"]["message"]


async def test_a_missing_api_version_or_identifier_is_named(shared_pool: RunningPool) -> None:
    assert (await shared_pool.http.get("/files?identifier=abcd")).json()["error"]["target"] == "api-version"
    assert (await shared_pool.call("GET", "/files")).json()["error"]["target"] == "identifier"


@pytest.mark.parametrize("name", ["a b.txt", "a-_.@$&=;,#%^().txt", "naïve 写真.png", "no-extension", "100%.txt"])
async def test_a_name_with_allowed_characters_goes_through_whole(shared_pool: RunningPool, name: str) -> None:
    answer = await shared_pool.put(SHARED, name, b"x")
    assert answer.json()["name"] == name
    assert (await shared_pool.call("GET", f"/files/{quote(name)}/content", SHARED)).content == b"x"
    assert (await shared_pool.call("DELETE", f"/files/{quote(name)}", SHARED)).status_code == 204


async def test_a_file_name_may_carry_the_data_directory(shared_pool: RunningPool, session: str) -> None:
    assert (await shared_pool.put(session, "/mnt/data/a.txt", b"x")).json()["name"] == "a.txt"
    params = {"path": "/mnt/data"}
    assert (await shared_pool.call("GET", "/files/a.txt", session, params=params)).status_code == 200


async def test_folders_are_made_listed_and_gone_through(shared_pool: RunningPool, session: str) -> None:
    await shared_pool.put(session, "deep.txt", b"x", path="one/two")
    flat = (await shared_pool.call("GET", "/files", session)).json()["value"]
    assert [(entry["directory"], entry["name"], entry["type"], entry["sizeInBytes"]) for entry in flat] == [
        (".", "one", "directory", 4096)
    ]
    params = {"recursive": "true"}
    every = (await shared_pool.call("GET", "/files", session, params=params)).json()["value"]
    assert [(entry["directory"], entry["name"]) for entry in every] == [
        (".", "one"), ("one", "two"), ("one/two", "deep.txt")
    ]  # fmt: skip
    params = {"path": "/mnt/data/one/two"}
    assert (await shared_pool.call("GET", "/files/deep.txt/content", session, params=params)).content == b"x"
    older = await shared_pool.call("GET", "/files", session, version=NEW[0])
    assert "directory" not in older.json()["value"][0]


async def test_a_listing_never_shows_more_than_there_is_in_a_session_that_is_new(
    shared_pool: RunningPool, session: str
) -> None:
    assert (await shared_pool.call("GET", "/files", session)).json() == {"value": []}


async def test_listed_sessions_come_in_pages(shared_pool: RunningPool, session: str) -> None:
    await shared_pool.run(session, "1")
    everything = (await shared_pool.call("GET", "/listSessions")).json()["sessions"]
    assert session in [found["identifier"] for found in everything]
    params = {"skip": len(everything)}
    assert (await shared_pool.call("GET", "/listSessions", params=params)).json() == {"sessions": []}


async def test_the_pool_is_healthy(shared_pool: RunningPool) -> None:
    answer = await shared_pool.http.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"message": "healthy"})
