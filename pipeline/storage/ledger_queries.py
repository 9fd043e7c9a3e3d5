"""Cursor pagination over the ledger: each page takes a few range reads, however many rows there are."""

import asyncio
import base64
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf
from typing import Any, Self

from azure.data.tables.aio import TableClient

from pipeline.errors import InvalidCursor
from pipeline.storage.account import IgnoreMissing, map_errors
from pipeline.storage.entry import (
    ALL_LIST_PREFIX,
    LIST_MARK,
    LONG_AGO,
    UNREADABLE_ROW_KIND,
    Entry,
    State,
    list_position,
    older_position,
    position_at,
    run_list_prefix,
    state_list_prefix,
)
from pipeline.storage.keys import key_range
from pipeline.storage.row_columns import Columns, InvalidColumn

# Storage returns at most this many rows per request.
MAX_PAGE_ROWS = 1000
RECENT_SECONDS = 3600.0
# A page by name ends after this many requests, even if it is not full; its cursor continues from there.
MAX_REQUESTS = 5
# Former recipes are searched for at this interval; the search takes one request per recipe.
FORMER_RECIPES_SECONDS = 600.0
_RANGE = "PartitionKey eq @recipe and RowKey gt @after and RowKey lt @end"
_FAILURE = ["PartitionKey", "RowKey", "job", "name", "error_kind", "error_class", "stage", "since"]


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
    """Return the first partition of jobs behind `after`; empty if there is none. This takes one request.

    The partitions of jobs are the names of recipes, present and former, and the group of the ad-hoc recipes.
    """
    query, values = "PartitionKey gt @after and PartitionKey lt @end", {"after": after, "end": LIST_MARK}
    with map_errors("reading the ledger"):
        rows = table.query_entities(query, parameters=values, select=["PartitionKey"], results_per_page=1)
        async for row in rows:
            return str(row["PartitionKey"])
    return ""


async def _partitions(table: TableClient) -> AsyncIterator[str]:
    partition = await next_partition(table, "")
    while partition:
        yield partition
        partition = await next_partition(table, partition)


