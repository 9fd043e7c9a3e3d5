"""Pauses and circuit breakers in the console: a banner on every page, buttons for operators, an alert."""

from __future__ import annotations

from pipeline.jobs.pauses import CACHE_SECONDS, Pauses
from pipeline.testing.pool import UNREACHABLE
from tests.console.client import console_in_memory, text_of
from tests.images import image_bytes
from tests.stack import RECIPES


async def test_operators_pause_and_resume_and_every_page_shows_it() -> None:
    async with console_in_memory(RECIPES) as (client, memory):
        assert "Paused:" not in text_of(await client.get("/jobs"))
        token = await client.csrf_token()
        response = await client.post("/pauses/uploads/pause", {"csrf_token": token})
        assert (response.status_code, response.headers["Location"]) == (303, "/api/console/pool?notice=work_paused")
        for page in ("", "/jobs", "/failures", "/runs", "/recipes", "/pool"):
            html = text_of(await client.get(page))
            assert "<b>Paused:</b> uploads since" in html, page
        assert "/pauses/uploads/resume" in html
        assert "/pauses/runs/pause" in html
        assert list(await memory.services.admission.pauses.current()) == ["uploads"]
        await client.post("/pauses/uploads/resume", {"csrf_token": token})
        assert "Paused:" not in text_of(await client.get("/jobs"))


async def test_a_pause_needs_a_token_and_a_kind_of_work() -> None:
    async with console_in_memory(RECIPES) as (client, memory):
        token = await client.csrf_token()
        assert (await client.post("/pauses/uploads/pause", {"csrf_token": "x"})).status_code == 403
        response = await client.post("/pauses/uploads/pause", {"csrf_token": token}, **{"sec-fetch-site": "cross-site"})
        assert response.status_code == 403
        assert (await client.post("/pauses/everything/pause", {"csrf_token": token})).status_code == 404
        assert await memory.services.admission.pauses.current() == {}


async def test_an_open_breaker_is_an_alert_and_on_the_pool_page() -> None:
    async with console_in_memory(RECIPES, requeue_delay=10) as (client, memory):
        memory.pool.fail("POST files", UNREACHABLE, times=99)
        for number in range(3):
            name = f"photos/{number}.jpg"
            await memory.upload(name, image_bytes(60, 40))
            await memory.services.dispatcher.handle_blob("input", name)
        overview, page = text_of(await client.get()), text_of(await client.get("/pool"))
    assert "No jobs start: circuit breaker of the pool" in overview
    assert "pool_unreachable" in page
    assert page.count("the service works") == 2


async def test_every_page_says_that_the_instance_is_outdated() -> None:
    async with console_in_memory(RECIPES) as (client, memory):
        assert "Outdated:" not in text_of(await client.get("/jobs"))
        await Pauses(memory.services.run_store, version="99.0.0").raise_minimum_version("99.0.0")
        memory.account.advance(CACHE_SECONDS + 1)
        assert "below the minimum version 99.0.0" in text_of(await client.get("/jobs"))
