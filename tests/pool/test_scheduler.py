"""Slot scheduler: sessions are shared, recycled and returned; a session in doubt is never used again."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.errors import PoolFull, PoolUnavailable, SessionLost, StorageNotFound, StorageUnavailable
from pipeline.pool import lease_keeper, slot, status
from pipeline.pool.drain import drain, end_idle_session
from pipeline.pool.requests import JobLabel
from pipeline.pool.slot import SlotState
from pipeline.storage.leased_documents import LeasedDocument
from pipeline.testing import FakePool, memory_settings
from pipeline.testing import pool as faults
from tests.memory import Memory, open_in_memory
from tests.pool.helpers import FIRST_SLOT, another_process, documents_of, one_byte, process_image, slot_document
from tests.waiting import eventually

pytestmark = pytest.mark.usefixtures("short_intervals")


async def state_is(memory: Memory, state: str) -> None:
    """Wait until the document of the only slot has a state."""

    async def reached() -> bool:
        return bool((await slot_document(memory))["state"] == state)

    await eventually(reached)


async def test_one_session_serves_job_after_job(memory: Memory) -> None:
    for _ in range(3):
        assert (await process_image(memory)).state == "done"
    document = await slot_document(memory)
    assert (document["state"], document["generation"]) == ("in use", 1)


async def test_a_session_is_recycled_after_its_number_of_jobs() -> None:
    async with open_in_memory(session_max_jobs=2, pool_max_sessions=1) as memory:
        identifiers = set()
        for _ in range(5):
            assert (await process_image(memory)).state == "done"
            identifiers.add((await slot_document(memory))["identifier"])

        async def recycled() -> bool:
            return bool((await slot_document(memory))["generation"] == 3)

        await eventually(recycled)
        assert len(identifiers) >= 2
        assert len(memory.pool.sessions) <= 1


async def test_a_returned_session_is_clean_and_used_again() -> None:
    async with open_in_memory(pool_max_sessions=1) as memory:
        await process_image(memory)
        await memory.services.scheduler.close()
        returned = await slot_document(memory)
        assert returned["state"] == "free"
        files = memory.pool.sessions[returned["identifier"]]
        assert [name for name in files if not name.startswith("engine-")] == []
        heir = another_process(memory)
        async with heir.acquire_slot() as session:
            assert session.engine_installed
        document = await slot_document(memory)
        assert (document["identifier"], document["state"]) == (returned["identifier"], "in use")
        await heir.close()


async def test_a_session_that_cannot_be_cleaned_is_ended_next(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(*_: object) -> None:
        raise PoolUnavailable("the session pool refuses the sign-in")

    async with open_in_memory(pool_max_sessions=1) as memory:
        services = memory.services
        await process_image(memory)
        before = await slot_document(memory)
        with monkeypatch.context() as patch:
            patch.setattr(services.pool, "delete", refused)
            await services.scheduler.close()
        assert await services.slot_documents.list_free(1) == [FIRST_SLOT]
        heir = another_process(memory)
        async with heir.acquire_slot():
            document = await slot_document(memory)
        assert document["identifier"] != before["identifier"]
        assert document["generation"] == before["generation"] + 1
        assert before["identifier"] not in memory.pool.sessions
        await heir.close()


async def test_a_slot_that_cannot_be_written_is_free_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unavailable(*_: object) -> None:
        raise StorageUnavailable("writing a slot: the storage account does not respond")

    async with open_in_memory(pool_max_sessions=1, slot_acquire_timeout=0.1) as memory:
        with monkeypatch.context() as patch:
            patch.setattr(LeasedDocument, "write", unavailable)
            with pytest.raises(PoolFull):
                async with memory.services.scheduler.acquire_slot():
                    pass

            async def free() -> bool:
                return await memory.services.slot_documents.list_free(1) == [FIRST_SLOT]

            await eventually(free)


async def test_a_slot_freed_for_a_cancelled_job_goes_to_the_next() -> None:
    async with open_in_memory(pool_max_sessions=1, session_concurrency=1, slot_acquire_timeout=600) as memory:
        scheduler, leave = memory.services.scheduler, asyncio.Event()
        sessions: dict[str, Any] = {}

        async def use_slot(name: str) -> None:
            async with scheduler.acquire_slot() as session:
                sessions[name] = session
                if name == "a":
                    await leave.wait()

        first = asyncio.create_task(use_slot("a"))
        await eventually(lambda: "a" in sessions)
        second, third = (asyncio.create_task(use_slot(name)) for name in "bc")
        for _ in range(5):
            await asyncio.sleep(0)
        leave.set()
        second.cancel()
        await asyncio.wait_for(third, 60)
        assert sessions["c"] is sessions["a"], "the session that was idle is kept"
        await asyncio.gather(first, second, return_exceptions=True)


async def test_an_idle_slot_is_returned() -> None:
    async with open_in_memory(session_idle_timeout=0) as memory:
        await process_image(memory)
        await state_is(memory, "free")
        assert memory.services.scheduler.leases.slots == []


async def test_a_slot_of_a_dead_process_gets_a_new_session() -> None:
    """Its document still says `in use`: the session may hold anything."""
    async with open_in_memory(pool_max_sessions=1) as memory:
        services = memory.services
        await services.slot_documents.list_free(1)
        dead = await services.slot_documents.acquire(FIRST_SLOT)
        assert dead is not None
        await services.pool.upload("left-behind-12345678", "secret.txt", 1, one_byte)
        await dead.write({"state": "in use", "identifier": "left-behind-12345678", "generation": 7, "born": 4e9})
        await dead.release()
        assert (await process_image(memory)).state == "done"
        document = await slot_document(memory)
        assert (document["generation"], document["identifier"] != "left-behind-12345678") == (8, True)
        assert "left-behind-12345678" not in memory.pool.sessions


async def test_an_expired_session_gets_the_engine_again(memory: Memory) -> None:
    assert (await process_image(memory)).state == "done"
    await memory.services.pool.end((await slot_document(memory))["identifier"])
    entry = await process_image(memory)
    assert (entry.state, (await slot_document(memory))["generation"]) == ("done", 1)


async def test_a_session_lost_in_mid_job_costs_one_more_attempt(memory: Memory) -> None:
    memory.pool.fail("POST executions", faults.DIED)
    assert (await process_image(memory)).state == "done"
    assert (await slot_document(memory))["generation"] in (1, 2)
    assert memory.pool.calls.count("POST executions") == 2


async def test_a_slot_that_another_process_holds_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_in_memory(pool_max_sessions=1, slot_lease_duration=15) as memory:
        scheduler = memory.services.scheduler
        async with scheduler.acquire_slot() as session:
            (held,) = scheduler.leases.slots
            memory.account.advance(16)
            taken = await documents_of(memory).acquire(FIRST_SLOT)
            assert taken is not None
            await scheduler.leases.heartbeat(held)
            assert (held.state, scheduler.leases.slots) == (SlotState.LOST, [])
            with pytest.raises(SessionLost, match="did not renew its lease"):
                await session.upload("in.bin", 1, one_byte)
        await taken.release()
        async with scheduler.acquire_slot():
            assert len(scheduler.leases.slots) == 1


async def test_a_suspended_process_stops_using_its_session(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_in_memory(pool_max_sessions=1) as memory, memory.services.scheduler.acquire_slot() as session:
        session._check()
        late = time.monotonic() + memory.services.settings.slot_lease_duration
        with monkeypatch.context() as patch:
            patch.setattr(slot, "time", SimpleNamespace(monotonic=lambda: late))
            with pytest.raises(SessionLost):
                session._check()


async def test_a_failed_heartbeat_is_repeated(memory: Memory) -> None:
    async with memory.services.scheduler.acquire_slot():
        leases = memory.services.scheduler.leases
        (held,) = leases.slots
        memory.account.fail("lease.renew", 503, "ServerBusy", times=5)
        leased, held.leased = held.leased, held.leased - 1
        await leases.heartbeat(held)
        assert (held.state, held.renewing) == (SlotState.READY, False)
        memory.account._faults.clear()
        await leases.heartbeat(held)
        assert held.leased >= leased


async def test_heartbeats_are_sent_after_a_third_of_the_lease(memory: Memory) -> None:
    async with memory.services.scheduler.acquire_slot():
        (held,) = memory.services.scheduler.leases.slots
        before = held.leased = held.leased - memory.services.settings.slot_lease_duration / 3
        await eventually(lambda: held.leased > before)


async def test_a_bug_in_maintenance_does_not_keep_a_slot(memory: Memory, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise heartbeats would keep it leased for ever, closed to jobs."""

    async def broken() -> None:
        raise ZeroDivisionError

    assert (await process_image(memory)).state == "done"
    scheduler = memory.services.scheduler
    (held,) = scheduler.leases.slots
    held.session.clean = broken  # type: ignore[method-assign,assignment]
    scheduler.recycler.start(held, SlotState.RETURNING)
    await eventually(lambda: held not in scheduler.leases.slots)
    assert "ZeroDivisionError" in caplog.text
    assert "event=slot.broken" in caplog.text
    await held.document.release()
    assert (await process_image(memory)).state == "done"


