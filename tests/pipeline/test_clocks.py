"""Two processes whose clocks differ by ten minutes, many times the expiry of a claim."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Any

import pytest

from pipeline.storage import claim, ledger
from pipeline.storage import entry as entries
from tests.images import image_bytes
from tests.memory import Memory, open_in_memory

NAME = "photos/a.jpg"
MINUTES = ContextVar("MINUTES", default=0)


class Clock(datetime):
    """A clock that is some minutes ahead in the process of the current task."""

    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        """Return the time of this process."""
        return datetime.now(tz) + timedelta(minutes=MINUTES.get())


async def uploaded(memory: Memory, minutes: int) -> None:
    """Deliver the event of the source to a process whose clock is some minutes ahead."""
    MINUTES.set(minutes)
    await memory.services.dispatcher.handle_blob("input", NAME)


@pytest.mark.parametrize(("first", "second"), [(0, 10), (-10, 0), (10, 0), (0, -10)])
async def test_a_clock_ten_minutes_off_loses_and_mixes_nothing(
    memory: Memory, monkeypatch: pytest.MonkeyPatch, first: int, second: int
) -> None:
    monkeypatch.setattr(ledger, "datetime", Clock)
    monkeypatch.setattr(claim, "datetime", Clock)
    monkeypatch.setattr(entries, "datetime", Clock)
    await memory.upload(NAME, image_bytes())
    async with open_in_memory(account=memory.account, pool=memory.pool) as other:
        memory.before_next("POST executions", lambda: _task(uploaded(other, second)))
        await _task(uploaded(memory, first))
    memory.account.advance(memory.services.settings.claim_ttl + 1)
    for message in await memory.take():
        await memory.run_queued(message)
    row = await memory.entry("web", NAME)
    assert row is not None
    assert row.state == "done"
    assert sorted(await memory.outputs()) == sorted(one["path"] for one in row.renditions)
    assert await memory.take() == []
    takeover = (second - first) > 0
    assert sum(call.startswith("POST executions") for call in memory.pool.calls) == (2 if takeover else 1)


async def _task(work: Any) -> None:
    """Run work in a context of its own."""
    await asyncio.create_task(work)
