"""Pagination of jobs: in order, each job once, in memory and on Azurite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from pipeline.errors import InvalidCursor, SourceError
from pipeline.settings import Settings
from pipeline.storage.account import Account
from pipeline.storage.claim import Claim, ClaimOptions
from pipeline.storage.entry import Entry, State, Summary
from pipeline.storage.keys import JobKey, key_range, row_key
from pipeline.storage.ledger import Ledger, Version

V1 = Version("0x1", "hash")
SHARDS = 3
REPORT = {"source": {"size": 1000}, "ms": {"run": 40.0, "upload": 2.0}, "versions": {"pillow": "12"}}


@pytest_asyncio.fixture
async def ledger(account: Account, settings: Settings) -> AsyncIterator[Ledger]:
    ledger = Ledger(account, settings.ledger_table, claim_ttl=60, recipes=("web", "print"))
    await ledger.shards.install(SHARDS)
    yield ledger
    await ledger.metrics.close()


async def yes() -> bool:
    return True


async def begun(ledger: Ledger, name: str, recipe: str = "web", **options: Any) -> Claim:
    key = JobKey.of(recipe, "input", name)
    claim = await ledger.claim(key, ("input", name), V1, yes, ClaimOptions(**options))
    assert isinstance(claim, Claim)
    return claim


async def done(ledger: Ledger, name: str, recipe: str = "web", **options: Any) -> Entry:
    return await (await begun(ledger, name, recipe, **options)).complete([{"name": "thumb", "size": 10}], REPORT)


async def failed(ledger: Ledger, name: str, kind: str = "not_an_image", **options: Any) -> Entry:
    return await (await begun(ledger, name, **options)).fail(
        SourceError("no image", kind=kind, stderr_tail="oh"), "run"
    )


async def every_page(ledger: Ledger, limit: int, **filters: Any) -> list[list[str]]:
    pages, cursor = [], ""
    while True:
        entries, cursor = await ledger.page(limit=limit, cursor=cursor, **filters)
        pages.append([f"{entry.key.recipe}/{entry.name}" for entry in entries])
        if not cursor:
            return pages


async def in_pages(ledger: Ledger, limit: int, **filters: Any) -> list[str]:
    return [name for page in await every_page(ledger, limit, **filters) for name in page]


async def names(ledger: Ledger, **filters: Any) -> list[str]:
    return [entry.name for entry in (await ledger.page(**filters))[0]]


async def test_a_state_is_listed_newest_first_over_all_recipes(ledger: Ledger) -> None:
    order = [("a", "web"), ("b", "print"), ("c", "web"), ("d", "print"), ("e", "web")]
    for name, recipe in order:
        await done(ledger, name, recipe)
        await asyncio.sleep(0.002)  # lists sort by milliseconds
    newest_first = [f"{recipe}/{name}" for name, recipe in reversed(order)]
    pages = await every_page(ledger, 2, state="done")
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [name for page in pages for name in page] == newest_first
    assert await in_pages(ledger, 3) == newest_first
    assert await every_page(ledger, 5, recipe="print") == [["print/d", "print/b"]]


async def test_a_job_leaves_the_list_of_its_former_state(ledger: Ledger) -> None:
    await failed(ledger, "a")
    entry = await done(ledger, "a", again=True)
    assert await names(ledger, state="failed") == []
    (listed,) = (await ledger.page(state="done"))[0]
    assert (listed.key, listed.container, listed.name) == (entry.key, "input", "a")
    assert (listed.bytes_in, listed.bytes_out) == (1000, 10)
    assert listed.summary == Summary(2, 1, "", "thumb")
    assert (listed.report, listed.renditions) == ({}, []), "only the job's own row has them"


async def test_sizes_of_renditions_exceed_32_bits(ledger: Ledger) -> None:
    claim = await begun(ledger, "a")
    entry = await claim.complete([{"name": name, "size": 1_000_000_000} for name in "abcdef"], REPORT)
    (listed,) = (await ledger.page(state="done"))[0]
    stored = await ledger.get(entry.key)
    assert stored is not None
    assert (stored.bytes_out, listed.bytes_out) == (6_000_000_000, 6_000_000_000)


async def test_queued_and_long_running_jobs_are_listed(ledger: Ledger) -> None:
    for name in ("a", "b"):
        await ledger.enqueue(Entry(JobKey.of("web", "input", name), "input", name, state="queued", version=V1))
    claim = await begun(ledger, "a")
    assert (await names(ledger, state="queued"), await names(ledger, state="running")) == (["b"], ["a"])
    fresh = await begun(ledger, "c")
    await fresh.renew()
    assert set(await names(ledger, state="running")) == {"a", "c"}
    await claim.complete([], {})
    assert await names(ledger, state="running") == ["c"]


async def test_jobs_are_listed_by_run_and_by_prefix(ledger: Ledger) -> None:
    await done(ledger, "x/1", run="r1")
    await failed(ledger, "x/2", run="r1")
    await done(ledger, "x/3", run="r2")
    await done(ledger, "y/1", "print")
    assert set(await names(ledger, run="r1")) == {"x/1", "x/2"}
    assert await names(ledger, run="r1", state="failed") == ["x/2"]
    assert await in_pages(ledger, 2, container="input", prefix="x/") == ["web/x/1", "web/x/2", "web/x/3"]
    assert await in_pages(ledger, 1, container="input", state="done") == [
        "web/x/1",
        "web/x/3",
        "print/y/1",
    ]
    assert await names(ledger, container="input", prefix="X") == []


async def test_the_jobs_of_a_removed_recipe_are_listed(ledger: Ledger, account: Account, settings: Settings) -> None:
    await done(ledger, "a", "web")
    await failed(ledger, "b", recipe="print")
    current = Ledger(account, settings.ledger_table, claim_ttl=60, recipes=("web",))
    assert set(await in_pages(current, 1)) == {"web/a", "print/b"}
    assert await in_pages(current, 5, state="failed") == ["print/b"]
    assert set(await in_pages(current, 1, container="input")) == {"web/a", "print/b"}
    assert [group.count for group in await current.failures_grouped()] == [1]
    await current.metrics.close()


async def test_a_job_moves_to_the_list_of_a_later_run(ledger: Ledger) -> None:
    await done(ledger, "a", run="r1")
    await done(ledger, "a", run="r2", again=True)
    assert (await names(ledger, run="r1"), await names(ledger, run="r2")) == ([], ["a"])


async def test_a_known_row_is_claimed_without_reading_it(ledger: Ledger) -> None:
    before = await failed(ledger, "a")
    hint = replace(before, version=Version("", ""))
    claim = await begun(ledger, "a", run="r1", known=hint)
    assert claim.entry.generation == before.generation + 1
    await claim.complete([], {})
    assert (await names(ledger, state="failed"), await names(ledger, state="done")) == ([], ["a"])
    late = await ledger.claim(before.key, ("input", "a"), V1, yes, ClaimOptions(known=hint))
    assert isinstance(late, Entry), "a row changed since is decided again"


async def test_failures_are_grouped_by_kind(ledger: Ledger) -> None:
    for number in range(3):
        await failed(ledger, f"{number}")
    await failed(ledger, "big", "too_many_bytes")
    groups = await ledger.failures_grouped()
    assert [(group.kind, group.count, group.error_class) for group in groups] == [
        ("not_an_image", 3, "SourceError"),
        ("too_many_bytes", 1, "SourceError"),
    ]
    assert (groups[1].example, groups[1].stages) == ("big", {"run": 1})
    (entry,) = [one for one in (await ledger.page(state="failed"))[0] if one.name == "big"]
    assert (entry.error_class, entry.error_tail) == ("SourceError", "oh")


@pytest.mark.parametrize(
    "cursor", ["x", "bm9uc2Vuc2U", "WzFd", "eyJhZnRlciI6MX0", "eyJhZnRlciI6IngifQ", "eyJuZXh0IjoxfQ"]
)
async def test_an_invalid_cursor_is_refused(ledger: Ledger, cursor: str) -> None:
    with pytest.raises(InvalidCursor):
        await ledger.page(cursor=cursor)


async def test_a_missing_list_row_leaves_the_job_in_its_lists_once(
    ledger: Ledger, account: Account, settings: Settings
) -> None:
    before = await failed(ledger, "a")
    await account.table(settings.ledger_table).delete_entity(before.key.partition(SHARDS), before.listed)
    while datetime.now(UTC) - before.since < timedelta(milliseconds=2):
        pass  # a list row of the same millisecond has the same key
    await done(ledger, "a", again=True)
    assert await names(ledger) == await names(ledger, state="done") == ["a"]
    assert await names(ledger, state="failed") == []


@pytest.mark.parametrize("state", ["done", "failed"])
async def test_a_transition_of_a_changed_row_is_refused(ledger: Ledger, state: State) -> None:
    before = await failed(ledger, "a")
    await done(ledger, "a", again=True)
    assert await ledger.transition(before, state) is None


@pytest.mark.parametrize("prefix", ["a", "a/", "a~", "ü", "😀", "x" * 600, ""])
def test_a_prefix_is_a_range_of_keys(prefix: str) -> None:
    first, end = key_range("input", prefix)
    for name in (prefix + "x", prefix + "~", prefix + "😀", prefix + "y" * 900):
        assert first <= row_key("input", name) < end


async def test_metrics_of_all_processes_are_summed_per_minute(account: Account, settings: Settings) -> None:
    one, two = (Ledger(account, settings.ledger_table, claim_ttl=60) for _ in range(2))
    before = datetime.now(UTC) - timedelta(minutes=1)
    await done(one, "a")
    await done(two, "b")
    await failed(two, "c")
    await one.metrics.close()
    await two.metrics.flush()
    await done(two, "d", "print")
    await two.metrics.close()
    minutes = await one.metrics.minutes(before)
    web = [minute for minute in minutes if minute.recipe == "web"]
    assert [sum(getattr(minute, name) for minute in web) for name in ("done", "failed", "timed")] == [2, 1, 2]
    assert sum(minute.bytes_in for minute in minutes) == 3000
    assert sum(minute.bytes_out for minute in minutes) == 30
    assert sum(minute.ms["run"] for minute in minutes) == 120
    assert await one.metrics.minutes(datetime.now(UTC) + timedelta(minutes=2)) == []


async def test_bytes_of_a_minute_exceed_32_bits(account: Account, settings: Settings) -> None:
    ledger = Ledger(account, settings.ledger_table, claim_ttl=60)
    before = datetime.now(UTC) - timedelta(minutes=1)
    entry = await done(ledger, "large")
    for _ in range(2):
        ledger.metrics.record(replace(entry, bytes_in=2_000_000_000, bytes_out=0))
    await ledger.metrics.close()
    assert sum(minute.bytes_in for minute in await ledger.metrics.minutes(before)) == 4_000_001_000