async def test_a_session_that_cannot_be_ended_cools_down() -> None:
    async with open_in_memory(pool_max_sessions=1, session_max_jobs=1, slot_acquire_timeout=0.1) as memory:
        services = memory.services
        memory.pool.fail("DELETE session", faults.THROTTLED)
        await process_image(memory)
        await state_is(memory, "cooling")
        assert services.scheduler.leases.slots == []
        with pytest.raises(PoolFull):
            async with services.scheduler.acquire_slot():
                pass
        assert await drain(services.settings, services.slot_documents, services.pool) == 0
        with pytest.raises(PoolFull, match="cooled down"):
            await end_idle_session(FIRST_SLOT, services.settings, services.slot_documents, services.pool)
        assert (await slot_document(memory))["state"] == "cooling"


async def test_an_idle_session_makes_way_for_another_label() -> None:
    async with open_in_memory(pool_max_sessions=1) as memory:
        scheduler = memory.services.scheduler
        async with scheduler.acquire_slot("tenant:a") as session:
            first = session.name
        async with scheduler.acquire_slot("tenant:b") as session:
            assert session.name != first


async def test_a_session_in_doubt_is_not_used_again(memory: Memory) -> None:
    scheduler = memory.services.scheduler
    with suppress(SessionLost):
        async with scheduler.acquire_slot() as first:
            raise SessionLost("it died", kind="session_died")
    async with scheduler.acquire_slot() as second:
        assert second.name != first.name


