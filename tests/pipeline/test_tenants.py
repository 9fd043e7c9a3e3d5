"""Tenants: only jobs of one tenant share a session, and strangers never do."""

from __future__ import annotations

import pytest

from pipeline.testing import FakePool, MemoryAccount
from tests.api.client import MULTIPART, ApiResponse, call, form_body
from tests.images import image_bytes
from tests.memory import Memory, open_in_memory

RECIPES = """
recipes:
  web: {isolation: tenant, match: {include: ["**"]}, renditions: {out: {format: png}}}
"""


async def sessions(memory: Memory) -> int:
    """Return how many sessions have started."""
    await memory.services.scheduler.close()
    total = 0
    for summary in await memory.services.slot_documents.summaries():
        total += int(summary.fields["hours"].split()[3]) if "hours" in summary.fields else 0
    return total


async def post(memory: Memory, tenant: str = "") -> ApiResponse:
    """Send an image with a request."""
    query = f"&tenant={tenant}" if tenant else ""
    return await call(memory, "POST", f"/api/jobs?recipe=web{query}", image_bytes(60, 40), content_type="image/png")


@pytest.mark.parametrize(
    ("names", "tenants"),
    [
        (("1.png", "2.png", "3.png"), 1),
        (("1.png", "2.png", "a/1.png"), 2),
        (("a/1.png", "a/b/1.png", "b/1.png", "b/2.png"), 2),
        (("a", "a/1.png"), 2),
    ],
)
async def test_a_folder_is_a_tenant_and_sources_without_one_share_one(names: tuple[str, ...], tenants: int) -> None:
    async with open_in_memory(RECIPES, MemoryAccount(), FakePool(), pool_max_sessions=8) as memory:
        services = memory.services
        for name in names:
            await memory.upload(name, image_bytes(60, 40))
            recipe = services.recipes.get("web")
            assert (await services.executor.execute("input", name, recipe)).state == "done"
        assert await sessions(memory) == tenants


async def test_images_of_requests_without_a_tenant_never_share_a_session() -> None:
    async with open_in_memory(RECIPES, MemoryAccount(), FakePool(), pool_max_sessions=8) as memory:
        assert [(await post(memory)).status for _ in range(3)] == [200] * 3
        assert await sessions(memory) == 3


async def test_requests_that_name_a_tenant_share_its_session_but_not_with_a_folder_of_that_name() -> None:
    async with open_in_memory(RECIPES, MemoryAccount(), FakePool(), pool_max_sessions=8) as memory:
        await memory.upload("shop/1.png", image_bytes(60, 40))
        recipe = memory.services.recipes.get("web")
        assert (await memory.services.executor.execute("input", "shop/1.png", recipe)).state == "done"
        assert [(await post(memory, "shop")).status for _ in range(3)] == [200] * 3
        assert (await post(memory, "other")).status == 200
        form = form_body(image_bytes(60, 40), recipe="web", tenant="other")
        assert (await call(memory, "POST", "/api/jobs", form, content_type=MULTIPART)).status == 200
        assert await sessions(memory) == 3


@pytest.mark.parametrize("tenant", ["a%2Fb", "-a", "a" * 65, "%00", "a%20b", "%C3%A4"])
async def test_an_invalid_tenant_is_refused(tenant: str) -> None:
    async with open_in_memory(RECIPES) as memory:
        response = await post(memory, tenant)
        assert (response.status, response.problem) == (400, "bad_request")
        assert "tenant" in response.json()["detail"]
