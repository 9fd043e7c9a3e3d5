"""Shards of the ledger: rows are spread evenly, and lists over all shards read a bounded number of rows."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest
import pytest_asyncio

from pipeline.errors import StorageUnavailable
from pipeline.settings import Settings
from pipeline.storage import DEFAULT_SHARDS, Entry, JobKey, Ledger, ShardNumber, Shards, State, Version, create_all
from pipeline.storage.list_row import list_row
from pipeline.testing import MemoryAccount, memory_settings
from pipeline.testing.store import Store

SETTINGS = memory_settings()
JOBS, ADHOC = 1200, "_adhoc-" + "a" * 32
START = datetime(2026, 11, 1, tzinfo=UTC)
RUN = f"{START + timedelta(minutes=10):%Y%m%d-%H%M%S}-abc123"


def job(number: int) -> Entry:
    """Return a job that ended a second after the one before; one of ten has failed, and one of four is of a run."""
    name, state = f"photos/{number:05}.jpg", "done" if number % 10 else "failed"
    moment = START + timedelta(seconds=number)
    key, run = JobKey.of("web", "input", name), RUN if number >= 600 and number % 4 == 0 else ""
    entry = Entry(key, "input", name, state, Version("1", "h"), since=moment, run=run)  # type: ignore[arg-type]
    return replace(entry, listed=entry.list_key)


@cache
def filled() -> Store:
    """Return an account's state whose ledger has many jobs."""
    account = MemoryAccount()
    asyncio.run(create_all(account, SETTINGS))
    asyncio.run(ShardNumber(account.table(SETTINGS.ledger_table)).install())
    store = account.store
    for number in range(JOBS):
        entry = job(number)
        partition = entry.key.partition(DEFAULT_SHARDS)
        for row in (entry.to_row(partition), list_row(entry, partition)):
            store, _ = store.put_row((SETTINGS.ledger_table, partition, row["RowKey"]), tuple(row.items()))
    return store


@pytest.fixture
def settings() -> Settings:
    """Settings of the account."""
    return SETTINGS


@pytest.fixture
def account() -> MemoryAccount:
    """An account whose ledger has many jobs."""
    account = MemoryAccount()
    account.store = filled()
    return account


@pytest_asyncio.fixture
async def ledger(account: MemoryAccount, settings: Settings) -> AsyncIterator[Ledger]:
    ledger = Ledger(account, settings.ledger_table, claim_ttl=60, recipes=("web",))
    yield ledger
    await ledger.metrics.close()


def queries(account: MemoryAccount) -> list[Any]:
    """Return the range reads so far, and forget them."""
    found = [op for op in account.operations if op[0] == "row.query"]
    account.operations.clear()
    return found


def test_the_jobs_of_a_recipe_are_spread_evenly() -> None:
    for recipe in ("web", ADHOC):
        keys = (JobKey.of(recipe, "input", f"photos/{number:06}.jpg") for number in range(32_000))
        counts = Counter(key.partition(DEFAULT_SHARDS) for key in keys)
        assert set(counts) == set(JobKey.partitions(recipe.partition("-")[0], DEFAULT_SHARDS))
        assert max(counts.values()) < 1.1 * 2000


def test_an_id_does_not_depend_on_the_number_of_shards() -> None:
    key = JobKey.of("web", "input", "a.jpg")
    assert JobKey.parse(key.id) == key
    for shards in (1, 16, 64):
        assert JobKey.of_row(key.partition(shards), key.row) == key
    unreadable = JobKey("~unreadable", "a")
    assert unreadable.partition(16) == "~unreadable"


@pytest.mark.parametrize("state", [None, "failed"])
async def test_a_list_by_time_is_merged_from_all_shards(
    ledger: Ledger, account: MemoryAccount, state: State | None
) -> None:
    expected = [job(number).name for number in reversed(range(JOBS)) if state in (None, job(number).state)]
    found, cursor = list[str](), ""
    while True:
        page, cursor = await ledger.page(state=state, limit=500, cursor=cursor)
        found += [entry.name for entry in page]
        assert len(cursor) < 100, "one position, however many shards there are"
        if not cursor:
            break
    assert found == expected


async def test_a_list_by_name_is_merged_from_all_shards(ledger: Ledger, account: MemoryAccount) -> None:
    found, cursor = list[str](), ""
    while True:
        page, cursor = await ledger.page(container="input", prefix="photos/00", limit=64, cursor=cursor)
        found += [entry.name for entry in page]
        if not cursor:
            break
        asked = [op for op in queries(account) if ("PartitionKey", "eq", "~unreadable") not in op[2]]
        assert sum(op[3] for op in asked) <= DEFAULT_SHARDS * (10 + 2 * 64 // DEFAULT_SHARDS) * 2
    assert found == [job(number).name for number in range(1000)]


async def test_the_failures_of_a_run_are_read_since_its_start_only(ledger: Ledger, account: MemoryAccount) -> None:
    """However many jobs are older, and however many jobs of the run are done: no other list is read."""
    await ledger.page(state="failed", limit=1)
    queries(account)
    found, cursor = list[str](), ""
    while True:
        page, cursor = await ledger.page(run=RUN, state="failed", limit=20, cursor=cursor)
        found += [entry.name for entry in page]
        if not cursor:
            break
    assert found == [job(number).name for number in range(1180, 599, -20)]
    for op in queries(account):
        bounds = {comparison: value for column, comparison, value in op[2] if column == "RowKey"}
        assert bounds["gt"].startswith("~s~failed~")
        last = job(int((START + timedelta(minutes=9) - START).total_seconds())).list_key
        assert bounds["lt"] <= f"~s~failed~{last.rpartition('~')[2]}"


async def test_failures_are_grouped_over_all_shards(ledger: Ledger) -> None:
    (group,) = await ledger.failures_grouped(recipe="web")
    assert group.count == JOBS // 10
    (newest,) = await ledger.failures_grouped(recipe="web", limit=32)
    assert newest.count <= 32


async def test_a_scan_reads_only_its_range_of_each_shard(ledger: Ledger, account: MemoryAccount) -> None:
    keys = [job(number).key.row for number in range(100, 400)]
    assert [entry.key.row async for entry in ledger.scan("web", keys[0], keys[-1])] == keys
    assert len(queries(account)) == DEFAULT_SHARDS


async def test_the_number_is_fixed_at_installation(account: MemoryAccount, settings: Settings) -> None:
    number = ShardNumber(account.table(settings.ledger_table))
    assert await number.install(3) == Shards(DEFAULT_SHARDS), "an existing ledger keeps its number"
    assert len({op[0] for op in account.operations if op[0].startswith("row.create")}) == 1
    account.operations.clear()
    for _ in range(5):
        await number.current()
    assert account.operations == [], "the number is cached"


@pytest.mark.parametrize("value", [0, 65, "16", None])
async def test_an_edited_number_stops_every_job(account: MemoryAccount, settings: Settings, value: Any) -> None:
    key = (settings.ledger_table, "~shards", "number")
    row = {"PartitionKey": "~shards", "RowKey": "number", **({} if value is None else {"shards": value})}
    account.store, _ = account.store.put_row(key, tuple(row.items()))
    with pytest.raises(StorageUnavailable, match="correct it to the number of shards, from 1 to 64"):
        await Ledger(account, settings.ledger_table, claim_ttl=60).get(JobKey.of("web", "input", "a"))
