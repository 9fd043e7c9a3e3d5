"""Health checks, version, and the list of recipes."""

from __future__ import annotations

from tests.api.client import call
from tests.stack import Stack, open_stack


async def test_all_dependencies_are_healthy_on_the_local_stack(app: Stack) -> None:
    response = await call(app, "GET", "/api/health")
    health = response.json()
    assert (response.status, health["healthy"]) == (200, True)
    assert {each["name"].split()[0] for each in health["dependencies"]} == {
        "container",
        "queue",
        "table",
        "session",
        "version",
    }


async def test_unhealthy_dependencies_are_listed_with_reasons(environ: dict[str, str]) -> None:
    async with open_stack({**environ, "PIPELINE_POOL_ENDPOINT": "http://127.0.0.1:1"}) as app:
        settings = app.services.settings
        await app.services.account.container(settings.output_container).delete_container()
        response = await call(app, "GET", "/api/health")
        assert response.status == 503
        ill = {each["name"]: each["reason"] for each in response.json()["dependencies"] if not each["healthy"]}
        assert set(ill) == {"session pool", f"container {settings.output_container}"}
        assert "PIPELINE_POOL_ENDPOINT" in ill["session pool"]
        assert "pipeline init" in ill[f"container {settings.output_container}"]


async def test_version_lists_engine_and_limits(app: Stack) -> None:
    version = (await call(app, "GET", "/api/version")).json()
    assert len(version["engine"]) == 16
    assert version["limits"]["max_source_bytes"] == app.services.settings.max_source_bytes
    assert isinstance(version["limits"]["max_frames"], int)
    assert version["adhoc_recipes"] == "off"


async def test_recipes_are_listed_with_steps_and_hashes(app: Stack) -> None:
    response = (await call(app, "GET", "/api/recipes")).json()
    assert [(each["name"], each["include"]) for each in response["recipes"]] == [
        ("web", ["photos/**"]),
        ("tutorial", []),
    ]
    assert response["recipes"][0]["hash"] == app.services.recipes.get("web").hash
    assert any("resize" in line for line in response["recipes"][0]["steps"])
    schema = await call(app, "GET", response["schema_href"])
    assert schema.kind == "application/schema+json"
    assert "CropStep" in schema.json()["$defs"]
