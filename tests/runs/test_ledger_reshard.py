"""Reshard: every row moves, also if the command is killed twice, and no job is done twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipeline.errors import StateConflict, StorageUnavailable
from pipeline.jobs.pauses import WORK
from pipeline.runs import Selection
from pipeline.storage import ClaimOptions, Entry, JobKey, Message, Version, shard_moves
from pipeline.storage.claim import Claim
from pipeline.testing import MemoryAccount
from pipeline.testing.store import Op, Response
from tests.images import image_bytes
from tests.memory import Memory, open_in_memory

NAMES = [f"photos/{number:02}.jpg" for number in range(12)]
ADHOC = "_adhoc-" + "a" * 32
LONG = "photos/" + "ü" * 900 + ".jpg"
Row = tuple[str, str, tuple[tuple[str, Any], ...]]


class Killed(BaseException):
    """The process ends."""


async def library(memory: Memory) -> None:
    """Fill the ledger with jobs of all states, of recipes of the file, of ad-hoc and of removed recipes."""
    for name in NAMES:
        await memory.upload(name, image_bytes() if name != NAMES[3] else b"not an image")
        await memory.services.dispatcher.handle_blob("input", name)
    await memory.services.jobs.retry(JobKey.of("web", "input", NAMES[5]))
    version = Version("0x1", "hash")
    for recipe, name in [(ADHOC, f"{number}.jpg") for number in range(8)] + [("former", LONG), ("former", "a.jpg")]:
        await memory.services.ledger.enqueue(Entry(JobKey.of(recipe, "input", name), "input", name, "failed", version))
    await memory.services.ledger.enqueue(Entry(JobKey("~unreadable", "a"), "", "", "failed", version))


async def pause(memory: Memory) -> None:
    """Pause everything, some minutes ago."""
    document = await memory.services.run_store.get("pauses", "current")
    content = dict.fromkeys(WORK, (datetime.now(UTC) - timedelta(minutes=5)).isoformat())
    if document:
        await memory.services.run_store.replace("pauses", "current", document, content)
    else:
        await memory.services.run_store.create("pauses", "current", content)
    memory.account.advance(21)


async def resume(memory: Memory) -> None:
    await memory.services.admission.pauses.resume(WORK)


async def reshard(memory: Memory, number: int, steps: list[str] | None = None) -> int:
    """Reshard without waiting: the account's clock moves."""

    async def sleep(seconds: float) -> None:
        memory.account.advance(seconds)

    command = replace(memory.services.ledger_reshard, sleep=sleep)
    return await command.run(number, [].append if steps is None else steps.append)


def job_rows(account: MemoryAccount) -> list[tuple[str, Row]]:
    """Return the rows of jobs and lists: the partition, and the rest without it."""
    found = []
    for (table, partition, key), row in account.store.rows:
        if table == "ledger" and not partition.startswith(("~shards", "~minutes")):
            items = tuple(item for item in row.items if item[0] != "PartitionKey")
            found.append(
                (partition, (partition.partition("~")[0], key, tuple(sorted(items, key=lambda item: item[0]))))
            )
    return found


async def killed(memory: Memory, number: int, count: int) -> None:
    """Kill a reshard at a transaction, before it is carried out or after: nothing of the process goes on then."""
    account, left = memory.account, count
    carry_out = account._send

    async def counted(op: Op) -> Response:
        nonlocal left
        left -= op[:2] == ("rows", "ledger")
        if left == 0 and count % 2:
            await carry_out(op)
        if left <= 0:
            raise Killed
        return await carry_out(op)

    account._send = counted
    with pytest.raises(Killed):
        await reshard(memory, number)
    for _ in range(50):
        await asyncio.sleep(0)
    account._send = carry_out


@pytest.mark.parametrize("numbers", [(2, 5), (5, 2), (3, 16)], ids=str)
async def test_a_reshard_that_is_killed_twice_loses_no_row(
    numbers: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_moves, "MAX_TRANSACTION_ROWS", 3)
    account = MemoryAccount()
    async with open_in_memory(account=account, shards=numbers[0]) as memory:
        await library(memory)
        await memory.take()
        before = Counter(row for _, row in job_rows(account))
        await pause(memory)
        for kill in (2, 5):
            await killed(memory, numbers[1], kill)
            copied = Counter(row for _, row in job_rows(account))
            assert copied.keys() == before.keys(), "a row may be in two partitions, and in one at least"
        assert await reshard(memory, numbers[1]) > 0
        after = job_rows(account)
        assert Counter(row for _, row in after) == before
        for partition, (group, key, items) in after:
            if group:
                assert partition == JobKey(group, dict(items).get("job") or key).partition(numbers[1])


