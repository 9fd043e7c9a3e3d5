"""What a page says when something that it needs is down. Without a browser."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from unittest.mock import AsyncMock

import azure.functions as func
import pytest
import pytest_asyncio

from pipeline.console import routes
from pipeline.console.cache import forget, known, lately
from pipeline.console.routes import Console
from pipeline.recipes import load_recipes
from pipeline.services import Services
from pipeline.settings import Settings
from tests.stack import Stack
from tests.waiting import eventually

NOWHERE = (
    "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=a2V5;BlobEndpoint=http://127.0.0.1:1/a;"
    "QueueEndpoint=http://127.0.0.1:1/a;TableEndpoint=http://127.0.0.1:1/a;"
)


def request(page: str) -> func.HttpRequest:
    headers = {"host": "127.0.0.1"}
    url = f"http://127.0.0.1/api/console/{page}"
    return func.HttpRequest("GET", url, headers=headers, route_params={"page": page}, body=b"")


@pytest_asyncio.fixture
async def stranded(recipe_file: Path) -> AsyncIterator[Services]:
    """Services whose storage is nowhere."""
    environ = {
        "IMAGES": NOWHERE,
        "PIPELINE_POOL_ENDPOINT": "http://127.0.0.1:1",
        "PIPELINE_RECIPES": str(recipe_file),
        "PIPELINE_CONSOLE_ACCESS": "open",
    }
    settings = Settings.load(environ)
    services = Services.open(settings, load_recipes(settings), environ)
    yield services
    await services.close()


async def test_what_nobody_foresaw_is_still_an_answer(stranded: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "principal", None)
    monkeypatch.setattr(Console, "_secret", AsyncMock(return_value=b"s"))
    answer = await Console().answer(stranded, request(""))
    assert (answer.status_code, answer.mimetype) == (500, "text/plain")
    assert b"The log has the details" in answer.get_body()


async def test_below_another_prefix_the_console_says_what_to_set(stranded: Services) -> None:
    url = "http://127.0.0.1/v1/console/jobs"
    asked = func.HttpRequest("GET", url, headers={"host": "127.0.0.1"}, route_params={"page": "jobs"}, body=b"")
    answer = await Console().answer(stranded, asked)
    assert (answer.status_code, b"routePrefix" in answer.get_body()) == (404, True)


@pytest.mark.parametrize("page", ["", "jobs", "pool"])
async def test_storage_that_is_down_is_said_in_time(
    stranded: Services, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "LOOKING", 0.5)
    answer = await Console().answer(stranded, request(page))
    assert answer.status_code == 503
    assert b"Storage" in answer.get_body()
    assert b"Traceback" not in answer.get_body()


async def test_a_pool_that_is_down_is_what_the_overview_says_first(stack: Stack) -> None:
    environ = {**stack.environ, "PIPELINE_POOL_ENDPOINT": "http://127.0.0.1:1", "PIPELINE_CONSOLE_ACCESS": "open"}
    settings = Settings.load({**environ, "PIPELINE_RETRY_MAX_ATTEMPTS": "1"})
    services = Services.open(settings, load_recipes(settings), environ)
    console = Console()

    async def said() -> bool:
        body = (await console.answer(services, request(""))).get_body().decode()
        return "Not well: session pool" in body

    await eventually(said, timeout=30, every=0.2)
    await services.close()


class Owner:
    """Somebody to remember things for."""


async def test_what_was_found_lately_is_not_asked_for_again_until_something_changes() -> None:
    asked: list[int] = []

    async def ask() -> int:
        asked.append(1)
        return len(asked)

    owner = Owner()
    assert [await lately(owner, "x", ask) for _ in range(3)] == [1, 1, 1]
    assert await lately(owner, "y", ask) == 2
    forget(owner)
    assert await lately(owner, "x", ask) == 3


async def test_what_takes_long_is_never_waited_for() -> None:
    owner = Owner()

    async def ask() -> str:
        return "well"

    assert known(owner, "health", ask, 60) is None
    await eventually(lambda: known(owner, "health", ask, 60) == "well")
