"""Rows by their keys: a page of a listing reads few other rows, whatever the names are."""

from __future__ import annotations

from itertools import chain
from typing import Any

import pytest

from pipeline.storage import row_reads
from pipeline.storage.keys import row_key
from tests.memory import Memory

PAGE = 32
# Each pattern makes names whose order in a listing differs from the order of their row keys, or might.
SEPARATORS = "-.+!&(,:;=@[]^_~ é"
PATTERNS = [
    *((f"x{separator}y/{{}}.jpg", "x/{}.jpg", f"x{separator}{{}}.jpg") for separator in SEPARATORS),
    ("x\U0001f600/{}.jpg", "x\ue000/{}.jpg", "x\uffee{}.jpg"),
    ("n" * 390 + "/{}" + "n" * 200, "n" * 390 + "-{}" + "n" * 200, "n" * 390 + "{}.jpg"),
    ("{}/a.jpg", "{}-b/c.jpg", "{}.d"),
]
FOLDER = 90


@pytest.mark.parametrize("pattern", PATTERNS, ids=range(len(PATTERNS)))
async def test_a_page_reads_at_most_three_times_its_rows(
    memory: Memory, pattern: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = sorted(chain.from_iterable((each.format(f"{n:04d}") for n in range(FOLDER)) for each in pattern))
    table = memory.services.account.table(memory.services.settings.ledger_table)
    keys = [row_key("input", name) for name in names]
    for start in range(0, len(keys), 100):
        rows = [("upsert", {"PartitionKey": "web", "RowKey": key}) for key in keys[start : start + 100]]
        await table.submit_transaction(rows)
    read, first_page = [0], row_reads._first_page

    async def counted(*args: Any) -> tuple[list[Any], bool]:
        page = await first_page(*args)
        read.append(len(page[0]))
        return page

    monkeypatch.setattr(row_reads, "_first_page", counted)
    for start in range(0, len(keys), PAGE):
        wanted = keys[start : start + PAGE]
        read.clear()
        found = [row["RowKey"] async for row in row_reads.read_rows(table, "web", wanted, ["RowKey"])]
        assert sorted(found) == sorted(wanted)
        assert sum(read) <= 3 * len(wanted), (names[start], read)


async def test_missing_rows_are_not_searched_for_one_by_one(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    table, requests = memory.services.account.table(memory.services.settings.ledger_table), []
    first_page = row_reads._first_page

    async def counted(*args: Any) -> tuple[list[Any], bool]:
        requests.append(args)
        return await first_page(*args)

    monkeypatch.setattr(row_reads, "_first_page", counted)
    assert [row async for row in row_reads.read_rows(table, "web", [str(n) for n in range(500)], None)] == []
    assert len(requests) == 1
