"""Rows move to other shards unchanged, in memory and on Azurite."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest_asyncio

from pipeline.errors import SourceError
from pipeline.settings import Settings
from pipeline.storage import ClaimOptions, JobKey, Ledger, ShardMoves, Version
from pipeline.storage.account import Account
from pipeline.storage.claim import Claim

VERSION = Version("0x1", "hash")
REPORT = {"source": {"size": 3_000_000_000, "format": "JPEG"}, "ms": {"execute": 40.5}, "versions": {"pillow": "12"}}


@pytest_asyncio.fixture
async def ledger(account: Account, settings: Settings) -> AsyncIterator[Ledger]:
    ledger = Ledger(account, settings.ledger_table, claim_ttl=60, recipes=("web",))
    await ledger.shards.install(2)
    yield ledger
    await ledger.metrics.close()


async def current() -> bool:
    return True


async def begun(ledger: Ledger, name: str, *, listed: bool = False) -> Claim:
    key = JobKey.of("web", "input", name)
    claim = await ledger.claim(key, ("input", name), VERSION, current, ClaimOptions(run="r1", listed=listed))
    assert isinstance(claim, Claim)
    return claim


async def rows(account: Account, settings: Settings) -> list[dict[str, Any]]:
    """Return the rows of jobs and lists."""
    query = account.table(settings.ledger_table).query_entities("PartitionKey lt @end", parameters={"end": "~"})
    return [dict(row) async for row in query]


def content(found: list[dict[str, Any]]) -> Counter[str]:
    """Return the rows without their partitions, with the types of their columns."""
    return Counter(
        repr(sorted((name, str(value)) for name, value in row.items() if name != "PartitionKey")) for row in found
    )


async def test_rows_move_with_all_columns(ledger: Ledger, account: Account, settings: Settings) -> None:
    for number in range(20):
        claim = await begun(ledger, f"{number}-ü.jpg")
        if number % 3:
            await claim.complete([{"name": "thumb", "path": "web/a", "etag": "0x9", "size": 2**33}], REPORT)
        else:
            await claim.fail(SourceError("bad", kind="damaged_image"), "execute", {"execute": 1.5})
    before = await rows(account, settings)
    moves = ShardMoves(account, settings.ledger_table)
    assert await moves.partitions() == ["web~00", "web~01"]
    moved = [await moves.move(partition, 5) for partition in await moves.partitions()]
    after = await rows(account, settings)
    assert content(after) == content(before)
    assert sum(each.moved for each in moved) > 0
    for row in after:
        key = JobKey.of_row(row["PartitionKey"], str(row.get("job") or row["RowKey"]))
        assert row["PartitionKey"] == key.partition(5), "a list row stays with the row of its job"
    assert sum([(await moves.move(partition, 5)).moved for partition in await moves.partitions()]) == 0


async def test_a_claimed_job_stays_with_its_list_row(ledger: Ledger, account: Account, settings: Settings) -> None:
    claim = await begun(ledger, "a.jpg", listed=True)
    (partition,) = {row["PartitionKey"] for row in await rows(account, settings)}
    shards = next(number for number in range(3, 9) if claim.entry.key.partition(number) != partition)
    found = await ShardMoves(account, settings.ledger_table).move(partition, shards)
    assert (found.moved, {row["PartitionKey"] for row in await rows(account, settings)}) == (0, {partition})
    assert found.claimed_until
    assert found.claimed_until <= datetime.now(UTC) + timedelta(seconds=60)
    await claim.complete([], {})
    assert (await ShardMoves(account, settings.ledger_table).move(partition, shards)).moved == 2
