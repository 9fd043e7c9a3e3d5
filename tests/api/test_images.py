"""Renditions and sources over HTTP: images with headers that keep browsers from executing them."""

from __future__ import annotations

import pytest

from tests.api.client import ApiResponse, call
from tests.api.conftest import Backend
from tests.images import image_bytes
from tests.stack import Stack

JOBS = "/api/jobs"


async def done(app: Stack, data: bytes, name: str = "photos/a b.jpg") -> dict[str, str]:
    await app.upload(name, data)
    response = await call(app, "POST", JOBS, {"source": name, "recipe": "web"})
    urls = {one["name"]: one["href"] for one in response.json().get("renditions", [])}
    job_id = response.json().get("id") or response.json()["job"]
    return {**urls, "source": f"{JOBS}/{job_id}/source"}


def is_safe(response: ApiResponse) -> None:
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]


@pytest.mark.both
async def test_renditions_have_safe_headers_and_support_etags(app: Stack) -> None:
    urls = await done(app, image_bytes())
    response = await call(app, "GET", urls["thumb"])
    is_safe(response)
    assert (response.status, response.headers["Content-Disposition"]) == (200, 'inline; filename="thumb.jpg"')
    for url in (urls["thumb"], urls["source"]):
        first = await call(app, "GET", url)
        tag = first.headers["ETag"]
        for known in (tag, f'"x", W/{tag}', "*"):
            again = await call(app, "GET", url, if_none_match=known)
            assert (again.status, again.body, again.kind) == (304, b"", "image/jpeg")
            assert again.headers["Cache-Control"] == first.headers["Cache-Control"] == "private, no-cache"
            assert again.headers["ETag"] == tag
    assert (await call(app, "GET", urls["source"], if_none_match='"x"')).status == 200
    gone = await call(app, "GET", urls["thumb"].replace("thumb", "thump"))
    assert (gone.status, gone.problem) == (404, "rendition_gone")
    assert gone.json()["job"] in urls["thumb"]


async def test_sources_are_returned_only_in_the_version_of_the_job(app: Stack) -> None:
    data = image_bytes()
    url = (await done(app, data))["source"]
    response = await call(app, "GET", url)
    is_safe(response)
    assert (response.body, response.kind) == (data, "image/jpeg")
    assert response.headers["Content-Disposition"] == 'attachment; filename="a-b.jpg"'
    await app.upload("photos/a b.jpg", image_bytes(seed=90))
    assert (await call(app, "GET", url)).problem == "source_changed"
    container = app.services.account.container(app.services.settings.input_container)
    await container.delete_blob("photos/a b.jpg")
    assert (await call(app, "GET", url)).problem == "source_gone"


async def test_other_content_is_sent_as_a_download(app: Stack) -> None:
    page = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"
    response = await call(app, "GET", (await done(app, page, "a.svg"))["source"])
    is_safe(response)
    assert (response.body, response.kind) == (page, "application/octet-stream")
    assert response.headers["Content-Disposition"].startswith("attachment")


async def test_images_above_the_response_limit_are_rejected(backend: Backend) -> None:
    async with backend.opened(http_max_response_bytes=1000) as app:
        urls = await done(app, image_bytes())
        for what in ("source", "small"):
            response = await call(app, "GET", urls[what])
            assert (response.status, response.problem) == (422, "response_too_large")
