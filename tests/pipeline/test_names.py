"""Names of blobs and containers at the edge of what storage allows."""

from __future__ import annotations

import pytest

from pipeline.errors import StorageUnavailable
from pipeline.runs import Selection
from tests.api.client import call
from tests.images import image_bytes
from tests.memory import Memory, open_in_memory
from tests.stack import Stack

ODD, GOOD = "photos/a\x01\nb.jpg", "photos/c.jpg"


async def test_a_source_with_a_control_character_is_one_failure_that_names_it(memory: Memory) -> None:
    services = memory.services
    for name in (ODD, GOOD):
        await memory.upload(name, image_bytes(60, 40))
    plan = await services.planner.plan(Selection(recipes=("web",)))
    assert plan.jobs == 2
    run = await services.runs.start(Selection(recipes=("web",)), expected_count=2)
    await memory.process_messages()
    assert (await services.runs.get(run.id)).state == "done"
    entry = await memory.entry("web", ODD)
    assert entry is not None
    assert (entry.state, entry.error_kind, entry.attempts) == ("failed", "bad_name", 1)
    assert entry.error_message == (
        r"the name of the blob input/photos/a\x01\nb.jpg has a control character: rename the blob"
    )
    assert await memory.outputs() != {}
    assert (await services.planner.plan(Selection(recipes=("web",)))).jobs == 0
    listed = (await call(memory, "GET", "/api/jobs")).json()["jobs"]
    assert {job["source"]["name"]: job["state"] for job in listed} == {ODD: "failed", GOOD: "done"}
    assert (await services.health.check()).healthy


@pytest.mark.parametrize("name", ["photos/\x7f.jpg", "photos/\x85.jpg", "photos/\ufffe.jpg", "photos/\t.jpg"])
async def test_each_character_that_listings_cannot_hold_is_refused(memory: Memory, name: str) -> None:
    await memory.upload(name, image_bytes(60, 40))
    await memory.services.dispatcher.handle_blob("input", name)
    entry = await memory.entry("web", name)
    assert entry is not None
    assert entry.error_kind == "bad_name"
    requested = await call(memory, "POST", "/api/jobs", {"source": name, "recipe": "web"})
    assert requested.status == 400


@pytest.mark.stack
async def test_a_container_that_the_emulator_cannot_list_names_the_cause(stack: Stack) -> None:
    await stack.upload(ODD, image_bytes(60, 40))
    with pytest.raises(StorageUnavailable, match=r"Azurite cannot list a container .* control character"):
        await stack.services.sources.page(stack.services.settings.input_container)
    await stack.services.dispatcher.handle_blob(stack.services.settings.input_container, ODD)
    entry = await stack.entry("web", ODD)
    assert entry is not None
    assert entry.error_kind == "bad_name"


async def test_the_web_site_container_may_hold_the_renditions() -> None:
    async with open_in_memory(output_container="$web") as memory:
        await memory.upload(GOOD, image_bytes(60, 40))
        done = await call(memory, "POST", "/api/jobs", {"source": GOOD, "recipe": "web"})
        assert (done.status, done.json()["state"]) == (200, "done")
        rendition = await call(memory, "GET", done.json()["renditions"][0]["href"])
        assert rendition.status == 200
        assert len(await memory.outputs()) == 2
        assert (await memory.services.health.check()).healthy
