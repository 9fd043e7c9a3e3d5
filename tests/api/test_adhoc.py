"""Ad-hoc recipes: rejected unless allowed, validated like those of the file, and found again by the queue worker."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pipeline.errors import ConfigError, RecipeError
from pipeline.recipes import adhoc, loads
from pipeline.storage.keys import JobKey
from tests.api.client import call
from tests.api.conftest import Backend
from tests.images import detect_format, image_bytes, size
from tests.stack import Stack

JOBS = "/api/jobs"
OWN: dict[str, Any] = {
    "transforms": [{"crop": {"box": [0, 0, 200, 100]}}],
    "renditions": {"half": {"format": "png", "transforms": [{"resize": {"width": 100}}]}},
}


@pytest.fixture
async def open_app(backend: Backend) -> AsyncIterator[Stack]:
    async with backend.opened(adhoc_recipes="on") as app:
        yield app


async def test_adhoc_recipes_are_rejected_unless_allowed(app: Stack) -> None:
    await app.upload("a.jpg", image_bytes())
    response = await call(app, "POST", JOBS, {"source": "a.jpg", **OWN})
    assert (response.status, response.problem) == (403, "adhoc_not_allowed")
    assert "PIPELINE_ADHOC_RECIPES" in response.json()["detail"]
    known = {"source": "a.jpg", "recipe": adhoc.name_of(OWN)}
    assert (await call(app, "POST", JOBS, known)).problem == "adhoc_not_allowed"


async def test_adhoc_renditions_have_their_own_path_prefix(open_app: Stack) -> None:
    await open_app.upload("photos/a.jpg", image_bytes(800, 600))
    job = (await call(open_app, "POST", JOBS, {"source": "photos/a.jpg", **OWN})).json()
    assert (job["state"], job["recipe"]) == ("done", adhoc.name_of(OWN))
    ((path, data),) = (await open_app.outputs()).items()
    digest = adhoc.name_of(OWN).removeprefix("_adhoc-")
    assert path == f"adhoc/{digest}/photos/a.jpg/half.png"
    assert (detect_format(data), size(data)) == ("PNG", (100, 50))
    reordered = {"renditions": OWN["renditions"], "transforms": OWN["transforms"], "source": "photos/a.jpg"}
    again = (await call(open_app, "POST", JOBS, reordered)).json()
    assert (again["id"], again["attempts"]) == (job["id"], 1), "the same recipe is the same job and is executed once"


@pytest.mark.both
async def test_another_process_executes_a_queued_adhoc_job(open_app: Stack, backend: Backend) -> None:
    await open_app.upload("a.jpg", image_bytes())
    response = await call(open_app, "POST", JOBS, {"source": "a.jpg", **OWN}, prefer="respond-async")
    (message,) = await open_app.messages()
    async with backend.opened(adhoc_recipes="on") as another:
        body = json.dumps(message).encode()
        await another.services.dispatcher.handle_message(body)
    assert (await call(open_app, "GET", response.json()["href"])).json()["state"] == "done"


CODE = {"transforms": [{"code": "def transform(image, params):\n    return image"}], "renditions": OWN["renditions"]}
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown transform": ({"transforms": [{"explode": {}}], "renditions": OWN["renditions"]}, "transforms[0]"),
    "a number out of bounds": (
        {"renditions": {"a": {"format": "jpeg", "quality": 1000}}},
        "renditions.a.quality",
    ),
    "a path": ({"renditions": {"a": {"format": "jpeg", "path": "../x/{stem}"}}}, "renditions.a.path"),
    "no renditions": ({"renditions": {}}, "renditions"),
    "an undefined block": ({"transforms": [{"use": "x"}], "renditions": OWN["renditions"]}, "transforms[0]"),
    "code": (CODE, "transforms[0]"),
    "a rendition that is a list": ({"renditions": {"a": [1]}}, "renditions.a"),
    "too many renditions": (
        {"renditions": {f"r{number}": {"format": "jpeg"} for number in range(30)}},
        "PIPELINE_MAX_RENDITIONS",
    ),
}


async def test_errors_in_an_adhoc_recipe_name_their_position(open_app: Stack) -> None:
    await open_app.upload("a.jpg", image_bytes())
    for case, (document, place) in WRONG.items():
        response = await call(open_app, "POST", JOBS, {"source": "a.jpg", **document})
        assert (response.status, response.problem) == (422, "bad_recipe"), case
        assert place in response.json()["detail"], case


async def test_code_needs_two_settings(backend: Backend) -> None:
    async with backend.opened(adhoc_recipes="code", allow_code=True) as app:
        await app.upload("a.jpg", image_bytes(800, 600))
        job = (await call(app, "POST", JOBS, {"source": "a.jpg", **CODE})).json()
        assert (job["state"], job["renditions"][0]["width"]) == ("done", 100)
    async with backend.opened(adhoc_recipes="code") as app:
        await app.upload("a.jpg", image_bytes())
        assert (await call(app, "POST", JOBS, {"source": "a.jpg", **CODE})).problem == "bad_recipe"


def test_recipe_files_cannot_use_adhoc_names() -> None:
    name = adhoc.name_of(OWN)
    assert adhoc.is_name(name)
    with pytest.raises(ConfigError, match="must be 1 to 40"):
        loads(f'recipes: {{"{name}": {{renditions: {{a: {{format: jpeg}}}}}}}}')


def test_adhoc_outputs_never_match_a_recipe_of_the_file() -> None:
    takes_all = loads("recipes: {all: {match: {include: ['**/*.jpg']}, renditions: {a: {format: webp}}}}")
    adhoc.for_job(OWN, recipe_file=takes_all)
    with pytest.raises(RecipeError, match="loop"):
        adhoc.for_job({"renditions": {"a": {"format": "jpeg"}}}, recipe_file=takes_all)


def test_adhoc_job_keys_round_trip_and_fit_the_table() -> None:
    name = adhoc.name_of(OWN)
    for source in ("a.jpg", "x" * 1024, "ü/" * 300):
        key = JobKey.of(name, "input", source)
        assert (key.group, key.recipe, JobKey.parse(key.id)) == (adhoc.GROUP, name, key)
        assert len(key.row) <= 500
