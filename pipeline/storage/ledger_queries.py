"""Cursor pagination over the ledger: each page takes a few range reads, however many rows there are."""

import asyncio
import base64
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Any, Self

from azure.data.tables.aio import TableClient

from pipeline.concurrency import map_concurrently
from pipeline.errors import InvalidCursor
from pipeline.storage.account import IgnoreMissing, map_errors
from pipeline.storage.entry import LONG_AGO, STATES, UNREADABLE_ROW_KIND, Entry, State
from pipeline.storage.keys import group_of, key_range
from pipeline.storage.list_keys import (
    LIST_MARK,
    is_position,
    list_position,
    older_position,
    position_at,
    state_list_prefix,
)
from pipeline.storage.list_row import listed_entry, listed_key, listed_source
from pipeline.storage.merged_ranges import merged
from pipeline.storage.row_columns import Columns, InvalidColumn
from pipeline.storage.shards import ShardNumber

# Storage returns at most this many rows per request.
MAX_PAGE_ROWS = 1000
CONCURRENT_READS = 32
# A list is read from its newest hour first. Of a run, the ranges begin with some minutes, and a page covers 19 days.
RECENT_SECONDS, FIRST_RUN_SECONDS, MAX_RUN_RANGES = 3600.0, 300.0, 7
# The clocks of two instances differ by less than this.
MAX_CLOCK_DIFFERENCE = timedelta(minutes=1)
# A page by name looks at this many rows, even if it is not full then; its cursor continues from there.
MAX_LOOKS = 2000
# Former recipes are searched for at this interval; the search takes one request per recipe.
FORMER_RECIPES_SECONDS = 600.0
_RANGE = "PartitionKey eq @recipe and RowKey gt @after and RowKey lt @end"
_FAILURE = ["PartitionKey", "RowKey", "job", "container", "name", "error_kind", "error_class", "stage", "since"]


@dataclass(frozen=True)
class FailureGroup:
    """Failures of one kind: their number in total and by stage, and time and source of the newest one."""

    kind: str
    error_class: str
    count: int
    stages: dict[str, int]
    newest: datetime
    example: str


async def next_partition(table: TableClient, after: str) -> str:
    """Return the first partition of jobs behind `after`; empty if there is none. This takes one request."""
    query, values = "PartitionKey gt @after and PartitionKey lt @end", {"after": after, "end": LIST_MARK}
    with map_errors("reading the ledger"):
        rows = table.query_entities(query, parameters=values, select=["PartitionKey"], results_per_page=1)
        async for row in rows:
            return str(row["PartitionKey"])
    return ""


async def _groups(table: TableClient) -> AsyncIterator[str]:
    """Yield the groups of jobs: the recipes, present and former, and the group of the ad-hoc recipes."""
    partition = await next_partition(table, "")
    while partition:
        yield group_of(partition)
        partition = await next_partition(table, f"{group_of(partition)}{LIST_MARK}{LIST_MARK}")


