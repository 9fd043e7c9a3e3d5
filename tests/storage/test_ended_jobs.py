"""Ended jobs are read by page over all partitions and deleted in batches, in memory and on Azurite."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from pipeline.settings import Settings
from pipeline.storage import EndedJobs, Entry, JobKey, Ledger, Version, ended_jobs
from pipeline.storage.account import Account
from pipeline.storage.keys import group_of

ADHOC = "_adhoc-" + "a" * 32
VERSION = Version("0x1", "hash")
SHARDS = 2


@pytest_asyncio.fixture
async def ledger(account: Account, settings: Settings) -> AsyncIterator[Ledger]:
    ledger = Ledger(account, settings.ledger_table, claim_ttl=60, recipes=("web",))
    await ledger.shards.install(SHARDS)
    yield ledger
    await ledger.metrics.close()


async def add(ledger: Ledger, recipe: str, *names: str, state: str = "failed") -> None:
    for name in names:
        key = JobKey.of(recipe, "input", name)
        await ledger.enqueue(Entry(key, "input", name, state, VERSION, run="20261201-000000-abc"))  # type: ignore[arg-type]


async def ended(jobs: EndedJobs, before: datetime) -> list[Entry]:
    """Return the ended jobs of all shards of the recipe, by name."""
    pages = [await jobs.page(partition, before, {}) for partition in JobKey.partitions("web", SHARDS)]
    return sorted((entry for entries, _ in pages for entry in entries), key=lambda entry: entry.name)


async def test_all_partitions_are_read_page_by_page_and_deleted(
    account: Account, settings: Settings, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ended_jobs, "PAGE_ROWS", 20)
    await add(ledger, "web", *(f"photos/{number:02}.jpg" for number in range(45)))
    await add(ledger, "web", "waits.jpg", state="queued")
    await add(ledger, "former", "a.jpg")
    await add(ledger, ADHOC, "b.jpg")
    ledger.metrics.record(await ledger.get(JobKey.of("former", "input", "a.jpg")))  # type: ignore[arg-type]
    await ledger.metrics.flush()
    jobs = EndedJobs(account, settings.ledger_table, ledger)
    assert await jobs.exist(ADHOC)
    assert not await jobs.exist("_adhoc-" + "b" * 32)
    former, _ = await ledger.page()
    assert {"former", "web", ADHOC} == {entry.key.recipe for entry in former}
    pages, partition, position = [], await jobs.next_partition(""), {}
    while partition:
        entries, position = await jobs.page(partition, datetime.now(UTC) + timedelta(seconds=1), position)
        position = json.loads(json.dumps(position))
        pages.append((partition, len(entries)))
        assert await jobs.delete(entries) == len(entries)
        partition = partition if position else await jobs.next_partition(partition)
    counts = Counter[str]()
    for name, count in pages:
        counts[group_of(name)] += count
    assert counts == {"_adhoc": 1, "former": 1, "web": 45, "~unreadable": 0}
    assert {name for name, count in pages if count} >= {"web~00", "web~01"}
    rows = [row["RowKey"] async for row in account.table(settings.ledger_table).query_entities("", parameters={})]
    assert len([key for key in rows if key.startswith(("input", "~s", "~a", "~r"))]) == 2, "one queued job"


async def test_a_young_or_changed_row_stays(account: Account, settings: Settings, ledger: Ledger) -> None:
    jobs = EndedJobs(account, settings.ledger_table, ledger)
    await add(ledger, "web", "a.jpg", "b.jpg")
    assert await ended(jobs, datetime.now(UTC) - timedelta(seconds=60)) == []
    entries = await ended(jobs, datetime.now(UTC) + timedelta(seconds=1))
    assert await ledger.transition(entries[0], "dismissed")
    assert await jobs.delete(entries) == 1
    assert [entry.name for entry in (await ledger.page())[0]] == ["a.jpg"]


async def test_a_list_row_that_is_gone_does_not_keep_a_job(
    account: Account, settings: Settings, ledger: Ledger
) -> None:
    jobs = EndedJobs(account, settings.ledger_table, ledger)
    await add(ledger, "web", "a.jpg", "b.jpg")
    entries = await ended(jobs, datetime.now(UTC) + timedelta(seconds=1))
    partition = entries[1].key.partition(SHARDS)
    await account.table(settings.ledger_table).delete_entity(partition, entries[1].listed)
    assert await jobs.delete(entries) == 2
    assert (await ledger.page())[0] == []
