"""Slots: sessions are shared, recycled and given back, and a session in doubt is never used again."""

from __future__ import annotations

import asyncio
import json
import time
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import pytest
from azure.storage.blob.aio import BlobLeaseClient

from pipeline.errors import PoolFull, PoolUnavailable, SessionLost, StorageUnavailable
from pipeline.pool.drain import drain
from pipeline.pool.scheduler import SlotScheduler
from pipeline.storage.leased_documents import LeasedDocument, LeasedDocuments
from pipeline.storage.ledger import Entry
from tests.images import picture
from tests.stack import Stack, opened
from tests.waiting import eventually


async def job(stack: Stack, name: str = "photos/a.jpg", data: bytes | None = None) -> Entry:
    """One job for a photo of its own."""
    services = stack.services
    await stack.drop(name, picture() if data is None else data)
    container = services.settings.input_container
    return await services.executor.execute(container, name, services.recipes.get("web"), again=True)


async def documents(stack: Stack) -> list[dict[str, Any]]:
    """What the slots' documents say."""
    container = stack.services.account.container(stack.services.settings.state_container)
    names = [blob.name async for blob in container.list_blobs()]
    texts = [await (await container.download_blob(name)).readall() for name in names]
    return [json.loads(text) for text in texts if text != b"{}"]


async def document(stack: Stack) -> dict[str, Any]:
    """The one slot in use."""
    (one,) = [each for each in await documents(stack) if each.get("identifier")]
    return one


async def test_one_session_serves_job_after_job(stack: Stack) -> None:
    for _ in range(3):
        assert (await job(stack)).state == "done"
    held = await document(stack)
    assert (held["state"], held["generation"]) == ("in use", 1)


async def test_a_session_is_recycled_after_a_number_of_jobs(environ: dict[str, str]) -> None:
    async with opened({**environ, "PIPELINE_SESSION_MAX_JOBS": "2", "PIPELINE_POOL_MAX_SESSIONS": "1"}) as stack:
        before = set()
        for _ in range(5):
            assert (await job(stack)).state == "done"
            before.add((await document(stack))["identifier"])

        async def recycled() -> bool:
            return bool((await document(stack))["generation"] == 3)

        await eventually(recycled)
        assert len(before) >= 2


async def test_a_slot_is_given_back_clean_and_its_session_used_by_the_next_process(environ: dict[str, str]) -> None:
    async with opened({**environ, "PIPELINE_POOL_MAX_SESSIONS": "1"}) as stack:
        await job(stack)
        await stack.services.scheduler.close()
        given = await document(stack)
        assert given["state"] == "free"
        files = await listed(stack, given["identifier"])
        assert [name for name in files if not name.startswith("transforms-")] == []
        heir = SlotScheduler(stack.services.settings, stack.services.slot_documents, stack.services.pool)
        async with heir.acquire_slot() as session:
            assert session.engine_installed
        again = await document(stack)
        assert (again["identifier"], again["state"]) == (given["identifier"], "in use")
        await heir.close()


async def test_a_slot_whose_session_cannot_be_cleaned_is_free_at_once_and_the_next_process_ends_it(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: object) -> None:
        raise PoolUnavailable("the session pool refuses the sign-in")

    async with opened({**environ, "PIPELINE_POOL_MAX_SESSIONS": "1"}) as stack:
        services = stack.services
        await job(stack)
        left = await document(stack)
        with monkeypatch.context() as patch:
            patch.setattr(services.pool, "remove", refused)
            await services.scheduler.close()
        assert await services.slot_documents.list_free(1) == ["slots/000.json"]
        heir = SlotScheduler(services.settings, services.slot_documents, services.pool)
        async with heir.acquire_slot():
            again = await document(stack)
        assert again["identifier"] != left["identifier"]
        assert again["generation"] == left["generation"] + 1
        await heir.close()


