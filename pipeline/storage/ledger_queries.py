"""Reading the ledger in pages: every page is a few range reads, however many rows there are."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from azure.data.tables.aio import TableClient

from pipeline.errors import InvalidCursor
from pipeline.storage.account import map_errors
from pipeline.storage.entry import (
    ALL_LIST_PREFIX,
    LIST_MARK,
    Entry,
    State,
    list_position,
    older_position,
    position_at,
    run_list_prefix,
    state_list_prefix,
)
from pipeline.storage.keys import key_range

# Storage refuses to give more at once.
MAX_PAGE_ROWS = 1000
RECENT_SECONDS = 3600.0
# A page by name that looks for one state gives up after this many requests; its token goes on from there.
MAX_REQUESTS = 5
_RANGE = "PartitionKey eq @recipe and RowKey gt @after and RowKey lt @end"
_FAILURE = ["PartitionKey", "RowKey", "job", "name", "error_kind", "error_class", "stage", "since"]


@dataclass(frozen=True)
class FailureGroup:
    """Failures of one kind: how many, at which stages, when the newest was, and the name of its source."""

    kind: str
    error_class: str
    count: int
    stages: dict[str, int]
    newest: datetime
    example: str


class LedgerQueries:
    """The lists of a table. `recipes` are those that are read where none is named."""

    def __init__(self, table: TableClient, recipes: Sequence[str]) -> None:
        self._table, self._recipes = table, tuple(recipes)

    async def page(
        self, recipe: str | None, state: State | None, name: tuple[str, str], run: str, limit: int, cursor: str
    ) -> tuple[list[Entry], str]:
        """A page of entries and the token of the next; `name` is a container, and a prefix of names in it."""
        recipes = [recipe] if recipe else list(self._recipes)
        limit = max(1, min(limit, MAX_PAGE_ROWS))
        if name[0]:
            return await self._by_name(recipes, state, name, run, limit, _read(cursor))
        return await self._newest(recipes, state, run, limit, _read(cursor))

    async def _newest(
        self, recipes: list[str], state: State | None, run: str, limit: int, at: dict[str, Any]
    ) -> tuple[list[Entry], str]:
        """The lists that are asked for, merged: each is read from where the page before ended."""
        start = run_list_prefix(run) if run else state_list_prefix(state) if state else ALL_LIST_PREFIX
        lists = [self._list(recipe, start, _text(at, "after"), limit, state) for recipe in recipes]
        found = [row for rows in await asyncio.gather(*lists) for row in rows]
        found.sort(key=lambda row: list_position(row["RowKey"]))
        page = [Entry.from_row(row) for row in found[:limit]]
        return page, _written({"after": list_position(found[limit - 1]["RowKey"])}) if len(found) > limit else ""

    async def _list(self, recipe: str, start: str, after: str, limit: int, state: State | None) -> list[Any]:
        """Up to `limit` + 1 rows of one list: first of an hour, and of all the rest only when those are too few.

        Nobody knows how much lies behind a place, and storage may look at all of it (the emulator sorts it).
        """
        near = (
            older_position(after or position_at(datetime.now(UTC)), RECENT_SECONDS)
            if after[:13].isdecimal() or not after
            else ""
        )
        rows = await self._stretch(recipe, start, (after, near), limit + 1, state) if near else []
        if len(rows) <= limit:
            rows += await self._stretch(recipe, start, (near or after, LIST_MARK), limit + 1 - len(rows), state)
        return rows

    async def _stretch(
        self, recipe: str, start: str, between: tuple[str, str], most: int, state: State | None
    ) -> list[Any]:
        """Up to `most` rows of a list between two places. A run's list is of all states, so that it is sieved."""
        query, values = _RANGE, {"recipe": recipe, "after": start + between[0], "end": start + between[1]}
        if state and start != state_list_prefix(state):
            query, values = f"{query} and state eq @state", {**values, "state": state}
        rows: list[Any] = []
        with map_errors("reading the ledger"):
            async for row in self._table.query_entities(
                query, parameters=values, results_per_page=min(most, MAX_PAGE_ROWS)
            ):
                rows.append(row)
                if len(rows) >= most:
                    break
        return rows

    async def _by_name(
        self, recipes: list[str], state: State | None, name: tuple[str, str], run: str, limit: int, at: dict[str, Any]
    ) -> tuple[list[Entry], str]:
        """Recipe by recipe, in the order of the row keys."""
        first, end = key_range(*name)
        sieve = {column: wanted for column, wanted in (("state", state), ("run", run)) if wanted}
        within = "PartitionKey eq @recipe and RowKey ge @first and RowKey lt @end"
        query = " and ".join([within, *(f"{column} eq @{column}" for column in sieve)])
        place = at or {"recipe": recipes[0] if recipes else ""}
        entries: list[Entry] = []
        for _ in range(MAX_REQUESTS):
            values = {"recipe": _text(place, "recipe"), "first": first, "end": end, **sieve}
            found, more = await self._look(query, values, limit - len(entries), place.get("next"))
            entries += [entry for entry in found if entry.name.startswith(name[1])]
            place = _following(recipes, values["recipe"], more)
            if not place or len(entries) >= limit:
                break
        return entries, _written(place) if place else ""

    async def _look(
        self,
        query: str,
        values: dict[str, Any],
        limit: int,
        start: Any,  # noqa: ANN401 - the SDK's own token
    ) -> tuple[list[Entry], Any]:
        """One request: what it found, and where storage would go on."""
        pages = self._table.query_entities(query, parameters=values, results_per_page=limit).by_page(start)
        with map_errors("reading the ledger"):
            rows = [Entry.from_row(row) async for row in await anext(pages)]
        return rows, getattr(pages, "continuation_token", None)

    async def failures(self, recipe: str | None, limit: int) -> list[FailureGroup]:
        """The newest `most` failures of each recipe by their kind, the most frequent first."""
        recipes = [recipe] if recipe else list(self._recipes)
        found = await asyncio.gather(*(self._failures(each, limit) for each in recipes))
        groups: dict[str, list[Any]] = {}
        for row in (row for rows in found for row in rows):
            groups.setdefault(row["error_kind"], []).append(row)
        return sorted((_group(kind, rows) for kind, rows in groups.items()), key=lambda group: -group.count)

    async def _failures(self, recipe: str, most: int) -> list[Any]:
        start = state_list_prefix("failed")
        values = {"recipe": recipe, "after": start, "end": start + LIST_MARK}
        with map_errors("reading the ledger"):
            rows: list[Any] = []
            pages = min(most, MAX_PAGE_ROWS)
            async for row in self._table.query_entities(
                _RANGE, parameters=values, select=_FAILURE, results_per_page=pages
            ):
                rows.append(row)
                if len(rows) >= most:
                    break
        return rows


