"""The pool's page where the pool is large. Without a browser."""

from __future__ import annotations

import asyncio
import re
import time

import azure.functions as func

from pipeline.console.routes import Console
from pipeline.pool.billing import BilledHours
from pipeline.pool.status import MAX_NAME_CHARACTERS
from tests.stack import Stack, opened

SLOTS, LONG = 70, "a" * (MAX_NAME_CHARACTERS - 10)


async def page(stack: Stack, query: str = "") -> str:
    url = f"http://127.0.0.1/api/console/pool{query}"
    request = func.HttpRequest("GET", url, headers={"host": "127.0.0.1"}, route_params={"page": "pool"}, body=b"")
    answer = await Console().answer(stack.services, request)
    assert answer.status_code == 200
    return answer.get_body().decode()


def numbers(html: str) -> list[int]:
    """The slots that a page shows."""
    return [int(each) for each in re.findall(r'data-label="Slot">(\d+)<', html)]


async def test_a_large_pool_takes_several_pages_and_none_is_heavy(environ: dict[str, str]) -> None:
    """Each slot is held by another process and full of jobs with long names."""
    console = {"PIPELINE_POOL_MAX_SESSIONS": "100", "PIPELINE_CONSOLE_ACCESS": "open"}
    async with opened({**environ, **console}) as stack:
        documents, board, now = stack.services.slot_documents, stack.services.slot_status, time.time()
        names = [documents.name(number) for number in range(SLOTS)]
        hours = BilledHours().plus_hour(now)
        said = {"state": "in use", "generation": 7, "born": now, "last": now, "hours": str(hours), "holder": "other"}
        await documents.list_free(SLOTS)

        async def hold(name: str) -> None:
            held = await documents.acquire(name)
            assert held is not None
            await held.write(said)

        await asyncio.gather(*map(hold, names))
        jobs = [["web", "input", f"{number}-{LONG}", now] for number in range(4)]
        told = {"holder": "other", "generation": 7, "uses": 9, "born": now, "count": 12, "jobs": jobs}
        await board.publish(dict.fromkeys(names, told))
        pages = [await page(stack, f"?from={first}") for first in (0, 30, 60)]
        assert [numbers(html) for html in pages] == [list(range(30)), list(range(30, 60)), list(range(60, 70))]
        assert all(len(html.encode()) < 100_000 for html in pages)
        assert pages[0].count("and 9 more") == 30
        assert ['rel="next"' in html for html in pages] == [True, True, False]
        assert "$2.10" in pages[0], "a session-hour for each"
        for odd in ("?from=99999", "?from=-1", "?from=x", "?from=4000"):
            await page(stack, odd)