async def test_no_job_is_done_again_after_a_reshard(memory: Memory) -> None:
    await library(memory)
    await memory.take()
    listed, _ = await memory.services.ledger.page(limit=100)
    await pause(memory)
    await reshard(memory, 5)
    await resume(memory)
    again, _ = await memory.services.ledger.page(limit=100)
    assert [entry.key for entry in again] == [entry.key for entry in listed]
    plan = await memory.services.planner.plan(Selection(recipes=("web",)))
    assert plan.jobs == 0
    memory.pool.calls.clear()
    for name in NAMES[:3]:
        await memory.services.dispatcher.handle_blob("input", name)
    assert memory.pool.calls == [], "every job is done already"


async def test_another_instance_reads_the_number_before_it_writes_again() -> None:
    """An instance with the old number neither writes while rows move, nor claims a job twice afterwards."""
    async with open_in_memory() as memory, open_in_memory(account=memory.account, pool=memory.pool) as other:
        await library(memory)
        await other.entry("web", NAMES[0])
        await pause(memory)

        async def sleep(seconds: float) -> None:
            memory.account.advance(seconds)
            with pytest.raises(StorageUnavailable, match="is being resharded from 2 to 7"):
                await other.services.jobs.submit(Message(recipe="web", container="input", name=NAMES[0]))
            assert await other.entry("web", NAMES[1]), "jobs can be read meanwhile"
            assert len((await other.services.ledger.page(limit=100))[0]) == len(NAMES) + 11

        await replace(memory.services.ledger_reshard, sleep=sleep).run(7, str)
        await resume(memory)
        memory.account.advance(21)
        memory.pool.calls.clear()
        await other.services.dispatcher.handle_blob("input", NAMES[0])
        assert memory.pool.calls == []
        rows = [row for row in job_rows(memory.account) if row[1][1] == JobKey.of("web", "input", NAMES[0]).row]
        assert len(rows) == 1


async def test_a_number_that_cannot_be_read_is_not_used_for_long(memory: Memory) -> None:
    key = JobKey.of("web", "input", NAMES[0])
    await memory.services.ledger.get(key)
    for seconds, readable in ((30, True), (40, False)):
        memory.account.advance(seconds)
        memory.account.fail("row.get ledger", 503, "ServerBusy", times=1)
        if readable:
            assert await memory.services.ledger.get(key) is None
        else:
            with pytest.raises(StorageUnavailable, match="number of shards"):
                await memory.services.ledger.get(key)


async def test_a_reshard_needs_a_pause_of_everything(memory: Memory) -> None:
    with pytest.raises(StateConflict, match="uploads, requests, runs are not paused: run `image-pipeline pause`"):
        await reshard(memory, 4)
    await memory.services.admission.pauses.pause(("uploads", "runs"))
    with pytest.raises(StateConflict, match="requests are not paused"):
        await reshard(memory, 4)
    await memory.services.admission.pauses.pause(WORK)
    steps: list[str] = []
    await reshard(memory, 4, steps)
    assert steps[0] in [f"waiting {seconds} s until every instance has noticed the pause" for seconds in (54, 55)]


async def test_a_reshard_while_a_job_runs_is_refused(memory: Memory) -> None:
    key = JobKey.of("web", "input", "photos/a.jpg")

    async def current() -> bool:
        return True

    ledger = memory.services.ledger
    claim = await ledger.claim(key, ("input", "photos/a.jpg"), Version("1", "h"), current, ClaimOptions(listed=True))
    assert isinstance(claim, Claim)
    await pause(memory)
    with pytest.raises(StateConflict, match="1 jobs are running, such as web") as refused:
        await reshard(memory, 4)
    assert (refused.value.kind, (await ledger.shards.read()).target) == ("jobs_running", 0)
    await claim.complete([], {})
    assert await reshard(memory, 4) >= 0


async def test_a_second_number_is_refused_until_the_first_reshard_ends(memory: Memory) -> None:
    await library(memory)
    await pause(memory)
    await killed(memory, 4, 1)
    with pytest.raises(StateConflict, match="a reshard from 2 to 4 shards has begun"):
        await reshard(memory, 8)
    await reshard(memory, 4)
    steps: list[str] = []
    assert await reshard(memory, 4, steps) == 0
    assert steps == ["the ledger has 4 shards already"]


async def test_a_ledger_with_jobs_and_without_a_number_is_refused(memory: Memory) -> None:
    """The default could be another number than that of its rows: every job would be claimed again."""
    await library(memory)
    await memory.services.account.table("ledger").delete_entity("~shards", "number")
    memory.account.advance(70)
    with pytest.raises(StorageUnavailable, match="the number of shards is missing"):
        await memory.entry("web", NAMES[0])
