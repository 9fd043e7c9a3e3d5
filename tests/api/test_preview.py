"""What a recipe makes of an image, at once, and without a trace."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator

import pytest

from tests.api.calling import MULTIPART, call, form_body
from tests.images import form, picture, sides
from tests.stack import Stack, opened

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
async def open_stack(environ: dict[str, str]) -> AsyncIterator[Stack]:
    async with opened({**environ, "PIPELINE_ADHOC_RECIPES": "on"}) as stack:
        yield stack


async def test_a_recipe_in_yaml_is_tried_on_an_image_and_nothing_is_kept(open_stack: Stack) -> None:
    body = form_body(picture(640, 480, "PNG"), text=TEXT)
    answer = await call(open_stack, "POST", PREVIEW, body, content_type=MULTIPART)
    document = answer.json()
    made = {each["name"]: base64.b64decode(each["data"]) for each in document["renditions"]}
    assert {name: (form(data), sides(data)) for name, data in made.items()} == {
        "a": ("PNG", (100, 50)),
        "b": ("JPEG", (50, 25)),
    }
    assert document["source"]["width"] == 640
    assert await open_stack.outputs() == {}
    settings = open_stack.services.settings
    container = open_stack.services.account.container(settings.upload_container)
    assert [blob async for blob in container.list_blobs()] == []


async def test_a_known_recipe_is_previewed_also_where_others_are_not_allowed(stack: Stack) -> None:
    asked = f"{PREVIEW}?recipe=tutorial"
    answer = await call(stack, "POST", asked, picture(640, 480), content_type="image/jpeg", accept="image/*")
    assert (answer.kind, sides(answer.body)) == ("image/png", (300, 300))
    refused = await call(stack, "POST", PREVIEW, form_body(picture(), text=TEXT), content_type=MULTIPART)
    assert (refused.status, refused.problem) == (403, "adhoc_not_allowed")


WRONG: list[tuple[dict[str, str], str, str]] = [
    ({"text": "renditions: {a: {format: jpeg, qualty: 5}}"}, "bad_recipe", "line 1, column 32: renditions.a.qualty"),
    ({"text": "renditions: [unclosed"}, "bad_recipe", "not YAML"),
    ({"text": "just words"}, "bad_recipe", ""),
    ({"text": "{}", "recipe": "web"}, "bad_request", "field"),
    ({}, "bad_request", "field"),
    ({"recipe": "wep"}, "unknown_recipe", "web"),
    ({"recipe": "tutorial"}, "not_an_image", ""),
]


async def test_what_is_wrong_is_said(open_stack: Stack) -> None:
    for fields, problem, says in WRONG:
        body = form_body(b"no image" * 20, **fields)
        answer = await call(open_stack, "POST", PREVIEW, body, content_type=MULTIPART)
        assert answer.problem == problem, fields
        assert says in answer.json()["detail"], fields


async def test_renditions_over_the_limit_of_an_answer_are_not_collected(environ: dict[str, str]) -> None:
    async with opened({**environ, "PIPELINE_HTTP_MAX_RESPONSE_BYTES": "1000"}) as stack:
        answer = await call(stack, "POST", f"{PREVIEW}?recipe=tutorial", picture(), content_type="image/jpeg")
        assert answer.problem == "response_too_large"