class LedgerQueries:
    """Queries over the lists of a table.

    A query that names no recipe reads all recipes: the active `recipes`, and those that only the table knows.
    """

    def __init__(self, table: TableClient, shards: ShardNumber, recipes: Sequence[str]) -> None:
        self._table, self._shards, self._active = table, shards, tuple(recipes)
        self._former: tuple[float, tuple[str, ...]] = (-inf, ())
        self._lock = asyncio.Lock()

    async def _recipes(self) -> list[str]:
        """Return the names of all recipes; those that only the table knows come from a cache."""
        async with self._lock:
            if time.monotonic() - self._former[0] > FORMER_RECIPES_SECONDS:
                found = [name async for name in _groups(self._table) if name not in self._active]
                self._former = (time.monotonic(), tuple(found))
        return [*self._active, *self._former[1]]

    async def page(
        self, recipe: str | None, state: State | None, name: tuple[str, str], run: str, limit: int, cursor: str
    ) -> tuple[list[Entry], str]:
        """Return a page of entries and the cursor of the next page; `name` is a container and a prefix."""
        recipes = [recipe] if recipe else await self._recipes()
        limit = max(1, min(limit, MAX_PAGE_ROWS))
        if name[0]:
            return await self._by_name(recipes, state, name, run, limit, _decode_cursor(cursor))
        partitions = [each for name in recipes for each in (await self._shards.current()).partitions(name)]
        lists = [(partition, each) for partition in partitions for each in ((state,) if state else STATES)]
        return await self._newest(lists, run, limit, _text(_decode_cursor(cursor), "after"))

    async def _newest(
        self, lists: list[tuple[str, State]], run: str, limit: int, after: str
    ) -> tuple[list[Entry], str]:
        """Merge lists, newest first, from a position on.

        Storage may scan, and the emulator sorts, everything in a range. The first ranges are therefore kept small. Of a
        run, only ranges since its start are read; storage filters them, and a page ends after some.
        """
        if after and not is_position(after):
            raise _invalid_cursor()
        end = _end_of_run(run) if run else LIST_MARK
        seconds, most = (FIRST_RUN_SECONDS, MAX_RUN_RANGES) if run else (RECENT_SECONDS, 2)
        rows: list[Any] = []
        for number in range(most):
            start = after or position_at(datetime.now(UTC) + MAX_CLOCK_DIFFERENCE)
            is_last = not run and number == most - 1
            stop = end if is_last else min(older_position(start, seconds), end)
            rows += await self._ranges(lists, after, stop, limit + 1 - len(rows), run)
            after, seconds = stop, 4 * seconds
            if len(rows) > limit or stop == end:
                break
        entries = [listed_entry(row) for row in rows[:limit]]
        page = await map_concurrently(self._with_claim, entries, CONCURRENT_READS)
        if len(rows) > limit:
            return page, _encode_cursor({"after": list_position(rows[limit - 1]["RowKey"])})
        return page, "" if after == end else _encode_cursor({"after": after})

    async def _ranges(self, lists: list[tuple[str, State]], after: str, stop: str, limit: int, run: str) -> list[Any]:
        """Return the first `limit` rows of lists between two positions, merged."""

        async def read(one: tuple[str, State]) -> list[Any]:
            return await self._range(one[0], state_list_prefix(one[1]), (after, stop), limit, run)

        found = [row for rows in await map_concurrently(read, lists, CONCURRENT_READS) for row in rows]
        # While rows move to other shards, a row may be in two of them.
        rows = {(group_of(row["PartitionKey"]), row["RowKey"]): row for row in found}
        return sorted(rows.values(), key=lambda row: list_position(row["RowKey"]))[:limit]

    async def _with_claim(self, entry: Entry) -> Entry:
        """Return the job's own row if the list row tells of an expired claim: heartbeats change the own row only."""
        if not entry.claim_expired:
            return entry
        for partition in (await self._shards.current()).candidates(entry.key):
            with map_errors("reading the ledger"), IgnoreMissing():
                return Entry.from_row(await self._table.get_entity(partition, entry.key.row))
        return entry

    async def _range(self, partition: str, start: str, bounds: tuple[str, str], limit: int, run: str) -> list[Any]:
        """Return up to `limit` rows of a list between two positions, of all jobs or of those of a run."""
        query, values = _RANGE, {"recipe": partition, "after": start + bounds[0], "end": start + bounds[1]}
        if run:
            query, values = f"{query} and run eq @run", {**values, "run": run}
        rows: list[Any] = []
        page_size = min(limit, MAX_PAGE_ROWS)
        with map_errors("reading the ledger"):
            async for row in self._table.query_entities(query, parameters=values, results_per_page=page_size):
                rows.append(row)
                if len(rows) >= limit:
                    break
        return rows

    async def _by_name(
        self,
        recipes: list[str],
        state: State | None,
        name: tuple[str, str],
        run: str,
        limit: int,
        cursor: dict[str, Any],
    ) -> tuple[list[Entry], str]:
        """Return entries recipe by recipe, in the order of their row keys, merged from the shards.

        The cursor is the recipe and the last row key that was looked at. A page ends after some looks, full or not.
        """
        position = cursor or {"recipe": recipes[0] if recipes else ""}
        entries: list[Entry] = []
        left = MAX_LOOKS
        while position:
            recipe = _text(position, "recipe")
            async for row in self._rows_by_name(recipe, name, _text(position, "after"), limit):
                entry = Entry.from_row(row)
                if entry.name.startswith(name[1]) and state in (None, entry.state) and run in ("", entry.run):
                    entries.append(entry)
                left -= 1
                if len(entries) >= limit or not left:
                    return entries, _encode_cursor({"recipe": recipe, "after": row["RowKey"]})
            following = recipes[recipes.index(recipe) + 1 :] if recipe in recipes else []
            position = {"recipe": following[0]} if following else {}
        return entries, ""

    async def _rows_by_name(self, recipe: str, name: tuple[str, str], after: str, limit: int) -> AsyncIterator[Any]:
        """Yield the rows of a recipe with a prefix of names behind a row key."""
        partitions = (await self._shards.current()).partitions(recipe)
        first, end = key_range(*name)
        lower, start = ("gt", after) if after >= first else ("ge", first)
        condition, values = f"RowKey {lower} @start and RowKey lt @end", {"start": start, "end": end}
        # A shard rarely has more than twice its share of the rows of a page.
        page_size = min(10 + 2 * limit // len(partitions), MAX_PAGE_ROWS)
        async for row in merged(self._table, partitions, condition, values, page_size=page_size):
            yield row

    async def failures(self, recipe: str | None, limit: int) -> list[FailureGroup]:
        """Group about the newest `limit` failures of each recipe by error kind, most frequent first."""
        recipes = [recipe] if recipe else await self._recipes()
        shards = await self._shards.current()
        partitions = [each for name in recipes for each in shards.partitions(name)]
        # The failures of a recipe are spread evenly over its shards.
        share = -(-limit // max(shards.number, shards.target))

        async def read(partition: str) -> list[Any]:
            return await self._failures(partition, limit if partition.startswith(LIST_MARK) else share)

        lists = await map_concurrently(read, partitions, CONCURRENT_READS)
        groups: dict[str, list[_Failure]] = {}
        for failure in (_Failure.from_row(row) for rows in lists for row in rows):
            groups.setdefault(failure.kind, []).append(failure)
        return sorted((_group(kind, rows) for kind, rows in groups.items()), key=lambda group: -group.count)

    async def _failures(self, recipe: str, limit: int) -> list[Any]:
        start = state_list_prefix("failed")
        values = {"recipe": recipe, "after": start, "end": start + LIST_MARK}
        with map_errors("reading the ledger"):
            rows: list[Any] = []
            page_size = min(limit, MAX_PAGE_ROWS)
            async for row in self._table.query_entities(
                _RANGE, parameters=values, select=_FAILURE, results_per_page=page_size
            ):
                rows.append(row)
                if len(rows) >= limit:
                    break
        return rows


@dataclass(frozen=True)
class _Failure:
    """A list row of a failure."""

    kind: str
    error_class: str
    stage: str
    since: datetime
    name: str

    @classmethod
    def from_row(cls, row: Any) -> Self:  # noqa: ANN401 - an entity of the SDK
        columns = Columns(row)
        try:
            return cls(
                columns.text("error_kind"),
                columns.text("error_class"),
                columns.text("stage", ""),
                columns.moment("since"),
                listed_source(listed_key(row), columns)[1],
            )
        except InvalidColumn:
            return cls(UNREADABLE_ROW_KIND, InvalidColumn.__name__, "ledger", LONG_AGO, "")


def _end_of_run(run: str) -> str:
    """Return the position behind the jobs of a run: its id begins with the time of its creation."""
    try:
        created = datetime.strptime(run[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return LIST_MARK
    return position_at(created - MAX_CLOCK_DIFFERENCE)


def _group(kind: str, failures: list[_Failure]) -> FailureGroup:
    newest = max(failures, key=lambda failure: failure.since)
    stages = dict(Counter(failure.stage for failure in failures).most_common())
    return FailureGroup(kind, newest.error_class, len(failures), stages, newest.since, newest.name)


def _encode_cursor(position: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(position, separators=(",", ":")).encode()).decode().rstrip("=")


def _decode_cursor(cursor: str) -> dict[str, Any]:
    """Decode the position in a cursor. Raises InvalidCursor."""
    try:
        position = json.loads(
            base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True) or b"{}"
        )
    except ValueError:
        position = None
    if not isinstance(position, dict) or not _is_position(position):
        raise _invalid_cursor()
    return position


def _invalid_cursor() -> InvalidCursor:
    return InvalidCursor(
        "invalid cursor: take it from the previous page of jobs, or omit it to start from the beginning"
    )


def _is_position(position: dict[str, Any]) -> bool:
    texts = (position.get("after", ""), position.get("recipe", ""))
    return position.keys() <= {"after", "recipe"} and all(isinstance(text, str) and len(text) < 2000 for text in texts)


def _text(position: dict[str, Any], name: str) -> str:
    return str(position.get(name, ""))


def cursor_before(moment: datetime) -> str:
    """Return the cursor of a page that begins with the newest entry before a moment."""
    return _encode_cursor({"after": position_at(moment)})
