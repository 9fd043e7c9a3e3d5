"""Submission of jobs over HTTP, on the local stack."""

from __future__ import annotations

import asyncio
from typing import Any

import azure.functions as func
import pytest

from pipeline.api import routes, submit
from pipeline.api.http import Response, respond
from pipeline.storage.blobs import safe_file_name
from tests.api.client import MULTIPART, call, form_body
from tests.api.conftest import Backend
from tests.images import detect_format, image_bytes, size
from tests.stack import Stack
from tests.waiting import eventually

JOBS = "/api/jobs"


async def uploaded(app: Stack) -> list[Any]:
    container = app.services.account.container(app.services.settings.upload_container)
    return [blob async for blob in container.list_blobs()]


@pytest.mark.both
async def test_a_job_for_a_blob_returns_its_renditions(app: Stack) -> None:
    await app.upload("photos/a.jpg", image_bytes(800, 600))
    response = await call(app, "POST", JOBS, {"source": "photos/a.jpg", "recipe": "web"})
    job = response.json()
    assert (response.status, job["state"]) == (200, "done")
    assert [(one["name"], one["width"], one["height"]) for one in job["renditions"]] == [
        ("small", 200, 150),
        ("thumb", 64, 64),
    ]
    assert "path" not in job["renditions"][0]
    assert (await call(app, "GET", job["href"])).json() == job
    image = await call(app, "GET", job["renditions"][1]["href"])
    assert (image.kind, size(image.body)) == ("image/jpeg", (64, 64))


async def test_links_keep_the_path_prefix_of_the_request(app: Stack) -> None:
    await app.upload("photos/a.jpg", image_bytes())
    request = func.HttpRequest(
        "POST",
        "https://pictures.example/tools/images/v7/jobs?code=secret",
        headers={"content-type": "application/json", "prefer": "respond-async"},
        body=b'{"source": "photos/a.jpg", "recipe": "web"}',
    )
    response = await routes.handle(routes.ROUTES[0], lambda: app.services, request)
    assert response.headers["Location"].startswith("/tools/images/v7/jobs/web.")
    assert "secret" not in response.headers["Location"]


async def test_a_single_rendition_is_returned_if_accepted(app: Stack) -> None:
    await app.upload("a.jpg", image_bytes(640, 480))
    payload = {"source": "a.jpg", "recipe": "tutorial"}
    response = await call(app, "POST", JOBS, payload, accept="image/*")
    assert (response.status, response.kind) == (200, "image/png")
    assert (detect_format(response.body), size(response.body)) == ("PNG", (300, 300))
    for accept in ("application/json, image/*", "image/*;q=0.5, application/json", "*/*"):
        assert (await call(app, "POST", JOBS, payload, accept=accept)).kind == "application/json"


@pytest.mark.both
@pytest.mark.parametrize("kind", [MULTIPART, "image/png"])
async def test_an_image_can_be_uploaded_in_the_request(app: Stack, kind: str) -> None:
    image = image_bytes(640, 480, "PNG")
    body = form_body(image, recipe="tutorial") if kind == MULTIPART else image
    query = "" if kind == MULTIPART else "?recipe=tutorial&name=my%20photo.png"
    response = await call(app, "POST", JOBS + query, body, content_type=kind, accept="image/png")
    assert (response.status, size(response.body)) == (200, (300, 300))
    (blob,) = await uploaded(app)
    assert blob.name.endswith("/my-photo.png")


async def test_only_image_media_types_become_blob_content_types(app: Stack) -> None:
    body = form_body(image_bytes(640, 480, "PNG"), recipe="tutorial").replace(b"image/png", "imagé/<png>".encode())
    assert (await call(app, "POST", JOBS, body, content_type=MULTIPART)).status == 200
    (blob,) = await uploaded(app)
    assert blob.content_settings.content_type == "application/octet-stream"


