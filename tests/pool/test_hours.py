"""What sessions are billed for: every hour begun, counted once, by the day on which it began."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import PoolUnavailable
from pipeline.pool.billing import HOUR, BilledHours, SessionLifetime, started_hours
from tests.images import picture
from tests.pool.test_sharing import another_process
from tests.pool.test_slots import one_byte
from tests.stack import Stack, opened
from tests.waiting import eventually


def at(text: str) -> float:
    """A moment of UTC, as seconds."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("seconds", "hours"), [(0, 1), (1, 1), (3600, 1), (3600.5, 2), (7200, 2), (86_400, 24), (-1, 0)]
)
def test_every_hour_begun_counts(seconds: float, hours: int) -> None:
    assert started_hours(1e9, 1e9 + seconds) == hours
    assert started_hours(0, seconds) == 0, "a session that never began"


@given(
    st.lists(st.tuples(st.floats(0, 90_000), st.floats(0, 9000)), max_size=8),
    st.lists(st.floats(0, 1), min_size=1, max_size=6),
)
def test_however_often_it_is_looked_and_written_down_between_each_hour_counts_once(
    sessions: list[tuple[float, float]], looks: list[float]
) -> None:
    hours, now, expected = BilledHours(), at("2026-02-26T20:00"), list[float]()
    for pause, length in sessions:
        life = SessionLifetime(cooldown=300)
        now += pause
        life.begin(now)
        for part in sorted(looks):
            life.proven(now + part * length)
            hours = life.count(hours, life.until(now + part * length))
            life = SessionLifetime.read({"born": life.started, "last": life.last_used, "counted": life.counted}, 300)
            hours = BilledHours.parse(str(hours))
        expected += [now + n * HOUR for n in range(started_hours(now, now + max(looks) * length))]
        now += length
    assert hours.total == len(expected)
    told = BilledHours.sum([hours, BilledHours()], now)
    days = [datetime.fromtimestamp(each, UTC).date().isoformat() for each in expected]
    assert (told.today, told.month) == (days.count(told.day), sum(day[:7] == told.day[:7] for day in days))
    assert told.since == min(days, default="")


def test_slots_are_summed_up_as_of_today() -> None:
    slots = ["2026-11-24 3 57 1234 2026-01-05", "2026-11-23 9 9 9 2026-11-23", "2026-10-31 5 50 500 2026-02-01", "?"]
    found = BilledHours.sum(map(BilledHours.parse, slots), at("2026-11-24T00:00"))
    assert found == BilledHours("2026-11-24", 3, 66, 1743, "2026-01-05")


def test_a_session_that_nobody_uses_lives_until_it_has_cooled_down_and_no_longer() -> None:
    life = SessionLifetime(cooldown=300)
    life.begin(1000)
    life.answered(4400)
    assert life.until(4500) == 4500
    assert life.until(90_000) == 4700
    assert life.count(BilledHours(), life.until(90_000)).total == 2, "the second hour began while it cooled down"


def test_one_that_is_used_after_that_is_not_taken_for_alive_before_it_has_shown_to_be() -> None:
    """What answers to its name may be another one, and a job that ends may have failed without any answer."""
    life = SessionLifetime(cooldown=300)
    life.begin(1000)
    life.answered(1100)
    life.used(90_000)
    life.answered(90_001)
    assert life.until(90_002) == 1400
    life.proven(90_010)
    assert life.until(90_020) == 90_020


async def job(stack: Stack, name: str = "photos/a.jpg") -> None:
    services = stack.services
    await stack.drop(name, picture())
    container = services.settings.input_container
    entry = await services.executor.execute(container, name, services.recipes.get("web"), again=True)
    assert entry.state == "done"


async def slot(stack: Stack) -> dict[str, Any]:
    """The one slot's document."""
    container = stack.services.account.container(stack.services.settings.state_container)
    found: dict[str, Any] = json.loads(await (await container.download_blob("slots/000.json")).readall())
    return found


async def counted(stack: Stack) -> int:
    """The session-hours that the pool tells of."""
    told = (await stack.services.pool_monitor.overview()).hours
    assert told.price == 0.03
    assert told.total >= told.month >= told.today
    return told.total


async def test_sessions_are_counted_from_their_first_job_and_after_their_end(environ: dict[str, str]) -> None:
    async with opened({**environ, "PIPELINE_POOL_MAX_SESSIONS": "1", "PIPELINE_SESSION_MAX_JOBS": "1"}) as stack:
        assert await counted(stack) == 0
        for number in (1, 2):
            await job(stack)

            async def recycled(generation: int = number + 1) -> bool:
                return bool((await slot(stack))["generation"] == generation)

            await eventually(recycled)
            assert await counted(stack) == number, "a session that has a name and no job yet costs nothing"
        await stack.services.scheduler.close()
        assert await counted(stack) == 2
        answer = await stack.services.pool_monitor.recycle("0")
        assert (answer.outcome, await counted(stack)) == ("ended", 2)


async def test_a_session_whose_holder_died_was_counted_while_it_lived(environ: dict[str, str]) -> None:
    async with opened({**environ, "PIPELINE_POOL_MAX_SESSIONS": "1"}) as stack:
        await job(stack)

        async def written() -> bool:
            return await counted(stack) == 1

        await eventually(written)
        (held,) = stack.services.scheduler._slots
        stack.services.scheduler._drop(held)
        await held.document.release()
        heir = another_process(stack)
        async with heir.acquire_slot() as session:
            assert await counted(stack) == 1, "nothing has been asked of the new one"
            await session.upload("in.bin", 1, one_byte)
        await heir.close()
        assert ((await slot(stack))["generation"], await counted(stack)) == (2, 2)


async def test_a_session_that_ended_by_itself_and_came_back_empty_counts_as_another(environ: dict[str, str]) -> None:
    async with opened({**environ, "PIPELINE_POOL_MAX_SESSIONS": "1"}) as stack:
        await job(stack)
        await stack.services.pool.end((await slot(stack))["identifier"])
        await job(stack)
        await stack.services.scheduler.close()
        found = await slot(stack)
        assert (found["generation"], await counted(stack)) == (1, 2)


async def test_several_jobs_that_find_it_gone_count_it_once(environ: dict[str, str]) -> None:
    async with opened({**environ, "PIPELINE_POOL_MAX_SESSIONS": "1"}) as stack:
        await job(stack)
        await stack.services.pool.end((await slot(stack))["identifier"])
        await asyncio.gather(*(job(stack, f"photos/{number}.jpg") for number in range(4)))
        await stack.services.scheduler.close()
        assert await counted(stack) == 2


async def test_no_hour_is_counted_for_an_old_session_that_a_job_found_no_way_to(environ: dict[str, str]) -> None:
    """It had cooled down long ago, and then the pool was down: nobody knows whether it lived on, and it did not."""
    async with opened({**environ, "PIPELINE_POOL_MAX_SESSIONS": "1", "PIPELINE_SESSION_MAX_AGE": "86400"}) as stack:
        await job(stack)
        slots, client = stack.services.scheduler, stack.services.pool
        (held,) = slots._slots
        held.lifetime.started, held.lifetime.last_used = held.lifetime.started - 10_000, held.lifetime.last_used - 9000
        with pytest.MonkeyPatch.context() as down:
            down.setattr(client, "put", _down)
            async with slots.acquire_slot() as session:
                assert held.session is session
                with pytest.raises(PoolUnavailable):
                    await session.upload("in.bin", 1, one_byte)
        await slots.close()
        assert await counted(stack) == 1


async def _down(*_: object) -> None:
    raise PoolUnavailable("down")
