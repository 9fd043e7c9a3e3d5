"""The session pool over HTTP: state of the slots, and recycling."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator

import pytest

from pipeline.monitoring import pool_overview
from pipeline.pool import status
from pipeline.pool.requests import JobLabel
from pipeline.storage import ClaimOptions
from tests.api.client import call
from tests.api.conftest import Backend
from tests.images import image_bytes
from tests.pool.helpers import another_process
from tests.stack import Stack
from tests.waiting import eventually


@pytest.fixture
async def one_slot(backend: Backend) -> AsyncIterator[Stack]:
    async with backend.opened(pool_max_sessions=1) as app:
        yield app


async def job(app: Stack, name: str = "photos/a.jpg") -> None:
    services = app.services
    await app.upload(name, image_bytes())
    await services.executor.execute(
        services.settings.input_container, name, services.recipes.get("web"), options=ClaimOptions(again=True)
    )


async def identifier(app: Stack) -> str:
    container = app.services.account.container(app.services.settings.state_container)
    document = json.loads(await (await container.download_blob("slots/000.json")).readall())
    return str(document.get("identifier", ""))


async def test_the_pool_shows_slots_without_identifiers(app: Stack) -> None:
    response = await call(app, "GET", "/api/pool")
    assert [slot["state"] for slot in response.json()["slots"]] == ["free", "free"]
    await job(app)
    pool = (await call(app, "GET", "/api/pool")).json()
    assert (pool["capacity"], pool["leased"], pool["free"], pool["saturation"]) == (2, 1, 1, 0.5)
    (leased,) = (slot for slot in pool["slots"] if slot["state"] == "leased")
    assert leased["generation"] == 1
    assert leased["age"] >= 0
    container = app.services.account.container(app.services.settings.state_container)
    texts = [await (await container.download_blob(blob.name)).readall() async for blob in container.list_blobs()]
    identifiers = [json.loads(text)["identifier"] for text in texts if b"identifier" in text]
    assert identifiers
    assert not any(each in json.dumps(pool) for each in identifiers)


async def test_own_slots_are_recycled_after_their_jobs(one_slot: Stack) -> None:
    await job(one_slot)
    before = await identifier(one_slot)
    response = await call(one_slot, "POST", "/api/pool/slots/0/recycle")
    assert (response.status, response.json()["outcome"]) == (202, "draining")

    async def is_recycled() -> bool:
        return await identifier(one_slot) != before

    await eventually(is_recycled)


async def test_free_slots_are_recycled_at_once(one_slot: Stack) -> None:
    nothing = await call(one_slot, "POST", "/api/pool/slots/0/recycle")
    assert (nothing.status, nothing.json()["outcome"]) == (200, "no_session")
    await job(one_slot)
    await one_slot.services.scheduler.close()
    assert await identifier(one_slot)
    response = await call(one_slot, "POST", "/api/pool/slots/0/recycle")
    assert (response.status, response.json()["outcome"]) == (200, "ended")
    assert not await identifier(one_slot)
    await job(one_slot)


@pytest.fixture
def _frequent_status(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let processes publish their status, and read recycle requests, five times a second."""
    monkeypatch.setattr(status, "PUBLISH_INTERVAL_SECONDS", 0.2)


@pytest.mark.both
@pytest.mark.usefixtures("_frequent_status")
async def test_a_holder_recycles_on_request_of_another_process(one_slot: Stack, backend: Backend) -> None:
    await job(one_slot)
    before = await identifier(one_slot)
    async with backend.opened(pool_max_sessions=1) as other:
        response = await call(other, "POST", "/api/pool/slots/0/recycle")
        assert (response.status, response.json()["outcome"]) == (202, "requested")

        async def is_recycled() -> bool:
            return await identifier(one_slot) != before

        await eventually(is_recycled)
        await one_slot.services.scheduler.leases.slots[0].document.renew()
        (slot,) = (await call(other, "GET", "/api/pool")).json()["slots"]
        assert (slot["state"], slot["generation"], slot["recycle_requested"]) == ("leased", 2, None)


@pytest.mark.usefixtures("_frequent_status")
async def test_running_jobs_end_before_their_session_is_recycled(one_slot: Stack, backend: Backend) -> None:
    async with backend.opened(pool_max_sessions=1) as other:
        async with one_slot.services.scheduler.acquire_slot() as session:
            name = session.name
            assert (await call(other, "POST", "/api/pool/slots/0/recycle")).json()["outcome"] == "requested"

            async def is_draining() -> bool:
                (slot,) = (await call(other, "GET", "/api/pool")).json()["slots"]
                return bool(slot["draining"])

            await eventually(is_draining)
            assert (await call(other, "POST", "/api/pool/slots/0/recycle")).json()["outcome"] == "draining"
            session._check()
        async with one_slot.services.scheduler.acquire_slot() as session:
            assert session.name != name


