"""Jobs over HTTP: what is asked for comes back, and what is wrong is said. On the embedded stack."""

from __future__ import annotations

import asyncio
from typing import Any

import azure.functions as func
import pytest

from pipeline.api import http_trigger, routes, submit
from pipeline.api.http import Response, respond
from pipeline.storage.blob_names import safe_file_name
from tests.api.calling import MULTIPART, call, form_body
from tests.images import form, picture, sides
from tests.stack import Stack, opened
from tests.waiting import eventually

JOBS = "/api/jobs"


async def uploaded(stack: Stack) -> list[Any]:
    container = stack.services.account.container(stack.services.settings.upload_container)
    return [blob async for blob in container.list_blobs()]


async def test_a_job_for_a_blob_answers_with_its_renditions(stack: Stack) -> None:
    await stack.drop("photos/a.jpg", picture(800, 600))
    answer = await call(stack, "POST", JOBS, {"source": "photos/a.jpg", "recipe": "web"})
    job = answer.json()
    assert (answer.status, job["state"]) == (200, "done")
    assert [(one["name"], one["width"], one["height"]) for one in job["renditions"]] == [
        ("small", 200, 150),
        ("thumb", 64, 64),
    ]
    assert "path" not in job["renditions"][0]
    assert (await call(stack, "GET", job["href"])).json() == job
    image = await call(stack, "GET", job["renditions"][1]["href"])
    assert (image.kind, sides(image.body)) == ("image/jpeg", (64, 64))


async def test_links_keep_the_prefix_that_the_request_came_through(stack: Stack) -> None:
    await stack.drop("photos/a.jpg", picture())
    request = func.HttpRequest(
        "POST",
        "https://pictures.example/tools/images/v7/jobs?code=secret",
        headers={"content-type": "application/json", "prefer": "respond-async"},
        body=b'{"source": "photos/a.jpg", "recipe": "web"}',
    )
    answer = await http_trigger.handle(routes.ROUTES[0], lambda: stack.services, request)
    assert answer.headers["Location"].startswith("/tools/images/v7/jobs/web.")
    assert "secret" not in answer.headers["Location"]


async def test_one_rendition_comes_back_as_the_image_itself_when_an_image_is_accepted(stack: Stack) -> None:
    await stack.drop("a.jpg", picture(640, 480))
    asked = {"source": "a.jpg", "recipe": "tutorial"}
    answer = await call(stack, "POST", JOBS, asked, accept="image/*")
    assert (answer.status, answer.kind) == (200, "image/png")
    assert (form(answer.body), sides(answer.body)) == ("PNG", (300, 300))
    for accept in ("application/json, image/*", "image/*;q=0.5, application/json", "*/*"):
        assert (await call(stack, "POST", JOBS, asked, accept=accept)).kind == "application/json"


@pytest.mark.parametrize("kind", [MULTIPART, "image/png"])
async def test_an_image_can_come_with_the_request(stack: Stack, kind: str) -> None:
    image = picture(640, 480, "PNG")
    body = form_body(image, recipe="tutorial") if kind == MULTIPART else image
    query = "" if kind == MULTIPART else "?recipe=tutorial&name=my%20photo.png"
    answer = await call(stack, "POST", JOBS + query, body, content_type=kind, accept="image/png")
    assert (answer.status, sides(answer.body)) == (200, (300, 300))
    (blob,) = await uploaded(stack)
    assert blob.name.endswith("/my-photo.png")


async def test_a_type_that_is_no_images_does_not_become_the_blobs(stack: Stack) -> None:
    body = form_body(picture(640, 480, "PNG"), recipe="tutorial").replace(b"image/png", "imagé/<png>".encode())
    assert (await call(stack, "POST", JOBS, body, content_type=MULTIPART)).status == 200
    (blob,) = await uploaded(stack)
    assert blob.content_settings.content_type == "application/octet-stream"


async def test_an_answer_at_once_says_where_to_look(stack: Stack) -> None:
    await stack.drop("photos/a.jpg", picture())
    asked = {"source": "photos/a.jpg", "recipe": "web"}
    answer = await call(stack, "POST", JOBS, asked, prefer="respond-async")
    assert (answer.status, answer.headers["Preference-Applied"]) == (202, "respond-async")
    job = answer.json()
    assert answer.headers["Location"] == job["href"] == f"/api/jobs/{job['id']}"
    assert int(answer.headers["Retry-After"]) > 0
    assert (await call(stack, "GET", job["href"])).json()["state"] == "queued"
    (message,) = await stack.messages()
    assert (message["recipe"], message["name"]) == ("web", "photos/a.jpg")


async def test_a_job_that_takes_longer_goes_on_and_is_queued_as_well(environ: dict[str, str]) -> None:
    async with opened({**environ, "PIPELINE_HTTP_SYNC_WAIT": "0.01"}) as stack:
        await stack.drop("photos/a.jpg", picture())
        asked = {"source": "photos/a.jpg", "recipe": "web"}
        answer = await call(stack, "POST", JOBS, asked, prefer="wait=100")
        assert (answer.status, answer.headers["Preference-Applied"]) == (202, "wait=0")
        assert await stack.waiting() == 1
        await submit.drain_background_jobs()
        entry = await stack.entry("web", "photos/a.jpg")
        assert entry is not None
        assert entry.state == "done"