def _group(kind: str, rows: list[Any]) -> FailureGroup:
    newest = max(rows, key=lambda row: row["since"])
    stages = dict(Counter(row.get("stage") or "" for row in rows).most_common())
    return FailureGroup(kind, newest["error_class"], len(rows), stages, newest["since"], newest["name"])


def _following(recipes: list[str], recipe: str, more: dict[str, str] | None) -> dict[str, Any]:
    """Where the next request goes on; nothing at the end."""
    if more:
        return {"recipe": recipe, "next": more}
    rest = recipes[recipes.index(recipe) + 1 :] if recipe in recipes else []
    return {"recipe": rest[0]} if rest else {}


def _written(place: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(place, separators=(",", ":")).encode()).decode().rstrip("=")


def _read(token: str) -> dict[str, Any]:
    """The place that a token names; RecipeError when it names none."""
    try:
        place = json.loads(base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True) or b"{}")
    except ValueError:
        place = None
    if not isinstance(place, dict) or not _is_place(place):
        raise InvalidCursor(
            "this is not a token that a page of jobs came with: leave it out to start from the beginning"
        )
    return place


def _is_place(place: dict[str, Any]) -> bool:
    following = place.get("next", {})
    texts = [place.get("after", ""), place.get("recipe", "")]
    texts += list(following.values()) if isinstance(following, dict) else [None]
    return all(isinstance(text, str) and len(text) < 2000 for text in texts)


def _text(place: dict[str, Any], name: str) -> str:
    return str(place.get(name, ""))


def cursor_before(moment: datetime) -> str:
    """The token of a page, newest first, that starts with what was there before a moment."""
    return _written({"after": position_at(moment)})
