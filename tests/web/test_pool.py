"""The pool over HTTP: its slots as they are, and a new session for one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from pipeline.process import process
from tests.images import picture
from tests.stack import Stack, opened
from tests.waiting import eventually
from tests.web.calling import call


@pytest.fixture
async def one_slot(environ: dict[str, str]) -> AsyncIterator[Stack]:
    async with opened({**environ, "PIPELINE_POOL_MAX_SESSIONS": "1"}) as stack:
        yield stack


async def job(stack: Stack, name: str = "photos/a.jpg") -> None:
    services = stack.services
    await stack.drop(name, picture())
    await process(services, services.settings.input_container, name, services.recipes.get("web"), again=True)


async def identifier(stack: Stack) -> str:
    container = stack.services.account.container(stack.services.settings.state_container)
    document = json.loads(await (await container.download_blob("slots/000.json")).readall())
    return str(document.get("identifier", ""))


async def test_the_pool_tells_its_slots_and_never_an_identifier(stack: Stack) -> None:
    answer = await call(stack, "GET", "/api/pool")
    assert [slot["state"] for slot in answer.json()["slots"]] == ["free", "free"]
    await job(stack)
    pool = (await call(stack, "GET", "/api/pool")).json()
    assert (pool["capacity"], pool["leased"], pool["free"], pool["saturation"]) == (2, 1, 1, 0.5)
    (leased,) = (slot for slot in pool["slots"] if slot["state"] == "leased")
    assert leased["generation"] == 1
    assert leased["age"] >= 0
    container = stack.services.account.container(stack.services.settings.state_container)
    texts = [await (await container.download_blob(blob.name)).readall() async for blob in container.list_blobs()]
    identifiers = [json.loads(text)["identifier"] for text in texts if b"identifier" in text]
    assert identifiers
    assert not any(each in json.dumps(pool) for each in identifiers)


async def test_a_slot_of_this_process_gets_a_new_session_after_its_jobs(one_slot: Stack) -> None:
    await job(one_slot)
    before = await identifier(one_slot)
    answer = await call(one_slot, "POST", "/api/pool/slots/0/recycle")
    assert (answer.status, answer.json()["outcome"]) == (202, "soon")

    async def renewed() -> bool:
        return await identifier(one_slot) != before

    await eventually(renewed)


async def test_a_slot_that_nobody_holds_gets_rid_of_its_session_at_once(one_slot: Stack) -> None:
    nothing = await call(one_slot, "POST", "/api/pool/slots/0/recycle")
    assert (nothing.status, nothing.json()["outcome"]) == (200, "nothing")
    await job(one_slot)
    await one_slot.services.slots.close()
    assert await identifier(one_slot)
    answer = await call(one_slot, "POST", "/api/pool/slots/0/recycle")
    assert (answer.status, answer.json()["outcome"]) == (200, "ended")
    assert not await identifier(one_slot)
    await job(one_slot)


async def test_a_slot_of_another_process_is_let_go_by_it(one_slot: Stack) -> None:
    await job(one_slot)
    async with opened(one_slot.environ) as other:
        answer = await call(other, "POST", "/api/pool/slots/0/recycle")
        assert (answer.status, answer.json()["outcome"]) == (202, "soon")
        document = one_slot.services.slots._slots[0].document
        with pytest.raises(Exception, match="does not hold the slot"):
            await document.renew()


async def test_jobs_go_on_while_their_slot_is_recycled(one_slot: Stack) -> None:
    names = [f"photos/{number}.jpg" for number in range(6)]
    work = asyncio.gather(*(job(one_slot, name) for name in names))

    async def leased() -> bool:
        return bool((await call(one_slot, "GET", "/api/pool")).json()["leased"])

    await eventually(leased)
    await call(one_slot, "POST", "/api/pool/slots/0/recycle")
    await work
    states = [entry.state for name in names if (entry := await one_slot.entry("web", name))]
    assert states == ["done"] * 6


async def test_a_slot_that_there_is_not_is_404(stack: Stack) -> None:
    for number in ("2", "-1", "x", "1000", "0.json"):
        answer = await call(stack, "POST", f"/api/pool/slots/{number}/recycle")
        assert (answer.status, answer.problem) == (404, "unknown_slot")
