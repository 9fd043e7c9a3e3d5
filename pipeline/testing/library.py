"""A library of sources and their ledger rows that are computed, not stored: a million cost no memory."""

import asyncio
from collections.abc import Collection, Sequence
from typing import cast, overload

from typing_extensions import override

from pipeline.recipes import Recipes
from pipeline.runs.selection import JobFinder
from pipeline.storage import Entry, JobKey, Ledger, Renditions, Sources, Version
from pipeline.testing.named_sources import SOURCE_ETAG, NamedSources

_OLD = "0" * 64


class SimulatedLibrary(NamedSources):
    """`count` sources of one recipe, all done with an older recipe version.

    `lost` holds the numbers of sources without a row: no event has started their jobs. `done` holds the numbers of
    sources that are done with the active version. Each answer takes `latency` seconds.
    """

    def __init__(self, recipes: Recipes, count: int, container: str = "input", latency: float = 0.0) -> None:
        super().__init__(_NumberedNames(count), latency)
        self.lost, self.done = set[int](), set[int]()
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

    async def rows(self, recipe: str, keys: Collection[str], columns: list[str] | None = None) -> dict[str, Entry]:
        """Return the rows with these row keys, as `Ledger.rows` does."""
        await asyncio.sleep(self.latency)
        active, rows = self._recipes.get(recipe).hash, dict[str, Entry]()
        for row in keys:
            number = _number(row)
            if number not in self.lost:
                version = Version(SOURCE_ETAG, active if number in self.done else _OLD)
                key = JobKey(recipe, row)
                rows[row] = Entry(
                    key, self._container, name_of(number), state="done", version=version, row_etag=SOURCE_ETAG
                )
        return rows


class _NumberedNames(Sequence[str]):
    """The names of `count` sources, each made when it is asked for."""

    def __init__(self, count: int) -> None:
        self._numbers = range(count)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    @override
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [name_of(number) for number in self._numbers[index]]
        return name_of(self._numbers[index])

    @override
    def __len__(self) -> int:
        return len(self._numbers)


def name_of(number: int) -> str:
    """Return the name of a source by its number."""
    return f"photos/{number:09d}.jpg"


def _number(name_or_key: str) -> int:
    return int(name_or_key[-13:-4])