async def test_respond_async_returns_the_url_of_the_job(app: Stack) -> None:
    await app.upload("photos/a.jpg", image_bytes())
    payload = {"source": "photos/a.jpg", "recipe": "web"}
    response = await call(app, "POST", JOBS, payload, prefer="respond-async")
    assert (response.status, response.headers["Preference-Applied"]) == (202, "respond-async")
    job = response.json()
    assert response.headers["Location"] == job["href"] == f"/api/jobs/{job['id']}"
    assert int(response.headers["Retry-After"]) > 0
    assert (await call(app, "GET", job["href"])).json()["state"] == "queued"
    (message,) = await app.messages()
    assert (message["recipe"], message["name"]) == ("web", "photos/a.jpg")


@pytest.mark.both
async def test_a_longer_job_continues_and_is_also_queued(backend: Backend) -> None:
    async with backend.opened(http_sync_wait=0.01) as app:
        await app.upload("photos/a.jpg", image_bytes())
        payload = {"source": "photos/a.jpg", "recipe": "web"}
        response = await call(app, "POST", JOBS, payload, prefer="wait=100")
        assert (response.status, response.headers["Preference-Applied"]) == (202, "wait=0")
        assert await app.waiting_messages() == 1
        await submit.drain_background_jobs()
        entry = await app.entry("web", "photos/a.jpg")
        assert entry is not None
        assert entry.state == "done"


async def test_a_request_waits_for_a_job_of_another_worker(backend: Backend) -> None:
    async with backend.opened() as app, backend.opened() as other:
        await app.upload("photos/a.jpg", image_bytes(2000, 1500))
        container = app.services.settings.input_container
        other_job = asyncio.create_task(other.services.dispatcher.handle_blob(container, "photos/a.jpg"))

        async def claimed() -> bool:
            return await app.entry("web", "photos/a.jpg") is not None

        await eventually(claimed)
        response = await call(app, "POST", JOBS, {"source": "photos/a.jpg", "recipe": "web"})
        await other_job
        assert (response.status, response.json()["state"], response.json()["attempts"]) == (200, "done", 1)


@pytest.mark.both
async def test_a_failed_job_is_a_problem_with_stage_and_job(app: Stack) -> None:
    await app.upload("photos/a.jpg", b"no image" * 50)
    response = await call(app, "POST", JOBS, {"source": "photos/a.jpg", "recipe": "web"})
    assert (response.status, response.problem) == (422, "not_an_image")
    assert (response.json()["stage"], response.json()["job"].split(".")[0]) == ("execute", "web")


def named(name: str, **more: Any) -> dict[str, Any]:
    return {"source": name, "recipe": "web", **more}


BAD: dict[str, tuple[Any, str, int, str]] = {
    "no JSON": (b"{", "application/json", 400, "bad_request"),
    "half a character": (b'{"source": "\\ud800", "recipe": "web"}', "application/json", 400, "bad_request"),
    "unknown field": (named("a", url="http://x"), "", 400, "bad_request"),
    "no source": ({"recipe": "web"}, "", 400, "bad_request"),
    "no recipe": ({"source": "a"}, "", 400, "bad_request"),
    "two recipes": (named("a", renditions={}), "", 400, "bad_request"),
    "an empty name": (named(""), "", 400, "bad_request"),
    "control characters": (named("a\nb"), "", 400, "bad_request"),
    "another container": ({"source": {"container": "secrets", "name": "a"}, "recipe": "web"}, "", 400, "bad_request"),
    "a URL": (named("https://example.org/a.jpg"), "", 400, "bad_request"),
    "an absolute path": (named("/etc/passwd"), "", 400, "bad_request"),
    "a backslash": (named("a\\b"), "", 400, "bad_request"),
    "a parent folder": (named("a/../../b.jpg"), "", 400, "bad_request"),
    "an encoded parent folder": (named("a/%2e%2E/b.jpg"), "", 400, "bad_request"),
    "unknown recipe": ({"source": "a.jpg", "recipe": "wep"}, "", 404, "unknown_recipe"),
    "no such blob": (named("a.jpg"), "", 404, "source_gone"),
    "a document too large": (b"[" * (1024 * 1024 + 1), "application/json", 413, "body_too_large"),
    "an unsupported media type": (b"<a/>", "text/xml", 415, "unsupported_media_type"),
    "a form without a file": (b"--cut--\r\n", MULTIPART, 400, "bad_request"),
    "a form with an unknown field": (form_body(b"...", recipe="web", url="x"), MULTIPART, 400, "bad_request"),
    "an image without a recipe": (b"...", "image/png", 400, "bad_request"),
    "a key of too many characters": (named("a"), "key", 400, "bad_request"),
}


