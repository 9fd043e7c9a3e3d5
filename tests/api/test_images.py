"""Renditions and sources over HTTP: bytes with headers that no browser can misunderstand."""

from __future__ import annotations

from tests.api.calling import Answered, call
from tests.images import picture
from tests.stack import Stack, opened

JOBS = "/api/jobs"


async def done(stack: Stack, data: bytes, name: str = "photos/a b.jpg") -> dict[str, str]:
    await stack.drop(name, data)
    answer = await call(stack, "POST", JOBS, {"source": name, "recipe": "web"})
    addresses = {one["name"]: one["href"] for one in answer.json().get("renditions", [])}
    job_id = answer.json().get("id") or answer.json()["job"]
    return {**addresses, "source": f"{JOBS}/{job_id}/source"}


def is_safe(answer: Answered) -> None:
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


async def test_a_rendition_comes_with_safe_headers_and_only_when_it_is_news(stack: Stack) -> None:
    addresses = await done(stack, picture())
    answer = await call(stack, "GET", addresses["thumb"])
    is_safe(answer)
    assert (answer.status, answer.headers["Content-Disposition"]) == (200, 'inline; filename="thumb.jpg"')
    for address in (addresses["thumb"], addresses["source"]):
        first = await call(stack, "GET", address)
        tag = first.headers["ETag"]
        for known in (tag, f'"x", W/{tag}', "*"):
            again = await call(stack, "GET", address, if_none_match=known)
            assert (again.status, again.body, again.kind) == (304, b"", "image/jpeg")
            assert again.headers["Cache-Control"] == first.headers["Cache-Control"] == "private, no-cache"
            assert again.headers["ETag"] == tag
    assert (await call(stack, "GET", addresses["source"], if_none_match='"x"')).status == 200
    gone = await call(stack, "GET", addresses["thumb"].replace("thumb", "thump"))
    assert (gone.status, gone.problem) == (404, "rendition_gone")
    assert gone.json()["job"] in addresses["thumb"]


async def test_a_source_comes_as_what_it_is_and_only_in_the_version_of_the_job(stack: Stack) -> None:
    data = picture()
    address = (await done(stack, data))["source"]
    answer = await call(stack, "GET", address)
    is_safe(answer)
    assert (answer.body, answer.kind) == (data, "image/jpeg")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="a-b.jpg"'
    await stack.drop("photos/a b.jpg", picture(seed=90))
    assert (await call(stack, "GET", address)).problem == "source_changed"
    container = stack.services.account.container(stack.services.settings.input_container)
    await container.delete_blob("photos/a b.jpg")
    assert (await call(stack, "GET", address)).problem == "source_gone"


async def test_what_is_no_image_comes_as_bytes_to_be_saved(stack: Stack) -> None:
    page = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"
    answer = await call(stack, "GET", (await done(stack, page, "a.svg"))["source"])
    is_safe(answer)
    assert (answer.body, answer.kind) == (page, "application/octet-stream")
    assert answer.headers["Content-Disposition"].startswith("attachment")


async def test_an_image_over_the_limit_is_not_carried(environ: dict[str, str]) -> None:
    async with opened({**environ, "PIPELINE_HTTP_MAX_RESPONSE_BYTES": "1000"}) as stack:
        addresses = await done(stack, picture())
        for what in ("source", "small"):
            answer = await call(stack, "GET", addresses[what])
            assert (answer.status, answer.problem) == (422, "response_too_large")
