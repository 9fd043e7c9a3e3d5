"""Previews of a recipe on an image; nothing is stored."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator

import pytest

from tests.api.client import MULTIPART, call, form_body
from tests.api.conftest import Backend
from tests.images import detect_format, image_bytes, size
from tests.stack import Stack

PREVIEW = "/api/preview"
TEXT = """
match: {include: ["**"]}
transforms:
  - crop: {box: [0, 0, 100, 50]}
renditions:
  a: {format: png}
  b: {format: jpeg, path: "x/{stem}.jpg", transforms: [{resize: {width: 50}}]}
"""


@pytest.fixture
async def open_app(backend: Backend) -> AsyncIterator[Stack]:
    async with backend.opened(adhoc_recipes="on") as app:
        yield app


@pytest.mark.both
async def test_a_preview_of_a_yaml_recipe_stores_nothing(open_app: Stack) -> None:
    body = form_body(image_bytes(640, 480, "PNG"), text=TEXT)
    response = await call(open_app, "POST", PREVIEW, body, content_type=MULTIPART)
    document = response.json()
    made = {each["name"]: base64.b64decode(each["data"]) for each in document["renditions"]}
    assert {name: (detect_format(data), size(data)) for name, data in made.items()} == {
        "a": ("PNG", (100, 50)),
        "b": ("JPEG", (50, 25)),
    }
    assert document["source"]["width"] == 640
    assert await open_app.outputs() == {}
    settings = open_app.services.settings
    container = open_app.services.account.container(settings.upload_container)
    assert [blob async for blob in container.list_blobs()] == []


async def test_recipes_of_the_file_can_always_be_previewed(app: Stack) -> None:
    payload = f"{PREVIEW}?recipe=tutorial"
    response = await call(app, "POST", payload, image_bytes(640, 480), content_type="image/jpeg", accept="image/*")
    assert (response.kind, size(response.body)) == ("image/png", (300, 300))
    rejection = await call(app, "POST", PREVIEW, form_body(image_bytes(), text=TEXT), content_type=MULTIPART)
    assert (rejection.status, rejection.problem) == (403, "adhoc_not_allowed")


WRONG: list[tuple[dict[str, str], str, str]] = [
    ({"text": "renditions: {a: {format: jpeg, qualty: 5}}"}, "bad_recipe", "line 1, column 32: renditions.a.qualty"),
    ({"text": "renditions: [unclosed"}, "bad_recipe", "not YAML"),
    ({"text": "just words"}, "bad_recipe", ""),
    ({"text": "{}", "recipe": "web"}, "bad_request", "field"),
    ({}, "bad_request", "field"),
    ({"recipe": "wep"}, "unknown_recipe", "web"),
    ({"recipe": "tutorial"}, "not_an_image", ""),
]


async def test_invalid_previews_are_explained(open_app: Stack) -> None:
    for fields, problem, says in WRONG:
        body = form_body(b"no image" * 20, **fields)
        response = await call(open_app, "POST", PREVIEW, body, content_type=MULTIPART)
        assert response.problem == problem, fields
        assert says in response.json()["detail"], fields


async def test_previews_above_the_response_limit_are_rejected(backend: Backend) -> None:
    async with backend.opened(http_max_response_bytes=1000) as app:
        response = await call(app, "POST", f"{PREVIEW}?recipe=tutorial", image_bytes(), content_type="image/jpeg")
        assert response.problem == "response_too_large"
