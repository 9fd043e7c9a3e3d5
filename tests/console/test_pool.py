"""The pool page of a large pool."""

from __future__ import annotations

import asyncio
import re
import time

from pipeline.pool.billing import BilledHours
from pipeline.pool.status import MAX_NAME_CHARACTERS
from tests.console.client import console_in_memory, text_of
from tests.stack import RECIPES

SLOTS, LONG_NAME = 70, "a" * (MAX_NAME_CHARACTERS - 10)
MAX_PAGE_BYTES = 100_000


def listed_slots(html: str) -> list[int]:
    """Return the numbers of the slots on a page."""
    return [int(each) for each in re.findall(r'data-label="Slot">(\d+)<', html)]


async def test_a_large_pool_is_split_into_small_pages() -> None:
    """Another process holds each slot, and each runs many jobs with long names."""
    async with console_in_memory(RECIPES, pool_max_sessions=100) as (client, memory):
        documents, status_table, now = memory.services.slot_documents, memory.services.slot_status, time.time()
        names = [documents.name(number) for number in range(SLOTS)]
        hours = BilledHours().plus_hour(now)
        content = {"state": "in use", "generation": 7, "born": now, "last": now, "hours": str(hours), "holder": "other"}
        await documents.list_free(SLOTS)

        async def hold(name: str) -> None:
            held = await documents.acquire(name)
            assert held is not None
            await held.write(content)

        await asyncio.gather(*map(hold, names))
        jobs = [["web", "input", f"{number}-{LONG_NAME}", now] for number in range(4)]
        row = {"holder": "other", "generation": 7, "uses": 9, "born": now, "count": 12, "jobs": jobs}
        await status_table.publish(dict.fromkeys(names, row))
        responses = [await client.get("/pool", offset=str(first)) for first in (0, 30, 60)]
        pages = [text_of(each) for each in responses]
        assert [each.status_code for each in responses] == [200] * 3
        assert [listed_slots(html) for html in pages] == [list(range(30)), list(range(30, 60)), list(range(60, 70))]
        assert all(len(html.encode()) < MAX_PAGE_BYTES for html in pages)
        assert pages[0].count("and 9 more") == 30
        assert ['rel="next"' in html for html in pages] == [True, True, False]
        assert "$2.10" in pages[0], "one session-hour per slot"
        for invalid in ("99999", "-1", "x", "4000"):
            assert (await client.get("/pool", offset=invalid)).status_code == 200