async def test_a_holder_that_does_not_react_loses_its_slot(
    one_slot: Stack, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await job(one_slot)
    monkeypatch.setattr(status, "PUBLISH_INTERVAL_SECONDS", math.inf)
    async with backend.opened(pool_max_sessions=1) as other:
        for _ in range(2):
            response = await call(other, "POST", "/api/pool/slots/0/recycle")
            assert (response.status, response.json()["outcome"]) == (202, "requested")
        monkeypatch.setattr(pool_overview, "RECYCLE_TIMEOUT_SECONDS", 0.0)
        response = await call(other, "POST", "/api/pool/slots/0/recycle")
        assert (response.status, response.json()["outcome"]) == (202, "lease_broken")
        document = one_slot.services.scheduler.leases.slots[0].document
        with pytest.raises(Exception, match="no longer holds the slot"):
            await document.renew()


@pytest.mark.both
@pytest.mark.usefixtures("_frequent_status")
async def test_running_jobs_are_visible_to_all_processes(one_slot: Stack, backend: Backend) -> None:
    labels = [JobLabel("web", "input", f"photos/\u202e{number}.jpg") for number in range(2)]
    acquire = one_slot.services.scheduler.acquire_slot
    async with backend.opened(pool_max_sessions=1) as other, acquire(job_label=labels[0]), acquire(job_label=labels[1]):

        async def is_published() -> bool:
            (slot,) = (await call(other, "GET", "/api/pool")).json()["slots"]
            return [job["source"] for job in slot["jobs"]] == [each.name for each in labels]

        await eventually(is_published)
        mine, theirs = [(await call(each, "GET", "/api/pool")).json()["slots"][0] for each in (one_slot, other)]
        assert {**mine, "age": 0} == {**theirs, "age": 0}
        assert (mine["count"], mine["jobs"][0]["recipe"]) == (2, "web")


@pytest.mark.usefixtures("_frequent_status")
async def test_status_rows_of_former_holders_are_ignored(one_slot: Stack) -> None:
    first = one_slot.services
    async with first.scheduler.acquire_slot(job_label=JobLabel("web", "input", "photos/a.jpg")):

        async def is_published() -> bool:
            return bool((await first.slot_status.read_all())[0])

        await eventually(is_published)
    await first.scheduler.close()
    (slot,) = (await call(one_slot, "GET", "/api/pool")).json()["slots"]
    assert (slot["state"], slot["jobs"], slot["count"]) == ("free", [], None)
    silent = another_process(one_slot)
    async with silent.acquire_slot():
        (slot,) = (await call(one_slot, "GET", "/api/pool")).json()["slots"]
        assert (slot["state"], slot["jobs"], slot["count"]) == ("leased", [], None)
    await silent.close()


@pytest.mark.both
async def test_concurrent_recycle_requests_are_both_stored(app: Stack) -> None:
    board = app.services.slot_status
    since = await asyncio.gather(
        board.request_recycling("slots/000.json", 3), board.request_recycling("slots/001.json", 5)
    )
    assert await board.recycle_requests() == {"slots/000.json": 3, "slots/001.json": 5}
    assert await board.request_recycling("slots/001.json", 5) == since[1], "a repeated request keeps its time"
    await board.request_recycling("slots/001.json", 6)
    assert await board.recycle_requests() == {"slots/000.json": 3, "slots/001.json": 6}


async def test_jobs_continue_while_their_slot_is_recycled(one_slot: Stack) -> None:
    names = [f"photos/{number}.jpg" for number in range(6)]
    work = asyncio.gather(*(job(one_slot, name) for name in names))

    async def leased() -> bool:
        return bool((await call(one_slot, "GET", "/api/pool")).json()["leased"])

    await eventually(leased)
    await call(one_slot, "POST", "/api/pool/slots/0/recycle")
    await work
    states = [entry.state for name in names if (entry := await one_slot.entry("web", name))]
    assert states == ["done"] * 6


async def test_an_unknown_slot_is_404(app: Stack) -> None:
    for number in ("2", "-1", "x", "1000", "0.json"):
        response = await call(app, "POST", f"/api/pool/slots/{number}/recycle")
        assert (response.status, response.problem) == (404, "unknown_slot")
