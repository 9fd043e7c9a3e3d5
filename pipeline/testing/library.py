"""A library of sources and their ledger rows that are computed, not stored: a million cost no memory."""

import asyncio
from bisect import bisect_left
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import cast

from pipeline.recipes import Recipes
from pipeline.runs.selection import JobFinder
from pipeline.storage import Entry, JobKey, Ledger, Listed, Renditions, Sources, Version

_ETAG, _OLD = "0x1", "0" * 64
_WRITTEN = datetime.now(UTC) - timedelta(days=30)


class SimulatedLibrary:
    """`count` sources of one recipe, all done with an older recipe version.

    `lost` holds the numbers of sources without a row: no event has started their jobs. `done` holds the numbers of
    sources that are done with the active version. Each answer takes `latency` seconds.
    """

    deployment = 0

    def __init__(self, recipes: Recipes, count: int, container: str = "input", latency: float = 0.0) -> None:
        self.latency = latency
        self.count, self.lost, self.done = count, set[int](), set[int]()
        self._recipes, self._container = recipes, container

    @property
    def finder(self) -> JobFinder:
        """A finder of the due jobs of this library."""
        ledger, sources = cast("Ledger", self), cast("Sources", self)
        return JobFinder(self._container, self._recipes, ledger, sources, cast("Renditions", None))

    def finish(self, name: str) -> None:
        """Let the job of a source be done with the active recipe version."""
        number = _number(name)
        self.lost.discard(number)
        self.done.add(number)

    async def page(
        self,
        container: str,
        prefix: str = "",
        cursor: str = "",
        limit: int = 5000,
        *,
        tags: bool = False,
        start: str = "",
    ) -> tuple[list[Listed], str]:
        """Return a page of sources, as `Sources.page` does."""
        await asyncio.sleep(self.latency)
        first = int(cursor) if cursor else bisect_left(range(self.count), start, key=name_of)
        end = min(first + limit, self.count)
        page = [Listed(name_of(number), _ETAG, 1000, "image/jpeg", _WRITTEN) for number in range(first, end)]
        return page, str(end) if end < self.count else ""

    async def first_name(self, container: str, prefix: str, start: str) -> str:
        """Return the first name at or behind `start`, as `Sources.first_name` does."""
        await asyncio.sleep(self.latency)
        number = bisect_left(range(self.count), start, key=name_of)
        return name_of(number) if number < self.count else ""

    async def rows(self, recipe: str, keys: Collection[str], columns: list[str] | None = None) -> dict[str, Entry]:
        """Return the rows with these row keys, as `Ledger.rows` does."""
        await asyncio.sleep(self.latency)
        active, rows = self._recipes.get(recipe).hash, dict[str, Entry]()
        for row in keys:
            number = _number(row)
            if number not in self.lost:
                version = Version(_ETAG, active if number in self.done else _OLD)
                key = JobKey(recipe, row)
                rows[row] = Entry(key, self._container, name_of(number), state="done", version=version, row_etag=_ETAG)
        return rows


def name_of(number: int) -> str:
    """Return the name of a source by its number."""
    return f"photos/{number:09d}.jpg"


def _number(name_or_key: str) -> int:
    return int(name_or_key[-13:-4])
