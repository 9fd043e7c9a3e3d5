"""The ledger's claims, against a real table."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from unittest.mock import ANY

import pytest
import pytest_asyncio
from azure.data.tables import TableEntity

from pipeline.errors import ConfigError, JobSuperseded, PoolFull, SourceError
from pipeline.settings import Settings
from pipeline.storage.account import Account
from pipeline.storage.keys import JobKey
from pipeline.storage.ledger import Claim, Entry, Ledger, Version

SOURCE = ("input", "a b/ü#?.jpg")
KEY = JobKey.of("web", *SOURCE)
V1, V2 = Version("0x1", "hash"), Version("0x2", "hash")


@pytest_asyncio.fixture
async def ledger(account: Account, settings: Settings) -> AsyncIterator[Ledger]:
    ledger = Ledger(account, settings.ledger_table, claim_ttl=60)
    yield ledger
    await ledger.stats.close()


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


async def test_of_many_that_claim_a_job_at_once_exactly_one_gets_it(ledger: Ledger) -> None:
    claims = await asyncio.gather(*(ledger.claim(KEY, SOURCE, V1, yes) for _ in range(8)))
    assert sum(isinstance(claim, Claim) for claim in claims) == 1


async def test_a_job_that_is_done_is_not_done_again_unless_asked_to(ledger: Ledger) -> None:
    await (await claimed(ledger)).complete([{"name": "thumb"}], {"ms": {}})
    entry = await refused(ledger)
    assert (entry.state, entry.renditions, entry.attempts) == ("done", [{"name": "thumb"}], 1)
    again = await ledger.claim(KEY, SOURCE, V1, yes, again=True)
    assert isinstance(again, Claim)
    assert again.entry.generation == entry.generation + 1


async def test_a_failure_stays_until_it_is_asked_for_again(ledger: Ledger) -> None:
    await (await claimed(ledger)).fail(SourceError("cut short", kind="damaged_image"), "run")
    entry = await refused(ledger)
    assert (entry.state, entry.error_kind, entry.stage) == ("failed", "damaged_image", "run")


async def test_of_a_failure_nothing_is_left_once_the_job_is_done(ledger: Ledger) -> None:
    """Columns that have nothing to say are not written, so none that had may stay."""
    failed = await (await claimed(ledger)).fail(SourceError("bad", kind="damaged_image", stderr_tail="a tail"), "run")
    assert await ledger.get(KEY) == replace(failed, changed=ANY)
    again = await ledger.claim(KEY, SOURCE, V1, yes, again=True)
    assert isinstance(again, Claim)
    done = await again.complete([{"name": "thumb", "size": 2**33}], {"ms": {"run": 1.5}})
    entry = await ledger.get(KEY)
    assert entry == replace(done, changed=ANY)
    assert (entry.error_kind, entry.error_class, entry.error_message, entry.error_tail, entry.stage) == ("",) * 5


def test_columns_that_a_row_lacks_may_come_as_null() -> None:
    """So the service answers where single columns are asked for."""
    entry = Entry(KEY, *SOURCE, state="done", version=V1)
    row = TableEntity({**entry.to_row(), "run": None, "bytes_in": None, "ms": None, "error_kind": None})
    row._metadata = {"etag": "", "timestamp": None}
    assert Entry.from_row(row) == entry


async def test_a_claim_that_expired_is_taken_over_and_its_old_holder_cannot_finish(
    account: Account, settings: Settings
) -> None:
    impatient = Ledger(account, settings.ledger_table, claim_ttl=0)
    dead = await claimed(impatient)
    heir = await claimed(impatient)
    with pytest.raises(JobSuperseded):
        await dead.complete([], {})
    await heir.complete([], {})
    await impatient.stats.close()
    assert heir.entry.generation == dead.entry.generation + 1


async def test_a_newer_version_of_the_source_supersedes_a_running_job(ledger: Ledger) -> None:
    old = await claimed(ledger, V1)
    new = await claimed(ledger, V2)
    with pytest.raises(JobSuperseded):
        await old.complete([], {})
    await new.complete([], {})


async def test_an_older_version_of_the_source_never_supersedes_a_newer_one(ledger: Ledger) -> None:
    await (await claimed(ledger, V2)).complete([], {})
    with pytest.raises(JobSuperseded):
        await ledger.claim(KEY, SOURCE, V1, no)
    assert (await refused(ledger, V2)).state == "done"


async def test_a_renewed_claim_lasts_longer(ledger: Ledger) -> None:
    claim = await claimed(ledger)
    before = claim.entry.expires
    await claim.renew()
    assert before < claim.entry.expires <= datetime.now(UTC) + timedelta(seconds=60)


async def test_a_job_given_back_may_be_claimed_by_anybody(ledger: Ledger) -> None:
    await (await claimed(ledger)).requeue(PoolFull("no session"), "acquire", tried=False)
    heir = await claimed(ledger)
    assert heir.entry.attempts == 0


async def test_renewing_and_finishing_at_once_do_not_collide(ledger: Ledger) -> None:
    claim = await claimed(ledger)
    _, entry = await asyncio.gather(claim.renew(), claim.complete([], {}))
    assert entry.state == "done"


async def test_a_write_that_was_sent_twice_recognises_itself(ledger: Ledger) -> None:
    """The SDK repeats a request whose answer got lost; the second then finds the first one's row."""
    claim = await claimed(ledger)
    stale = claim.entry
    await claim.complete([], {})
    claim.entry = stale
    assert (await claim.complete([], {})).state == "done"


async def test_a_renewal_whose_answer_got_lost_does_not_cost_the_job(ledger: Ledger) -> None:
    """The row has changed since it was read, but it was this claim that changed it."""
    claim = await claimed(ledger)
    stale = claim.entry
    await claim.renew()
    claim.entry = stale
    assert (await claim.complete([{"name": "thumb"}], {})).state == "done"
    assert (await refused(ledger)).renditions == [{"name": "thumb"}]


async def test_a_range_read_finds_the_rows_of_one_recipe(ledger: Ledger) -> None:
    for recipe in ("web", "print"):
        for name in ("a", "b", "c"):
            claim = await ledger.claim(JobKey.of(recipe, "input", name), ("input", name), V1, yes)
            assert isinstance(claim, Claim)
    keys = [JobKey.of("web", "input", name).row for name in ("a", "b")]
    assert [entry.name async for entry in ledger.scan("web", keys[0], keys[1])] == ["a", "b"]


async def test_a_missing_table_is_named_with_what_to_do(account: Account) -> None:
    with pytest.raises(ConfigError, match="image-pipeline init"):
        await Ledger(account, "nowhere", claim_ttl=60).get(KEY)
