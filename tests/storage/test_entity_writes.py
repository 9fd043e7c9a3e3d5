"""Entity writes and bytes of a job in the ledger, counted singly: they limit the jobs per second of a partition."""

from __future__ import annotations

import pytest

from pipeline.errors import PoolFull
from pipeline.jobs.rendering import Renderer
from pipeline.runs import Selection
from pipeline.testing.entities import EntityWrite, entity_writes
from tests.api.client import call
from tests.images import image_bytes
from tests.memory import Memory

NAME = "photos/2026/holiday-0001.jpg"
# An ETag has about 3 characters in memory, and 17 on Azure. In the writes of a job, 6 ETags are texts with two bytes
# for each character, and 4 are in compressed documents.
LONGER_ETAGS = 6 * 14 * 2 + 4 * 14
MAX_BYTES = 4096 - LONGER_ETAGS


def writes(memory: Memory) -> list[EntityWrite]:
    """Return the entity writes to the ledger so far, without metrics and the number of shards, and forget them."""
    found = entity_writes(memory.account.operations, memory.services.settings.ledger_table)
    memory.account.operations.clear()
    return [each for each in found if not each.partition.startswith("~")]


def reads(memory: Memory) -> int:
    """Count the rows of the ledger that were read one by one."""
    return sum(op[:2] == ("row.get", memory.services.settings.ledger_table) for op in memory.account.operations)


def verbs(found: list[EntityWrite]) -> list[str]:
    return [each.verb for each in found]


async def event(memory: Memory) -> None:
    await memory.services.dispatcher.handle_blob("input", NAME)


async def redo_all(memory: Memory) -> None:
    """Redo all jobs in a run, counting from the first batch on."""
    await memory.services.runs.start(Selection(recipes=("web",), reasons=("done",)), expected_count=100)
    for body in await memory.run_messages():
        await memory.services.run_worker.handle_message(body)
    memory.account.operations.clear()
    await memory.process_messages()


async def test_a_new_job_writes_three_entities_of_three_kilobytes(memory: Memory) -> None:
    await memory.upload(NAME, image_bytes(200, 150))
    await event(memory)
    found = writes(memory)
    assert verbs(found) == ["create", "update", "upsert"]
    assert sum(each.size for each in found) <= MAX_BYTES
    assert found[2].size <= 500, "a list row"
    assert len({each.partition for each in found}) == 1, "one transaction can change them"


@pytest.mark.parametrize("runs", [1, 2])
async def test_a_job_that_a_run_redoes_writes_four_entities(memory: Memory, runs: int) -> None:
    await memory.upload(NAME, image_bytes(200, 150))
    await event(memory)
    for _ in range(runs):
        await redo_all(memory)
        assert reads(memory) == 0
        found = writes(memory)
        assert verbs(found) == ["update", "update", "upsert", "delete"]
        assert sum(each.size for each in found) <= MAX_BYTES
        assert found[0].size <= 1024, "a claim counts once against the limit of a partition"


async def test_a_changed_source_writes_one_entity_more_than_a_run(memory: Memory) -> None:
    """An event does not tell if its source is new: the claim first tries to create the row, then reads it once."""
    for width in (200, 220):
        await memory.upload(NAME, image_bytes(width, 150))
        memory.account.operations.clear()
        await event(memory)
    assert reads(memory) == 1
    assert verbs(writes(memory)) == ["create", "update", "update", "upsert", "delete"]


async def test_a_second_event_reads_the_row_once(memory: Memory) -> None:
    await memory.upload(NAME, image_bytes(200, 150))
    await event(memory)
    memory.account.operations.clear()
    await event(memory)
    assert reads(memory) == 1
    assert verbs(writes(memory)) == ["create"]


async def test_a_job_that_waits_for_a_session_writes_six_entities_each_time(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> None:
        raise PoolFull("no session is free")

    await memory.upload(NAME, image_bytes(200, 150))
    render = Renderer.render
    monkeypatch.setattr(Renderer, "render", full)
    await event(memory)
    writes(memory)
    for _ in range(2):
        (message,) = await memory.take()
        memory.account.operations.clear()
        await memory.run_queued(message)
        assert reads(memory) == 1
        assert verbs(writes(memory)) == ["update", "upsert", "delete"] * 2
    monkeypatch.setattr(Renderer, "render", render)
    (message,) = await memory.take()
    memory.account.operations.clear()
    await memory.run_queued(message)
    assert reads(memory) == 1
    assert verbs(writes(memory)) == ["update", "upsert", "delete"] * 2


async def test_the_image_of_a_request_is_not_looked_up(memory: Memory) -> None:
    """It has no row yet. Unlike an upload, it is listed at once, since its row may be all that tells of it."""
    memory.account.operations.clear()
    data = image_bytes(200, 150)
    response = await call(memory, "POST", "/api/jobs?recipe=web", data, Content_Type="image/jpeg", Prefer="wait=30")
    assert response.json()["state"] == "done"
    assert (reads(memory), verbs(writes(memory))) == (0, ["create", "upsert", "update", "upsert", "delete"])
