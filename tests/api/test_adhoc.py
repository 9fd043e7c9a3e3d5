"""Recipes that come with a request: refused unless allowed, checked like the file's, and found again by the queue."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from pipeline.errors import ConfigError, RecipeError
from pipeline.recipes import adhoc, loads
from pipeline.storage.keys import JobKey
from tests.api.calling import call
from tests.images import form, picture, sides
from tests.stack import Stack, opened

JOBS = "/api/jobs"
OWN: dict[str, Any] = {
    "transforms": [{"crop": {"box": [0, 0, 200, 100]}}],
    "renditions": {"half": {"format": "png", "transforms": [{"resize": {"width": 100}}]}},
}


@pytest.fixture
async def open_stack(environ: dict[str, str]) -> AsyncIterator[Stack]:
    async with opened({**environ, "PIPELINE_ADHOC_RECIPES": "on"}) as stack:
        yield stack


async def test_a_recipe_of_a_request_is_refused_unless_the_settings_allow_it(stack: Stack) -> None:
    await stack.drop("a.jpg", picture())
    answer = await call(stack, "POST", JOBS, {"source": "a.jpg", **OWN})
    assert (answer.status, answer.problem) == (403, "adhoc_not_allowed")
    assert "PIPELINE_ADHOC_RECIPES" in answer.json()["detail"]
    known = {"source": "a.jpg", "recipe": adhoc.name_of(OWN)}
    assert (await call(stack, "POST", JOBS, known)).problem == "adhoc_not_allowed"


async def test_a_recipe_of_a_request_makes_its_renditions_in_a_place_of_its_own(open_stack: Stack) -> None:
    await open_stack.drop("photos/a.jpg", picture(800, 600))
    job = (await call(open_stack, "POST", JOBS, {"source": "photos/a.jpg", **OWN})).json()
    assert (job["state"], job["recipe"]) == ("done", adhoc.name_of(OWN))
    ((path, data),) = (await open_stack.outputs()).items()
    digest = adhoc.name_of(OWN).removeprefix("_adhoc-")
    assert path == f"adhoc/{digest}/photos/a.jpg/half.png"
    assert (form(data), sides(data)) == ("PNG", (100, 50))
    reordered = {"renditions": OWN["renditions"], "transforms": OWN["transforms"], "source": "photos/a.jpg"}
    again = (await call(open_stack, "POST", JOBS, reordered)).json()
    assert (again["id"], again["attempts"]) == (job["id"], 1), "the same recipe is the same job, done once"


async def test_a_recipe_of_a_request_survives_the_hop_through_the_queue(
    open_stack: Stack, environ: dict[str, str]
) -> None:
    await open_stack.drop("a.jpg", picture())
    answer = await call(open_stack, "POST", JOBS, {"source": "a.jpg", **OWN}, prefer="respond-async")
    (message,) = await open_stack.messages()
    async with opened({**open_stack.environ}) as another:
        body = str(message).replace("'", '"').encode()
        await another.services.dispatcher.handle_message(body)
    assert (await call(open_stack, "GET", answer.json()["href"])).json()["state"] == "done"


CODE = {"transforms": [{"code": "def transform(image, params):\n    return image"}], "renditions": OWN["renditions"]}
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown transform": ({"transforms": [{"explode": {}}], "renditions": OWN["renditions"]}, "transforms[0]"),
    "a number out of bounds": (
        {"renditions": {"a": {"format": "jpeg", "quality": 1000}}},
        "renditions.a.quality",
    ),
    "a path": ({"renditions": {"a": {"format": "jpeg", "path": "../x/{stem}"}}}, "renditions.a.path"),
    "no renditions": ({"renditions": {}}, "renditions"),
    "a block that is nowhere": ({"transforms": [{"use": "x"}], "renditions": OWN["renditions"]}, "transforms[0]"),
    "code": (CODE, "transforms[0]"),
    "renditions that are none": ({"renditions": {"a": [1]}}, "renditions.a"),
    "too many renditions": (
        {"renditions": {f"r{number}": {"format": "jpeg"} for number in range(30)}},
        "PIPELINE_MAX_RENDITIONS",
    ),
}


async def test_a_wrong_recipe_is_told_by_its_place(open_stack: Stack) -> None:
    await open_stack.drop("a.jpg", picture())
    for case, (document, place) in WRONG.items():
        answer = await call(open_stack, "POST", JOBS, {"source": "a.jpg", **document})
        assert (answer.status, answer.problem) == (422, "bad_recipe"), case
        assert place in answer.json()["detail"], case


async def test_code_needs_two_settings(environ: dict[str, str]) -> None:
    allowed = {"PIPELINE_ADHOC_RECIPES": "code", "PIPELINE_ALLOW_CODE": "true"}
    async with opened({**environ, **allowed}) as stack:
        await stack.drop("a.jpg", picture(800, 600))
        job = (await call(stack, "POST", JOBS, {"source": "a.jpg", **CODE})).json()
        assert (job["state"], job["renditions"][0]["width"]) == ("done", 100)
    async with opened({**environ, "PIPELINE_ADHOC_RECIPES": "code"}) as stack:
        await stack.drop("a.jpg", picture())
        assert (await call(stack, "POST", JOBS, {"source": "a.jpg", **CODE})).problem == "bad_recipe"


def test_no_recipe_of_a_file_can_have_the_name_of_one_of_a_request() -> None:
    name = adhoc.name_of(OWN)
    assert adhoc.is_name(name)
    with pytest.raises(ConfigError, match="must be 1 to 40"):
        loads(f'recipes: {{"{name}": {{renditions: {{a: {{format: jpeg}}}}}}}}')


def test_where_input_and_output_are_one_container_nothing_is_written_that_a_recipe_takes() -> None:
    takes_all = loads("recipes: {all: {match: {include: ['**/*.jpg']}, renditions: {a: {format: webp}}}}")
    adhoc.for_job(OWN, beside=takes_all)
    with pytest.raises(RecipeError, match="loop"):
        adhoc.for_job({"renditions": {"a": {"format": "jpeg"}}}, beside=takes_all)


def test_the_row_of_a_job_of_a_request_leads_back_to_its_recipe_and_fits_into_a_key() -> None:
    name = adhoc.name_of(OWN)
    for source in ("a.jpg", "x" * 1024, "ü/" * 300):
        key = JobKey.of(name, "input", source)
        assert (key.partition, key.recipe, JobKey.parse(key.id)) == (adhoc.GROUP, name, key)
        assert len(key.row) <= 500
