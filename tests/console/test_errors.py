"""Error pages when a dependency is down, and the stale-while-revalidate cache."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import azure.functions as func
import pytest
import pytest_asyncio

from pipeline.console import dispatch
from pipeline.console.cache import SWRCache
from pipeline.console.dispatch import console_of
from pipeline.console.remediation import REMEDIATIONS, remediation
from pipeline.engine.errors import KINDS
from pipeline.recipes import load_recipes
from pipeline.services import Services
from pipeline.settings import Settings
from pipeline.testing.pool import UNREACHABLE
from tests.console.client import console_in_memory, http_request, text_of
from tests.stack import RECIPES
from tests.waiting import eventually

UNREACHABLE_STORAGE = (
    "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=a2V5;BlobEndpoint=http://127.0.0.1:1/a;"
    "QueueEndpoint=http://127.0.0.1:1/a;TableEndpoint=http://127.0.0.1:1/a;"
)


@pytest_asyncio.fixture
async def stranded(recipe_file: Path) -> AsyncIterator[Services]:
    """Services whose storage is unreachable."""
    environ = {
        "IMAGES": UNREACHABLE_STORAGE,
        "PIPELINE_POOL_ENDPOINT": "http://127.0.0.1:1",
        "PIPELINE_RECIPES": str(recipe_file),
        "PIPELINE_CONSOLE_ACCESS": "open",
    }
    settings = Settings.load(environ)
    services = Services.open(settings, load_recipes(settings), environ)
    yield services
    await services.close()


async def test_an_unexpected_error_gets_a_plain_response(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "authenticate", None)
    async with console_in_memory(RECIPES) as (client, _):
        response = await client.get()
    assert (response.status_code, response.mimetype) == (500, "text/plain")
    assert "The log has the details" in text_of(response)


async def test_another_route_prefix_gets_an_explanation(stranded: Services) -> None:
    url = "http://127.0.0.1/v1/console/jobs"
    request = func.HttpRequest("GET", url, headers={"host": "127.0.0.1"}, route_params={"page": "jobs"}, body=b"")
    response = await console_of(stranded).handle(request)
    assert (response.status_code, "routePrefix" in text_of(response)) == (404, True)


@pytest.mark.parametrize("path", ["", "/jobs", "/pool"])
async def test_unreachable_storage_gets_a_timely_error_page(
    stranded: Services, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "READ_TIMEOUT_SECONDS", 0.5)
    response = await console_of(stranded).handle(http_request(path))
    assert response.status_code == 503
    assert "Storage" in text_of(response)
    assert "Traceback" not in text_of(response)


async def test_the_overview_reports_an_unreachable_pool() -> None:
    async with console_in_memory(RECIPES) as (client, memory):
        memory.pool.fail("", UNREACHABLE, times=99)

        async def is_reported() -> bool:
            return "Unhealthy: session pool" in text_of(await client.get())

        await eventually(is_reported)


@pytest.mark.parametrize("kind", KINDS)
def test_every_failure_kind_of_the_engine_has_a_remedy(kind: str) -> None:
    assert kind in REMEDIATIONS


def test_a_remedy_counts_its_failures() -> None:
    assert remediation("not_an_image").title(1) == "1 file is not an image"
    assert remediation("not_an_image").title(2345) == "2,345 files are not images"
    assert remediation("new_kind").title(2) == "2 failures: new kind"


async def test_the_cache_returns_a_value_until_invalidation() -> None:
    loads: list[int] = []

    async def load() -> int:
        loads.append(1)
        return len(loads)

    cache = SWRCache()
    assert [await cache.get("x", load) for _ in range(3)] == [1, 1, 1]
    assert await cache.get("y", load) == 2
    cache.invalidate()
    assert await cache.get("x", load) == 3


async def test_the_cache_refreshes_a_stale_value_in_the_background() -> None:
    results = ["old", "new"]
    loaded = asyncio.Event()

    async def load() -> str:
        if len(results) == 1:
            loaded.set()
        return results.pop(0)

    cache = SWRCache()
    assert await cache.get("x", load) == "old"
    cache._entries["x"].loaded_at -= 10
    assert await cache.get("x", load) == "old"
    await asyncio.wait_for(loaded.wait(), 5)
    await asyncio.sleep(0)
    assert await cache.get("x", load) == "new"


async def test_the_cache_drops_a_refresh_from_before_an_invalidation() -> None:
    gate = asyncio.Event()

    async def load_slowly() -> str:
        await gate.wait()
        return "outdated"

    async def load() -> str:
        return "current"

    cache = SWRCache()
    assert cache.peek("x", load_slowly, 60) is None
    cache.invalidate()
    gate.set()
    assert await cache.get("x", load) == "current"
    await asyncio.sleep(0.01)
    assert await cache.get("x", load) == "current"


async def test_peeking_into_the_cache_never_waits() -> None:
    cache = SWRCache()

    async def load() -> str:
        return "value"

    assert cache.peek("x", load, 60) is None
    await eventually(lambda: cache.peek("x", load, 60) == "value")
