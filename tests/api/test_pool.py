"""The pool over HTTP: its slots as they are, and a new session for one."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator

import pytest

from pipeline.api import pool
from pipeline.pool import status
from pipeline.pool.requests import JobLabel
from tests.api.calling import call
from tests.images import picture
from tests.pool.helpers import another_process
from tests.stack import Stack, opened
from tests.waiting import eventually


@pytest.fixture
async def one_slot(environ: dict[str, str]) -> AsyncIterator[Stack]:
    async with opened({**environ, "PIPELINE_POOL_MAX_SESSIONS": "1"}) as stack:
        yield stack


async def job(stack: Stack, name: str = "photos/a.jpg") -> None:
    services = stack.services
    await stack.drop(name, picture())
    await services.executor.execute(services.settings.input_container, name, services.recipes.get("web"), again=True)


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
    await one_slot.services.scheduler.close()
    assert await identifier(one_slot)
    answer = await call(one_slot, "POST", "/api/pool/slots/0/recycle")
    assert (answer.status, answer.json()["outcome"]) == (200, "ended")
    assert not await identifier(one_slot)
    await job(one_slot)


@pytest.fixture
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes tell, and look what is asked, several times a second."""
    monkeypatch.setattr(status, "PUBLISH_INTERVAL_SECONDS", 0.2)


@pytest.mark.usefixtures("_often")
async def test_the_holder_of_a_slot_ends_its_session_when_another_process_asks(one_slot: Stack) -> None:
    await job(one_slot)
    before = await identifier(one_slot)
    async with opened(one_slot.environ) as other:
        answer = await call(other, "POST", "/api/pool/slots/0/recycle")
        assert (answer.status, answer.json()["outcome"]) == (202, "asked")

        async def renewed() -> bool:
            return await identifier(one_slot) != before

        await eventually(renewed)
        await one_slot.services.scheduler.leases.slots[0].document.renew()
        (slot,) = (await call(other, "GET", "/api/pool")).json()["slots"]
        assert (slot["state"], slot["generation"], slot["asked"]) == ("leased", 2, None)


@pytest.mark.usefixtures("_often")
async def test_jobs_in_a_session_that_is_asked_to_end_are_finished_there(one_slot: Stack) -> None:
    async with opened(one_slot.environ) as other:
        async with one_slot.services.scheduler.acquire_slot() as session:
            name = session.name
            assert (await call(other, "POST", "/api/pool/slots/0/recycle")).json()["outcome"] == "asked"

            async def drains() -> bool:
                (slot,) = (await call(other, "GET", "/api/pool")).json()["slots"]
                return bool(slot["draining"])

            await eventually(drains)
            assert (await call(other, "POST", "/api/pool/slots/0/recycle")).json()["outcome"] == "soon"
            session._check()
        async with one_slot.services.scheduler.acquire_slot() as session:
            assert session.name != name


async def test_a_holder_that_does_not_answer_loses_its_slot(one_slot: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    await job(one_slot)
    monkeypatch.setattr(status, "PUBLISH_INTERVAL_SECONDS", math.inf)
    async with opened(one_slot.environ) as other:
        for _ in range(2):
            answer = await call(other, "POST", "/api/pool/slots/0/recycle")
            assert (answer.status, answer.json()["outcome"]) == (202, "asked")
        monkeypatch.setattr(pool, "ANSWER", 0.0)
        answer = await call(other, "POST", "/api/pool/slots/0/recycle")
        assert (answer.status, answer.json()["outcome"]) == (202, "taken_away")
        document = one_slot.services.scheduler.leases.slots[0].document
        with pytest.raises(Exception, match="no longer holds the slot"):
            await document.renew()


@pytest.mark.usefixtures("_often")
async def test_what_goes_on_in_a_slot_is_told_to_every_process(one_slot: Stack) -> None:
    doing = [JobLabel("web", "input", f"photos/\u202e{number}.jpg") for number in range(2)]
    seat = one_slot.services.scheduler.acquire_slot
    async with opened(one_slot.environ) as other, seat(job_label=doing[0]), seat(job_label=doing[1]):

        async def told() -> bool:
            (slot,) = (await call(other, "GET", "/api/pool")).json()["slots"]
            return [job["source"] for job in slot["jobs"]] == [each.name for each in doing]

        await eventually(told)
        mine, theirs = [(await call(each, "GET", "/api/pool")).json()["slots"][0] for each in (one_slot, other)]
        assert {**mine, "age": 0} == {**theirs, "age": 0}
        assert (mine["count"], mine["jobs"][0]["recipe"]) == (2, "web")


@pytest.mark.usefixtures("_often")
async def test_what_its_last_holder_told_of_a_slot_is_not_taken_for_the_present_ones_word(one_slot: Stack) -> None:
    first = one_slot.services
    async with first.scheduler.acquire_slot(job_label=JobLabel("web", "input", "photos/a.jpg")):

        async def told() -> bool:
            return bool((await first.slot_status.read_all())[0])

        await eventually(told)
    await first.scheduler.close()
    (slot,) = (await call(one_slot, "GET", "/api/pool")).json()["slots"]
    assert (slot["state"], slot["jobs"], slot["count"]) == ("free", [], None)
    silent = another_process(one_slot)
    async with silent.acquire_slot():
        (slot,) = (await call(one_slot, "GET", "/api/pool")).json()["slots"]
        assert (slot["state"], slot["jobs"], slot["count"]) == ("leased", [], None)
    await silent.close()


async def test_two_who_ask_at_once_are_both_heard(stack: Stack) -> None:
    board = stack.services.slot_status
    since = await asyncio.gather(
        board.request_recycling("slots/000.json", 3), board.request_recycling("slots/001.json", 5)
    )
    assert await board.recycle_requests() == {"slots/000.json": 3, "slots/001.json": 5}
    assert await board.request_recycling("slots/001.json", 5) == since[1], "asking again is asking once"
    await board.request_recycling("slots/001.json", 6)
    assert await board.recycle_requests() == {"slots/000.json": 3, "slots/001.json": 6}


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