async def test_a_request_waits_for_a_job_that_somebody_else_is_on(environ: dict[str, str]) -> None:
    async with opened(environ) as stack, opened(environ) as other:
        await stack.drop("photos/a.jpg", picture(2000, 1500))
        container = stack.services.settings.input_container
        theirs = asyncio.create_task(other.services.dispatcher.handle_blob(container, "photos/a.jpg"))

        async def claimed() -> bool:
            return await stack.entry("web", "photos/a.jpg") is not None

        await eventually(claimed)
        answer = await call(stack, "POST", JOBS, {"source": "photos/a.jpg", "recipe": "web"})
        await theirs
        assert (answer.status, answer.json()["state"], answer.json()["attempts"]) == (200, "done", 1)


async def test_a_failed_job_is_a_problem_document_with_reason_stage_and_job(stack: Stack) -> None:
    await stack.drop("photos/a.jpg", b"no image" * 50)
    answer = await call(stack, "POST", JOBS, {"source": "photos/a.jpg", "recipe": "web"})
    assert (answer.status, answer.problem) == (422, "not_an_image")
    assert (answer.json()["stage"], answer.json()["job"].split(".")[0]) == ("execute", "web")


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
    "an address": (named("https://example.org/a.jpg"), "", 400, "bad_request"),
    "an absolute path": (named("/etc/passwd"), "", 400, "bad_request"),
    "a backslash": (named("a\\b"), "", 400, "bad_request"),
    "a way up": (named("a/../../b.jpg"), "", 400, "bad_request"),
    "an encoded way up": (named("a/%2e%2E/b.jpg"), "", 400, "bad_request"),
    "unknown recipe": ({"source": "a.jpg", "recipe": "wep"}, "", 404, "unknown_recipe"),
    "no such blob": (named("a.jpg"), "", 404, "source_gone"),
    "a document too large": (b"[" * (1024 * 1024 + 1), "application/json", 413, "body_too_large"),
    "another type": (b"<a/>", "text/xml", 415, "unsupported_media_type"),
    "a form without a file": (b"--cut--\r\n", MULTIPART, 400, "bad_request"),
    "a form with an unknown field": (form_body(b"...", recipe="web", url="x"), MULTIPART, 400, "bad_request"),
    "an image without a recipe": (b"...", "image/png", 400, "bad_request"),
    "a key of too many characters": (named("a"), "key", 400, "bad_request"),
}


async def test_every_wrong_request_gets_its_own_problem(stack: Stack) -> None:
    found = {}
    for case, (body, kind, _, _) in BAD.items():
        headers = {"idempotency_key": "x" * 256} if kind == "key" else {"content_type": kind} if kind else {}
        answer = await call(stack, "POST", JOBS, body, **headers)
        found[case] = (answer.status, answer.problem)
        assert "Traceback" not in answer.json()["detail"]
    assert found == {case: (status, problem) for case, (_, _, status, problem) in BAD.items()}


@pytest.mark.parametrize(
    ("address", "kind", "says"),
    [
        ("?recipe=tutorial&bogus=1", "image/png", "unknown query parameter 'bogus'"),
        ("?bogus=1", MULTIPART, "unknown query parameter 'bogus'"),
        ("?recipe=web", MULTIPART, "recipe differs between the URL and the form"),
        ("?recipe=web", "application/json", "unknown query parameter 'recipe'"),
    ],
)
async def test_what_the_address_says_is_known_and_fits_the_body(
    stack: Stack, address: str, kind: str, says: str
) -> None:
    image = picture(640, 480, "PNG")
    bodies = {"image/png": image, MULTIPART: form_body(image, recipe="tutorial"), "application/json": b"{}"}
    answer = await call(stack, "POST", JOBS + address, bodies[kind], content_type=kind)
    assert (answer.status, answer.problem, says in answer.json()["detail"]) == (400, "bad_request", True)
    assert await uploaded(stack) == []


async def test_what_is_wrong_is_said_in_the_words_of_the_document(stack: Stack) -> None:
    answer = await call(stack, "POST", JOBS, {"source": {"name": "a/../b"}, "recipe": "web", "sorce": 1})
    assert answer.json()["detail"] == (
        "source must be a valid string; source.name: no part of a blob name may be '.' or '..'; "
        "unknown field 'sorce'; did you mean 'source'?"
    )
    answer = await call(stack, "GET", f"{JOBS}?limit=x")
    assert answer.json()["detail"] == "limit must be a valid integer"
    answer = await call(stack, "POST", JOBS, {"recipe": "web"})
    assert answer.json()["detail"] == "missing field 'source'"


async def test_an_unknown_job_is_404(stack: Stack) -> None:
    for job_id in ("web.AAAA", "nonsense", "web.", "..%2f", "_adhoc.AAAA"):
        answer = await call(stack, "GET", f"{JOBS}/{job_id}")
        assert (answer.status, answer.problem) == (404, "unknown_job")


async def test_a_bug_is_a_500_that_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> Response:
        raise ZeroDivisionError("secret")

    answer = await respond(broken)
    assert answer.status_code == 500
    assert b"secret" not in answer.get_body()
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
def test_a_file_name_from_outside_is_made_safe(name: str, safe: str) -> None:
    assert safe_file_name(name) == safe