class LedgerQueries:
    """Queries over the lists of a table.

    A query that names no recipe reads all recipes: the active `recipes`, and those that only the table knows.
    """

    def __init__(self, table: TableClient, recipes: Sequence[str]) -> None:
        self._table, self._active = table, tuple(recipes)
        self._former: tuple[float, tuple[str, ...]] = (-inf, ())
        self._lock = asyncio.Lock()

    async def _recipes(self) -> list[str]:
        """Return the names of all recipes; those that only the table knows come from a cache."""
        async with self._lock:
            if time.monotonic() - self._former[0] > FORMER_RECIPES_SECONDS:
                found = [name async for name in _partitions(self._table) if name not in self._active]
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
        return await self._newest(recipes, state, run, limit, _decode_cursor(cursor))

    async def _newest(
        self, recipes: list[str], state: State | None, run: str, limit: int, position: dict[str, Any]
    ) -> tuple[list[Entry], str]:
        """Merge the lists of the recipes, newest first, each from the position of the cursor on."""
        start = run_list_prefix(run) if run else state_list_prefix(state) if state else ALL_LIST_PREFIX
        lists = [self._list(recipe, start, _text(position, "after"), limit, state) for recipe in recipes]
        rows = [row for listed in await asyncio.gather(*lists) for row in listed]
        rows.sort(key=lambda row: list_position(row["RowKey"]))
        page = await asyncio.gather(*(self._with_claim(Entry.from_row(row)) for row in rows[:limit]))
        following = {"after": list_position(rows[limit - 1]["RowKey"])} if len(rows) > limit else None
        return list(page), _encode_cursor(following) if following else ""

    async def _with_claim(self, entry: Entry) -> Entry:
        """Return the job's own row if the list row tells of an expired claim: heartbeats change the own row only."""
        if not entry.claim_expired:
            return entry
        with map_errors("reading the ledger"), IgnoreMissing():
            return Entry.from_row(await self._table.get_entity(entry.key.partition, entry.key.row))
        return entry

    async def _list(self, recipe: str, start: str, after: str, limit: int, state: State | None) -> list[Any]:
        """Return up to `limit` + 1 rows of a list: first those of one hour, then older ones if these are too few.

        Storage may scan, and the emulator sorts, everything behind a position, so the first range is kept small.
        """
        hour_end = (
            older_position(after or position_at(datetime.now(UTC)), RECENT_SECONDS)
            if after[:13].isdecimal() or not after
            else ""
        )
        rows = await self._range(recipe, start, (after, hour_end), limit + 1, state) if hour_end else []
        if len(rows) <= limit:
            rows += await self._range(recipe, start, (hour_end or after, LIST_MARK), limit + 1 - len(rows), state)
        return rows

    async def _range(
        self, recipe: str, start: str, bounds: tuple[str, str], limit: int, state: State | None
    ) -> list[Any]:
        """Return up to `limit` rows of a list between two positions; filter the list of a run by state."""
        query, values = _RANGE, {"recipe": recipe, "after": start + bounds[0], "end": start + bounds[1]}
        if state and start != state_list_prefix(state):
            query, values = f"{query} and state eq @state", {**values, "state": state}
        rows: list[Any] = []
        with map_errors("reading the ledger"):
            async for row in self._table.query_entities(
                query, parameters=values, results_per_page=min(limit, MAX_PAGE_ROWS)
            ):
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
        """Return entries recipe by recipe, in the order of their row keys."""
        first, end = key_range(*name)
        filters = {column: value for column, value in (("state", state), ("run", run)) if value}
        within = "PartitionKey eq @recipe and RowKey ge @first and RowKey lt @end"
        query = " and ".join([within, *(f"{column} eq @{column}" for column in filters)])
        position = cursor or {"recipe": recipes[0] if recipes else ""}
        entries: list[Entry] = []
        for _ in range(MAX_REQUESTS):
            values = {"recipe": _text(position, "recipe"), "first": first, "end": end, **filters}
            found, token = await self._request(query, values, limit - len(entries), position.get("next"))
            entries += [entry for entry in found if entry.name.startswith(name[1])]
            position = _following(recipes, values["recipe"], token)
            if not position or len(entries) >= limit:
                break
        return entries, _encode_cursor(position) if position else ""

    async def _request(
        self,
        query: str,
        values: dict[str, Any],
        limit: int,
        token: Any,  # noqa: ANN401 - the SDK's continuation token
    ) -> tuple[list[Entry], Any]:
        """Send one request; return its entries and the continuation token of storage."""
        pages = self._table.query_entities(query, parameters=values, results_per_page=limit).by_page(token)
        with map_errors("reading the ledger"):
            rows = [Entry.from_row(row) async for row in await anext(pages)]
        return rows, getattr(pages, "continuation_token", None)

    async def failures(self, recipe: str | None, limit: int) -> list[FailureGroup]:
        """Group the newest `limit` failures of each recipe by error kind, most frequent first."""
        recipes = [recipe] if recipe else await self._recipes()
        lists = await asyncio.gather(*(self._failures(each, limit) for each in recipes))
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
                columns.text("name"),
            )
        except InvalidColumn:
            return cls(UNREADABLE_ROW_KIND, InvalidColumn.__name__, "ledger", LONG_AGO, "")


def _group(kind: str, failures: list[_Failure]) -> FailureGroup:
    newest = max(failures, key=lambda failure: failure.since)
    stages = dict(Counter(failure.stage for failure in failures).most_common())
    return FailureGroup(kind, newest.error_class, len(failures), stages, newest.since, newest.name)


def _following(recipes: list[str], recipe: str, token: dict[str, str] | None) -> dict[str, Any]:
    """Return the position of the next request; empty at the end."""
    if token:
        return {"recipe": recipe, "next": token}
    rest = recipes[recipes.index(recipe) + 1 :] if recipe in recipes else []
    return {"recipe": rest[0]} if rest else {}


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
        raise InvalidCursor(
            "invalid cursor: take it from the previous page of jobs, or omit it to start from the beginning"
        )
    return position


def _is_position(position: dict[str, Any]) -> bool:
    token = position.get("next", {})
    texts = [position.get("after", ""), position.get("recipe", "")]
    texts += list(token.values()) if isinstance(token, dict) else [None]
    return all(isinstance(text, str) and len(text) < 2000 for text in texts)


def _text(position: dict[str, Any], name: str) -> str:
    return str(position.get(name, ""))


def cursor_before(moment: datetime) -> str:
    """Return the cursor of a page that begins with the newest entry before a moment."""
    return _encode_cursor({"after": position_at(moment)})