async def test_a_recycle_request_of_this_process_waits_for_jobs(memory: Memory) -> None:
    scheduler = memory.services.scheduler
    assert not scheduler.recycle(FIRST_SLOT)
    async with scheduler.acquire_slot(job_label=JobLabel("web", "input", "photos/a.jpg")) as session:
        (held,) = scheduler.leases.slots
        assert scheduler.recycle(held.name)
        assert held.state is SlotState.DRAINING
        row = scheduler.status_rows()[held.name]
        assert (row["draining"], row["count"], row["jobs"][0][:3]) == (True, 1, ["web", "input", "photos/a.jpg"])
        session._check()
    async with scheduler.acquire_slot() as again:
        assert again.name != session.name


async def test_status_is_published_when_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "PUBLISH_INTERVAL_SECONDS", 0.0)
    async with open_in_memory(pool_max_sessions=1) as memory:
        table = memory.services.slot_status
        async with memory.services.scheduler.acquire_slot(
            job_label=JobLabel("web", "input", "photos/a.jpg")
        ) as session:

            async def published() -> bool:
                rows, _ = await table.read_all()
                return bool(rows and rows[FIRST_SLOT]["count"] == 1)

            await eventually(published)
            await table.request_recycling(FIRST_SLOT, memory.services.scheduler.leases.slots[0].generation)
            await eventually(lambda: memory.services.scheduler.leases.slots[0].state is SlotState.DRAINING)
        async with memory.services.scheduler.acquire_slot() as again:
            assert again.name != session.name


async def test_a_job_waits_with_the_reason_why_no_slot_can_be_leased(memory: Memory) -> None:
    settings = memory.services.settings
    object.__setattr__(settings, "slot_acquire_timeout", 0.2)
    memory.account.fail(f"blob.list {settings.state_container}/slots/", 404, "ContainerNotFound", times=99)
    with pytest.raises(StorageNotFound, match="image-pipeline init"):
        await process_image(memory)
    memory.account.work_again()
    entry = await memory.entry("web", "photos/a.jpg")
    assert entry is not None
    assert (entry.state, entry.error_kind, entry.stage) == ("queued", "storage_not_found", "acquire")


async def test_a_process_holds_no_more_slots_than_its_limit() -> None:
    async with open_in_memory(
        pool_max_sessions=4, max_slots_per_process=2, session_concurrency=1, slot_acquire_timeout=0.3
    ) as memory:
        scheduler = memory.services.scheduler
        async with scheduler.acquire_slot(), scheduler.acquire_slot():
            with pytest.raises(PoolFull, match="no session became free"):
                async with scheduler.acquire_slot():
                    pass
            assert len(scheduler.leases.slots) == 2
            assert await scheduler.leases.acquire("slots/003.json") is None


async def test_draining_ends_the_sessions_of_free_slots() -> None:
    async with open_in_memory(pool=FakePool(), pool_max_sessions=2) as memory:
        services = memory.services
        await process_image(memory)
        held = services.scheduler.leases.slots[0].name
        arguments = (services.settings, services.slot_documents, services.pool)
        assert await end_idle_session(held, *arguments) == "held"
        assert await drain(*arguments) == 0
        await services.scheduler.close()
        assert len(memory.pool.sessions) == 1
        assert await drain(*arguments) == 1
        assert memory.pool.sessions == {}
        assert await end_idle_session(held, *arguments) == "nothing"


async def test_the_cancelled_maintenance_returns_all_slots(memory: Memory) -> None:
    """A function host stops its event loop, which cancels all tasks."""
    await process_image(memory)
    scheduler = memory.services.scheduler
    assert scheduler._maintenance is not None
    scheduler._maintenance.cancel()
    await state_is(memory, "free")
    assert scheduler.leases.slots == []


def test_a_search_for_slots_has_a_least_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_keeper, "SEARCH_INTERVAL_SECONDS", 1.0)
    now = [100.0]
    monkeypatch.setattr(lease_keeper, "time", SimpleNamespace(monotonic=lambda: now[0]))
    documents: Any = None
    client: Any = None
    keeper = lease_keeper.LeaseKeeper(memory_settings(), documents, client, lambda: {"upload": 1}, {}, "")
    assert [keeper.search_is_due(), keeper.search_is_due()] == [True, False]
    now[0] += 1
    assert keeper.search_is_due()
