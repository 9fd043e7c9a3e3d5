"""Jobs over HTTP: what is asked for comes back, and what is wrong is said. On the embedded stack."""

from __future__ import annotations

import json
from typing import Any

import azure.functions as func
import pytest

from pipeline.web import jobs
from pipeline.web.requests import safe_name
from tests.images import form, picture, sides
from tests.stack import Stack, opened

MULTIPART = "multipart/form-data; boundary=cut"


def request(body: bytes = b"", kind: str = "application/json", **headers: str) -> func.HttpRequest:
    named = {"content-type": kind, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return func.HttpRequest(method="POST", url="http://127.0.0.1/api/jobs", headers=named, body=body)


def asked(**body: Any) -> func.HttpRequest:
    headers = {name: body.pop(name) for name in ("prefer", "accept") if name in body}
    return request(json.dumps(body).encode(), **headers)


def form_body(image: bytes, **fields: str) -> bytes:
    parts = [
        f'--cut\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()
    ]
    head = '--cut\r\nContent-Disposition: form-data; name="image"; filename="../../my photo.png"\r\n'
    return "".join(parts).encode() + f"{head}Content-Type: image/png\r\n\r\n".encode() + image + b"\r\n--cut--\r\n"


async def submit(stack: Stack, wanted: func.HttpRequest) -> func.HttpResponse:
    return await jobs.answered(lambda: jobs.submit(stack.services, wanted))


def read(answer: func.HttpResponse) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(answer.get_body())
    return document


async def test_a_job_for_a_blob_answers_with_its_renditions(stack: Stack) -> None:
    await stack.drop("photos/a.jpg", picture(800, 600))
    answer = await submit(stack, asked(source="photos/a.jpg", recipe="web"))
    job = read(answer)
    assert (answer.status_code, job["state"]) == (200, "done")
    assert [(one["name"], one["width"], one["height"]) for one in job["renditions"]] == [
        ("small", 200, 150),
        ("thumb", 64, 64),
    ]
    assert "path" not in job["renditions"][0]
    shown = await jobs.answered(lambda: jobs.show(stack.services, job["id"]))
    assert read(shown) == job
    name = job["renditions"][1]["name"]
    image = await jobs.answered(lambda: jobs.rendition(stack.services, job["id"], name))
    assert (image.mimetype, sides(image.get_body())) == ("image/jpeg", (64, 64))


async def test_one_rendition_comes_back_as_the_image_itself_when_an_image_is_accepted(stack: Stack) -> None:
    await stack.drop("a.jpg", picture(640, 480))
    answer = await submit(stack, asked(source="a.jpg", recipe="tutorial", accept="image/*"))
    assert (answer.status_code, answer.mimetype) == (200, "image/png")
    assert (form(answer.get_body()), sides(answer.get_body())) == ("PNG", (300, 300))


@pytest.mark.parametrize("kind", [MULTIPART, "image/png"])
async def test_an_image_can_come_with_the_request(stack: Stack, kind: str) -> None:
    image = picture(640, 480, "PNG")
    wanted = request(form_body(image, recipe="tutorial") if kind == MULTIPART else image, kind, accept="image/png")
    if kind != MULTIPART:
        wanted = func.HttpRequest(
            method="POST",
            url=wanted.url,
            headers=dict(wanted.headers),
            params={"recipe": "tutorial", "name": "my photo.png"},
            body=image,
        )
    answer = await submit(stack, wanted)
    assert (answer.status_code, sides(answer.get_body())) == (200, (300, 300))
    container = stack.services.account.container(stack.services.settings.upload_container)
    (name,) = [blob.name async for blob in container.list_blobs()]
    assert name.endswith("/my-photo.png")


async def test_a_type_that_is_no_images_does_not_become_the_blobs(stack: Stack) -> None:
    body = form_body(picture(640, 480, "PNG"), recipe="tutorial").replace(b"image/png", "imagé/<png>".encode())
    assert (await submit(stack, request(body, MULTIPART))).status_code == 200
    container = stack.services.account.container(stack.services.settings.upload_container)
    (blob,) = [blob async for blob in container.list_blobs()]
    assert blob.content_settings.content_type == "application/octet-stream"


async def test_an_answer_at_once_says_where_to_look(stack: Stack) -> None:
    await stack.drop("photos/a.jpg", picture())
    answer = await submit(stack, asked(source="photos/a.jpg", recipe="web", prefer="respond-async"))
    assert answer.status_code == 202
    job = read(answer)
    assert answer.headers["Location"] == job["href"] == f"/api/jobs/{job['id']}"
    assert int(answer.headers["Retry-After"]) > 0
    assert read(await jobs.answered(lambda: jobs.show(stack.services, job["id"])))["state"] == "queued"
    (message,) = await stack.messages()
    assert (message["recipe"], message["name"]) == ("web", "photos/a.jpg")


async def test_a_job_that_takes_longer_goes_on_and_is_queued_as_well(environ: dict[str, str]) -> None:
    async with opened({**environ, "PIPELINE_HTTP_WAIT": "0.01"}) as stack:
        await stack.drop("photos/a.jpg", picture())
        answer = await submit(stack, asked(source="photos/a.jpg", recipe="web"))
        assert answer.status_code == 202
        assert await stack.waiting() == 1
        await jobs.gone_on()
        entry = await stack.entry("web", "photos/a.jpg")
        assert entry is not None
        assert entry.state == "done"


async def test_a_failed_job_is_a_problem_document_with_reason_stage_and_job(stack: Stack) -> None:
    await stack.drop("photos/a.jpg", b"no image" * 50)
    answer = await submit(stack, asked(source="photos/a.jpg", recipe="web"))
    problem = read(answer)
    assert (answer.status_code, answer.mimetype) == (422, "application/problem+json")
    assert problem["type"] == "urn:image-pipeline:problem:not_an_image"
    assert (problem["stage"], problem["job"].split(".")[0]) == ("run", "web")


BAD = {
    "no JSON": (request(b"{"), 400, "bad_request"),
    "unknown field": (asked(source="a", recipe="web", url="http://x"), 400, "bad_request"),
    "no source": (asked(recipe="web"), 400, "bad_request"),
    "an empty name": (asked(source="", recipe="web"), 400, "bad_request"),
    "control characters": (asked(source="a\nb", recipe="web"), 400, "bad_request"),
    "another container": (asked(source={"container": "secrets", "name": "a"}, recipe="web"), 400, "bad_request"),
    "unknown recipe": (asked(source="a.jpg", recipe="wep"), 422, "unknown_recipe"),
    "a way up": (asked(source="a/../../b.jpg", recipe="web"), 400, "bad_request"),
    "no such blob": (asked(source="a.jpg", recipe="web"), 404, "source_gone"),
    "another type": (request(b"<a/>", "text/xml"), 415, "unsupported_media_type"),
    "a form without a file": (request(b"--cut--\r\n", MULTIPART), 400, "bad_request"),
    "an image without a recipe": (request(b"...", "image/png"), 400, "bad_request"),
}


@pytest.mark.parametrize("case", BAD)
async def test_a_wrong_request_gets_its_own_problem(stack: Stack, case: str) -> None:
    wanted, status, kind = BAD[case]
    answer = await submit(stack, wanted)
    problem = read(answer)
    assert (answer.status_code, problem["type"]) == (status, f"urn:image-pipeline:problem:{kind}")
    assert problem["detail"]
    assert "Traceback" not in problem["detail"]


@pytest.mark.parametrize("job_id", ["web.AAAA", "nonsense", "web.", "..%2f"])
async def test_an_unknown_job_is_404(stack: Stack, job_id: str) -> None:
    assert (await jobs.answered(lambda: jobs.show(stack.services, job_id))).status_code == 404


async def test_a_bug_is_a_500_that_tells_nothing(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> func.HttpResponse:
        raise ZeroDivisionError("secret")

    answer = await jobs.answered(broken)
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
    assert safe_name(name) == safe