async def test_a_slot_that_cannot_be_written_when_it_is_taken_is_free_at_once(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise StorageUnavailable("writing a slot: the storage account does not answer")

    only = {"PIPELINE_POOL_MAX_SESSIONS": "1", "PIPELINE_SLOT_ACQUIRE_TIMEOUT": "1"}
    async with opened({**environ, **only}) as stack:
        with monkeypatch.context() as patch:
            patch.setattr(LeasedDocument, "write", away)
            with pytest.raises(PoolFull):
                async with stack.services.scheduler.acquire_slot():
                    pass

            async def free() -> bool:
                return await stack.services.slot_documents.list_free(1) == ["slots/000.json"]

            await eventually(free)


async def test_a_seat_that_comes_free_while_the_first_in_line_gives_up_is_the_next_ones(
    environ: dict[str, str],
) -> None:
    one = {
        "PIPELINE_POOL_MAX_SESSIONS": "1",
        "PIPELINE_SESSION_CONCURRENCY": "1",
        "PIPELINE_SLOT_ACQUIRE_TIMEOUT": "600",
    }
    async with opened({**environ, **one}) as stack:
        slots, leave = stack.services.scheduler, asyncio.Event()
        seated: dict[str, Any] = {}

        async def sit(name: str) -> None:
            async with slots.acquire_slot() as session:
                seated[name] = session
                if name == "a":
                    await leave.wait()

        first = asyncio.create_task(sit("a"))
        await eventually(lambda: "a" in seated)
        second, third = (asyncio.create_task(sit(name)) for name in "bc")
        for _ in range(5):
            await asyncio.sleep(0)
        leave.set()
        second.cancel()
        await asyncio.wait_for(third, 60)
        assert seated["c"] is seated["a"], "and the session that was idle is kept"
        await asyncio.gather(first, second, return_exceptions=True)


async def test_an_idle_slot_is_given_back(environ: dict[str, str]) -> None:
    async with opened({**environ, "PIPELINE_SESSION_IDLE_TIMEOUT": "0"}) as stack:
        await job(stack)

        async def free() -> bool:
            return bool((await document(stack))["state"] == "free")

        await eventually(free)


async def test_a_slot_whose_holder_died_gets_a_new_session(environ: dict[str, str]) -> None:
    """The document still says `in use`: nobody knows what is left in that session."""
    async with opened({**environ, "PIPELINE_POOL_MAX_SESSIONS": "1", "PIPELINE_SLOT_LEASE_DURATION": "15"}) as stack:
        settings = stack.services.settings
        await stack.services.slot_documents.list_free(1)
        dead = await stack.services.slot_documents.acquire("slots/000.json")
        assert dead is not None
        await stack.services.pool.upload("left-behind-12345678", "secret.txt", 1, one_byte)
        await dead.write({"state": "in use", "identifier": "left-behind-12345678", "generation": 7, "born": 4e9})
        await dead.release()
        assert (await job(stack)).state == "done"
        held = await document(stack)
        assert (held["generation"], held["identifier"] != "left-behind-12345678") == (8, True)
        assert await listed(stack, "left-behind-12345678") == [], "the old session was ended"
        await stack.services.pool.end("left-behind-12345678")
        assert settings.pool_max_sessions == 1


async def test_a_session_that_expired_silently_is_noticed_and_equipped_again(stack: Stack) -> None:
    assert (await job(stack)).state == "done"
    await stack.services.pool.end((await document(stack))["identifier"])
    entry = await job(stack)
    assert (entry.state, (await document(stack))["generation"]) == ("done", 1)


async def test_a_session_lost_in_mid_run_costs_one_more_try_in_a_fresh_one(stack: Stack) -> None:
    async def end_soon() -> None:
        async def running() -> bool:
            return bool([each for each in await documents(stack) if each.get("identifier")])

        await eventually(running)
        for each in await documents(stack):
            if each.get("identifier"):
                await stack.services.pool.end(each["identifier"])

    entry, _ = await asyncio.gather(job(stack, data=picture(4000, 3000)), end_soon())
    assert entry.state == "done"


async def test_a_slot_that_another_process_took_is_let_go(environ: dict[str, str]) -> None:
    async with opened({**environ, "PIPELINE_SLOT_LEASE_DURATION": "15", "PIPELINE_POOL_MAX_SESSIONS": "1"}) as stack:
        async with stack.services.scheduler.acquire_slot() as session:
            container = stack.services.account.container(stack.services.settings.state_container)
            await break_lease(container, "slots/000.json")
            other = LeasedDocuments(stack.services.account, stack.services.settings.state_container, "slots/", 15)
            taken = await other.acquire("slots/000.json")
            assert taken is not None

            async def noticed() -> bool:
                try:
                    await session.upload("in.bin", 1, one_byte)
                except SessionLost:
                    return True
                return False

            await eventually(noticed, timeout=30)
        await taken.release()


async def test_a_bug_while_a_slot_is_looked_after_does_not_keep_it_from_jobs_for_ever(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    """It would be renewed on and on, and never serve a job again."""

    async def broken() -> None:
        raise ZeroDivisionError

    assert (await job(stack)).state == "done"
    slots = stack.services.scheduler
    (slot,) = slots._slots
    slots._start(slot, broken())
    await eventually(lambda: slot not in slots._slots)
    assert "ZeroDivisionError" in caplog.text
    await slot.document.release()
    assert (await job(stack)).state == "done"


async def test_draining_leaves_a_slot_that_cools_down_alone(environ: dict[str, str]) -> None:
    """Its session could not be ended, so that a new one in its place would be one more than the pool holds."""
    async with opened({**environ, "PIPELINE_POOL_MAX_SESSIONS": "1"}) as stack:
        services = stack.services
        (name,) = await services.slot_documents.list_free(1)
        held = await services.slot_documents.acquire(name)
        assert held is not None
        await held.write({"state": "cooling", "identifier": "cannot-be-ended", "until": time.time() + 300})
        await held.release()
        assert await drain(services.settings, services.slot_documents, services.pool) == 0
        assert (await document(stack))["state"] == "cooling"


async def test_slots_that_cannot_be_leased_are_a_failure_that_says_why_and_not_a_full_pool(
    environ: dict[str, str],
) -> None:
    async with opened({**environ, "PIPELINE_SLOT_ACQUIRE_TIMEOUT": "0.5"}) as stack:
        state = stack.services.account.container(stack.services.settings.state_container)
        await state.delete_container()
        entry = await job(stack)
        await state.create_container()
    assert (entry.state, entry.error_kind, entry.stage) == ("failed", "configuration", "lease")
    assert "python -m pipeline init" in entry.error_message


async def test_an_upload_never_holds_an_image_whole(stack: Stack) -> None:
    size = 48 * 1024 * 1024

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(size // 65536):
            yield bytes(65536)

    async with stack.services.scheduler.acquire_slot() as session:
        await session.upload("warm.bin", 1, one_byte)
        tracemalloc.start()
        try:
            await session.upload("big.bin", size, chunks)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 4 * 1024 * 1024


async def one_byte() -> AsyncIterator[bytes]:
    yield b"x"


async def listed(stack: Stack, identifier: str) -> list[str]:
    """The names of the files in a session."""
    answer = await stack.services.pool._call("GET", "files", identifier, "list")
    return [one["name"] for one in answer["value"]]


async def break_lease(container: Any, name: str) -> None:
    await BlobLeaseClient(container.get_blob_client(name)).break_lease(0)
