"""Claims of the ledger: optimistic concurrency and fencing, in memory and on Azurite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from unittest.mock import ANY

import pytest
import pytest_asyncio
from azure.data.tables import TableEntity

from pipeline.errors import JobSuperseded, PoolFull, SourceChanged, SourceError, StorageNotFound
from pipeline.settings import Settings
from pipeline.storage.account import Account
from pipeline.storage.claim import Claim, ClaimOptions
from pipeline.storage.keys import JobKey
from pipeline.storage.ledger import Entry, Ledger, Version

SOURCE = ("input", "a b/ü#?.jpg")
KEY = JobKey.of("web", *SOURCE)
V1, V2 = Version("0x1", "hash"), Version("0x2", "hash")


@pytest_asyncio.fixture
async def ledger(account: Account, settings: Settings) -> AsyncIterator[Ledger]:
    ledger = Ledger(account, settings.ledger_table, claim_ttl=60)
    yield ledger
    await ledger.metrics.close()


async def yes() -> bool:
    return True


async def no() -> bool:
    return False


async def claimed(ledger: Ledger, version: Version = V1) -> Claim:
    claim = await ledger.claim(KEY, SOURCE, version, yes)
    assert isinstance(claim, Claim)
    return claim


async def refused(ledger: Ledger, version: Version = V1) -> Entry:
    entry = await ledger.claim(KEY, SOURCE, version, yes)
    assert isinstance(entry, Entry)
    return entry


async def test_one_of_many_concurrent_claims_succeeds(ledger: Ledger) -> None:
    claims = await asyncio.gather(*(ledger.claim(KEY, SOURCE, V1, yes) for _ in range(8)))
    assert sum(isinstance(claim, Claim) for claim in claims) == 1


async def test_a_done_job_is_claimed_only_with_again(ledger: Ledger) -> None:
    await (await claimed(ledger)).complete([{"name": "thumb"}], {"ms": {}})
    entry = await refused(ledger)
    assert (entry.state, entry.renditions, entry.attempts) == ("done", [{"name": "thumb"}], 1)
    again = await ledger.claim(KEY, SOURCE, V1, yes, ClaimOptions(again=True))
    assert isinstance(again, Claim)
    assert again.entry.generation == entry.generation + 1


async def test_a_failure_is_not_claimed_without_again(ledger: Ledger) -> None:
    await (await claimed(ledger)).fail(SourceError("cut short", kind="damaged_image"), "run")
    entry = await refused(ledger)
    assert (entry.state, entry.error_kind, entry.stage) == ("failed", "damaged_image", "run")


async def test_a_done_job_keeps_nothing_of_its_failure(ledger: Ledger) -> None:
    """Empty columns are not written, and a replaced row keeps no old column."""
    failed = await (await claimed(ledger)).fail(SourceError("bad", kind="damaged_image", stderr_tail="a tail"), "run")
    assert await ledger.get(KEY) == replace(failed, changed=ANY)
    again = await ledger.claim(KEY, SOURCE, V1, yes, ClaimOptions(again=True))
    assert isinstance(again, Claim)
    done = await again.complete([{"name": "thumb", "size": 2**33}], {"ms": {"run": 1.5}})
    entry = await ledger.get(KEY)
    assert entry == replace(done, changed=ANY)
    assert (entry.error_kind, entry.error_class, entry.error_message, entry.error_tail, entry.stage) == ("",) * 5


def test_missing_columns_may_be_null() -> None:
    """The service returns null for a selected column that the row does not have."""
    entry = Entry(KEY, *SOURCE, state="done", version=V1)
    row = TableEntity({**entry.to_row("web~00"), "run": None, "bytes_in": None, "ms": None, "error_kind": None})
    row._metadata = {"etag": "", "timestamp": None}
    assert Entry.from_row(row) == entry


async def test_an_expired_claim_is_taken_over_and_fenced(account: Account, settings: Settings) -> None:
    expired = Ledger(account, settings.ledger_table, claim_ttl=0)
    dead = await claimed(expired)
    successor = await claimed(expired)
    with pytest.raises(JobSuperseded):
        await dead.complete([], {})
    await successor.complete([], {})
    await expired.metrics.close()
    assert successor.entry.generation == dead.entry.generation + 1


async def test_a_newer_source_version_supersedes_a_running_job(ledger: Ledger) -> None:
    old = await claimed(ledger, V1)
    new = await claimed(ledger, V2)
    with pytest.raises(JobSuperseded):
        await old.complete([], {})
    await new.complete([], {})


async def test_an_older_source_version_never_supersedes_a_newer_one(ledger: Ledger) -> None:
    await (await claimed(ledger, V2)).complete([], {})
    with pytest.raises(SourceChanged):
        await ledger.claim(KEY, SOURCE, V1, no)
    assert (await refused(ledger, V2)).state == "done"


async def test_a_renewed_claim_lasts_longer(ledger: Ledger) -> None:
    claim = await claimed(ledger)
    before = claim.entry.expires
    await claim.renew()
    assert before < claim.entry.expires <= datetime.now(UTC) + timedelta(seconds=60)


async def test_a_requeued_job_can_be_claimed_by_any_worker(ledger: Ledger) -> None:
    await (await claimed(ledger)).requeue(PoolFull("no session"), "acquire", tried=False)
    successor = await claimed(ledger)
    assert successor.entry.attempts == 0


async def test_a_heartbeat_and_the_end_of_a_job_do_not_conflict(ledger: Ledger) -> None:
    claim = await claimed(ledger)
    _, entry = await asyncio.gather(claim.renew(), claim.complete([], {}))
    assert entry.state == "done"


async def test_a_repeated_write_recognizes_itself(ledger: Ledger) -> None:
    """The SDK repeats a request whose response was lost; the second one finds the row of the first."""
    claim = await claimed(ledger)
    stale = claim.entry
    await claim.complete([], {})
    claim.entry = stale
    assert (await claim.complete([], {})).state == "done"


async def test_a_heartbeat_with_a_lost_response_keeps_the_claim(ledger: Ledger) -> None:
    """The row has changed since it was read, by this claim."""
    claim = await claimed(ledger)
    stale = claim.entry
    await claim.renew()
    claim.entry = stale
    assert (await claim.complete([{"name": "thumb"}], {})).state == "done"
    assert (await refused(ledger)).renditions == [{"name": "thumb"}]


async def test_a_scan_reads_a_range_of_one_recipe(ledger: Ledger) -> None:
    for recipe in ("web", "print"):
        for name in ("a", "b", "c"):
            claim = await ledger.claim(JobKey.of(recipe, "input", name), ("input", name), V1, yes)
            assert isinstance(claim, Claim)
    keys = [JobKey.of("web", "input", name).row for name in ("a", "b")]
    assert [entry.key.row async for entry in ledger.scan("web", keys[0], keys[1])] == keys


async def test_a_missing_table_is_a_fault_of_the_service(account: Account) -> None:
    with pytest.raises(StorageNotFound, match="image-pipeline init"):
        await Ledger(account, "nowhere", claim_ttl=60).get(KEY)
