"""Billed session-hours: every started hour is counted once, on the day on which it started."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import PoolUnavailable
from pipeline.pool.billing import HOUR_SECONDS, BilledHours, SessionLifetime, started_hours
from pipeline.pool.drain import end_idle_session
from tests.memory import Memory, open_in_memory
from tests.pool.helpers import FIRST_SLOT, another_process, one_byte, process_image, slot_document
from tests.waiting import eventually


def timestamp(text: str) -> float:
    """Return a time in UTC as seconds since 1970."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("seconds", "hours"), [(0, 1), (1, 1), (3600, 1), (3600.5, 2), (7200, 2), (86_400, 24), (-1, 0)]
)
def test_every_started_hour_counts(seconds: float, hours: int) -> None:
    assert started_hours(1e9, 1e9 + seconds) == hours
    assert started_hours(0, seconds) == 0, "a session that never started"


@given(
    st.lists(st.tuples(st.floats(0, 90_000), st.floats(0, 9000)), max_size=8),
    st.lists(st.floats(0, 1), min_size=1, max_size=6),
)
def test_an_hour_counts_once_however_often_it_is_written(
    sessions: list[tuple[float, float]], observations: list[float]
) -> None:
    hours, now, expected = BilledHours(), timestamp("2026-02-26T20:00"), list[float]()
    for pause, length in sessions:
        lifetime = SessionLifetime(cooldown=300)
        now += pause
        lifetime.start(now)
        for part in sorted(observations):
            lifetime.mark_alive(now + part * length)
            hours = lifetime.add_started_hours(hours, lifetime.alive_until(now + part * length))
            document = {"born": lifetime.started, "last": lifetime.last_used, "counted": lifetime.counted}
            lifetime = SessionLifetime.read(document, 300)
            hours = BilledHours.parse(str(hours))
        count = started_hours(now, now + max(observations) * length)
        expected += [now + number * HOUR_SECONDS for number in range(count)]
        now += length
    assert hours.total == len(expected)
    total = BilledHours.sum([hours, BilledHours()], now)
    days = [datetime.fromtimestamp(each, UTC).date().isoformat() for each in expected]
    assert (total.today, total.month) == (days.count(total.day), sum(day[:7] == total.day[:7] for day in days))
    assert total.since == min(days, default="")


def test_slots_are_summed_as_of_today() -> None:
    slots = ["2026-11-24 3 57 1234 2026-01-05", "2026-11-23 9 9 9 2026-11-23", "2026-10-31 5 50 500 2026-02-01", "?"]
    total = BilledHours.sum(map(BilledHours.parse, slots), timestamp("2026-11-24T00:00"))
    assert total == BilledHours("2026-11-24", 3, 66, 1743, "2026-01-05")


def test_unreadable_numbers_of_a_document_count_as_zero() -> None:
    lifetime = SessionLifetime.read({"born": "x", "last": None, "counted": "1"}, 300)
    assert (lifetime.started, lifetime.last_used, lifetime.counted) == (0, 0, 1)


def test_an_unused_session_lives_until_it_has_cooled_down() -> None:
    lifetime = SessionLifetime(cooldown=300)
    lifetime.start(1000)
    lifetime.mark_responded(4400)
    assert lifetime.alive_until(4500) == 4500
    assert lifetime.alive_until(90_000) == 4700
    hours = lifetime.add_started_hours(BilledHours(), lifetime.alive_until(90_000))
    assert hours.total == 2, "the second hour started during the cooldown"


def test_a_session_used_after_its_cooldown_is_unconfirmed() -> None:
    """A new session may respond under its name, and a failed job may have got no response at all."""
    lifetime = SessionLifetime(cooldown=300)
    lifetime.start(1000)
    lifetime.mark_responded(1100)
    lifetime.mark_used(90_000)
    lifetime.mark_responded(90_001)
    assert lifetime.alive_until(90_002) == 1400
    lifetime.mark_alive(90_010)
    assert lifetime.alive_until(90_020) == 90_020


async def counted(memory: Memory) -> int:
    """Return the hours in the document of the only slot."""
    return BilledHours.parse((await slot_document(memory))["hours"]).total


@pytest.mark.usefixtures("short_intervals")
async def test_sessions_count_from_their_first_job() -> None:
    async with open_in_memory(pool_max_sessions=1, session_max_jobs=1) as memory:
        for number in (1, 2):
            await process_image(memory)

            async def recycled(generation: int = number + 1) -> bool:
                return bool((await slot_document(memory))["generation"] == generation)

            await eventually(recycled)
            assert await counted(memory) == number, "a session with a name and no job costs nothing"
        services = memory.services
        await services.scheduler.close()
        assert await counted(memory) == 2
        arguments = (services.settings, services.slot_documents, services.pool)
        assert await end_idle_session(FIRST_SLOT, *arguments) == "emptied"


@pytest.mark.usefixtures("short_intervals")
async def test_the_hours_of_a_dead_process_stay_counted() -> None:
    async with open_in_memory(pool_max_sessions=1) as memory:
        await process_image(memory)

        async def written() -> bool:
            return await counted(memory) == 1

        await eventually(written)
        leases = memory.services.scheduler.leases
        (held,) = leases.slots
        leases.drop(held)
        await held.document.release()
        heir = another_process(memory)
        async with heir.acquire_slot() as session:
            assert await counted(memory) == 1, "the new session has received no call"
            await session.upload("in.bin", 1, one_byte)
        await heir.close()
        assert ((await slot_document(memory))["generation"], await counted(memory)) == (2, 2)


async def test_an_expired_session_that_returns_empty_counts_again() -> None:
    async with open_in_memory(pool_max_sessions=1) as memory:
        await process_image(memory)
        await memory.services.pool.end((await slot_document(memory))["identifier"])
        await process_image(memory)
        await memory.services.scheduler.close()
        assert ((await slot_document(memory))["generation"], await counted(memory)) == (1, 2)


async def test_several_jobs_that_find_a_session_gone_count_it_once() -> None:
    async with open_in_memory(pool_max_sessions=1) as memory:
        await process_image(memory)
        await memory.services.pool.end((await slot_document(memory))["identifier"])
        await asyncio.gather(*(process_image(memory, f"photos/{number}.jpg") for number in range(4)))
        await memory.services.scheduler.close()
        assert await counted(memory) == 2


async def test_an_unreachable_pool_adds_no_hour_to_an_old_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """The session had cooled down long before the pool was down, and no call confirmed that it lived on."""

    async def unavailable(*_: object) -> None:
        raise PoolUnavailable("down")

    async with open_in_memory(pool_max_sessions=1, session_max_age=86400) as memory:
        await process_image(memory)
        scheduler, client = memory.services.scheduler, memory.services.pool
        (held,) = scheduler.leases.slots
        lifetime = held.lifetime
        lifetime.started, lifetime.last_used = lifetime.started - 10_000, lifetime.last_used - 9000
        with monkeypatch.context() as patch:
            patch.setattr(client, "upload", unavailable)
            async with scheduler.acquire_slot() as session:
                assert held.session is session
                with pytest.raises(PoolUnavailable):
                    await session.upload("in.bin", 1, one_byte)
        await scheduler.close()
        assert await counted(memory) == 1
