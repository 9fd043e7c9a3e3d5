"""Whether everything is well, and what this app is."""

from __future__ import annotations

from tests.api.calling import call
from tests.stack import Stack, opened


async def test_everything_is_well_on_the_embedded_stack(stack: Stack) -> None:
    answer = await call(stack, "GET", "/api/health")
    health = answer.json()
    assert (answer.status, health["healthy"]) == (200, True)
    assert {each["name"].split()[0] for each in health["dependencies"]} == {"container", "queue", "table", "session"}


async def test_what_is_not_well_is_named_with_its_reason(environ: dict[str, str]) -> None:
    async with opened({**environ, "PIPELINE_POOL_ENDPOINT": "http://127.0.0.1:1"}) as stack:
        settings = stack.services.settings
        await stack.services.account.container(settings.output_container).delete_container()
        answer = await call(stack, "GET", "/api/health")
        assert answer.status == 503
        ill = {each["name"]: each["reason"] for each in answer.json()["dependencies"] if not each["healthy"]}
        assert set(ill) == {"session pool", f"container {settings.output_container}"}
        assert "PIPELINE_POOL_ENDPOINT" in ill["session pool"]
        assert "pipeline init" in ill[f"container {settings.output_container}"]


async def test_the_version_tells_engine_and_limits(stack: Stack) -> None:
    version = (await call(stack, "GET", "/api/version")).json()
    assert len(version["engine"]) == 16
    assert version["limits"]["max_source_bytes"] == stack.services.settings.max_source_bytes
    assert isinstance(version["limits"]["max_frames"], int)
    assert version["adhoc_recipes"] == "off"


async def test_the_recipes_are_told_in_words_with_their_hashes(stack: Stack) -> None:
    answer = (await call(stack, "GET", "/api/recipes")).json()
    assert [(each["name"], each["include"]) for each in answer["recipes"]] == [("web", ["photos/**"]), ("tutorial", [])]
    assert answer["recipes"][0]["hash"] == stack.services.recipes.get("web").hash
    assert any("resize" in line for line in answer["recipes"][0]["steps"])
    schema = await call(stack, "GET", answer["schema_href"])
    assert schema.kind == "application/schema+json"
    assert "CropStep" in schema.json()["$defs"]