async def test_each_invalid_request_gets_its_own_problem(app: Stack) -> None:
    found = {}
    for case, (body, kind, _, _) in BAD.items():
        headers = {"idempotency_key": "x" * 256} if kind == "key" else {"content_type": kind} if kind else {}
        response = await call(app, "POST", JOBS, body, **headers)
        found[case] = (response.status, response.problem)
        assert "Traceback" not in response.json()["detail"]
    assert found == {case: (status, problem) for case, (_, _, status, problem) in BAD.items()}


async def test_a_job_on_a_folder_marker_is_refused(app: Stack) -> None:
    container = app.services.account.container(app.services.settings.input_container)
    await container.get_blob_client("photos/2026").upload_blob(b"", metadata={"hdi_isfolder": "true"})
    response = await call(app, "POST", JOBS, named("photos/2026"))
    assert (response.status, response.problem) == (422, "folder_marker")
    assert await app.entry("web", "photos/2026") is None


@pytest.mark.parametrize(
    ("url", "kind", "says"),
    [
        ("?recipe=tutorial&bogus=1", "image/png", "unknown query parameter 'bogus'"),
        ("?bogus=1", MULTIPART, "unknown query parameter 'bogus'"),
        ("?recipe=web", MULTIPART, "recipe differs between the URL and the form"),
        ("?recipe=web", "application/json", "unknown query parameter 'recipe'"),
    ],
)
async def test_query_parameters_must_be_known_and_fit_the_body(app: Stack, url: str, kind: str, says: str) -> None:
    image = image_bytes(640, 480, "PNG")
    bodies = {"image/png": image, MULTIPART: form_body(image, recipe="tutorial"), "application/json": b"{}"}
    response = await call(app, "POST", JOBS + url, bodies[kind], content_type=kind)
    assert (response.status, response.problem, says in response.json()["detail"]) == (400, "bad_request", True)
    assert await uploaded(app) == []


async def test_validation_errors_name_fields_and_suggestions(app: Stack) -> None:
    response = await call(app, "POST", JOBS, {"source": {"name": "a/../b"}, "recipe": "web", "sorce": 1})
    assert response.json()["detail"] == (
        "source must be a valid string; source.name: no part of a blob name may be '.' or '..'; "
        "unknown field 'sorce'; did you mean 'source'?"
    )
    response = await call(app, "GET", f"{JOBS}?limit=x")
    assert response.json()["detail"] == "limit must be a valid integer"
    response = await call(app, "POST", JOBS, {"recipe": "web"})
    assert response.json()["detail"] == "missing field 'source'"


async def test_an_unknown_job_is_404(app: Stack) -> None:
    for job_id in ("web.AAAA", "nonsense", "web.", "..%2f", "_adhoc.AAAA"):
        response = await call(app, "GET", f"{JOBS}/{job_id}")
        assert (response.status, response.problem) == (404, "unknown_job")


async def test_an_internal_error_is_a_500_without_details(caplog: pytest.LogCaptureFixture) -> None:
    async def failing() -> Response:
        raise ZeroDivisionError("secret")

    response = await respond(failing)
    assert response.status_code == 500
    assert b"secret" not in response.get_body()
    assert "secret" in caplog.text


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\photos\\a b.jpg", "a-b.jpg"),
        ("", "image"),
        ("...", "image"),
        ("<img onerror=1>.png", "img-onerror-1-.png"),
        ("ü" * 300 + ".png", "png"),
    ],
)
def test_uploaded_file_names_are_made_safe(name: str, safe: str) -> None:
    assert safe_file_name(name) == safe
