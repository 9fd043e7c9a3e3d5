"""Dead-lettered events become jobs: the uploads of which Event Grid could not tell the app."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from pipeline.errors import StorageUnavailable
from pipeline.jobs.dead_lettered_events import MAX_BLOB_BYTES, POSTPONED_FOR, Recovered
from pipeline.storage import DeadLetterContainer
from pipeline.storage.dead_letter_container import KEPT
from tests.images import image_bytes
from tests.memory import Memory, open_in_memory
from tests.stack import RECIPES

FOLDER = "IMAGE-UPLOADED/2026/8/8/5"
BLOB = f"{FOLDER}/11111111-1111-1111-1111-111111111111.json"
NAME = "photos/summer #1/ä%20 é.jpg"


def event(name: str = NAME, container: str = "input", **changes: Any) -> dict[str, Any]:
    """Return a dead-lettered event in Event Grid's schema."""
    return {
        "id": "831e1650-001e-001b-66ab-eeb76e069631",
        "subject": f"/blobServices/default/containers/{container}/blobs/{name}",
        "eventType": "Microsoft.Storage.BlobCreated",
        "data": {"api": "PutBlob", "eTag": "0x1"},
        "deadLetterReason": "UndeliverableDueToHttpError",
        "deliveryAttempts": 1,
        "lastDeliveryOutcome": "Unauthorized",
        **changes,
    }


async def write(memory: Memory, content: Any, name: str = BLOB) -> None:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    await memory.account.container("deadletters").upload_blob(name, data)


async def blobs(memory: Memory) -> dict[str, str]:
    """Return the blobs of the container, each with the reason for which it is kept aside."""
    container = memory.account.container("deadletters")
    return {blob.name: blob.metadata.get(KEPT, "") async for blob in container.list_blobs(include=["metadata"])}


async def requeue(memory: Memory) -> Recovered:
    return await memory.services.dead_lettered_events.requeue()


async def test_the_image_of_a_dead_lettered_event_is_rendered(memory: Memory) -> None:
    await memory.upload(NAME, image_bytes(60, 40))
    await write(memory, [event()])
    assert await requeue(memory) == Recovered(blobs=1, events=1, jobs=1)
    assert await blobs(memory) == {}
    (message,) = await memory.take()
    assert await memory.entry("web", NAME) is None, "the timer executes nothing itself"
    await memory.run_queued(message)
    entry = await memory.entry("web", NAME)
    assert entry is not None
    assert entry.state == "done"


async def test_a_blob_holds_several_events_in_both_schemas(memory: Memory) -> None:
    for name in ("photos/a.jpg", "photos/b.jpg"):
        await memory.upload(name, image_bytes(60, 40))
    cloud = event("photos/b.jpg", specversion="1.0", type="Microsoft.Storage.BlobCreated")
    del cloud["eventType"]
    await write(memory, [event("photos/a.jpg"), cloud, event("not-matched/c.jpg")])
    assert await requeue(memory) == Recovered(blobs=1, events=3, jobs=2)
    assert sorted(message["name"] for message in await memory.take()) == ["photos/a.jpg", "photos/b.jpg"]


async def test_events_of_another_subscription_stay_untouched(memory: Memory, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    other = BLOB.replace("IMAGE-UPLOADED", "IMAGE-UPLOADED-2")
    await write(memory, [event()], other)
    for _ in range(2):
        assert await requeue(memory) == Recovered()
    assert await blobs(memory) == {other: ""}
    assert caplog.text.count("event=dead_letter.foreign") == 1, "reported once"


@pytest.mark.parametrize(
    "foreign",
    [
        event(eventType="Microsoft.Storage.BlobDeleted"),
        event(container="output"),
        event(container="input-of-others"),
        event(""),
        event("a" * 1025),
        {},
    ],
    ids=["deleted", "other container", "longer name", "no name", "long name", "empty"],
)
async def test_other_events_are_kept_aside_once(memory: Memory, foreign: dict[str, Any]) -> None:
    await memory.upload(NAME, image_bytes(60, 40))
    await write(memory, [foreign, event()])
    assert await requeue(memory) == Recovered(blobs=1, events=1, jobs=1, kept=1)
    assert "not a new blob of input" in (await blobs(memory))[BLOB]
    memory.account.operations.clear()
    assert await requeue(memory) == Recovered()
    assert [op[0] for op in memory.account.operations] == ["blob.list"], "it is not read again"


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"{", b"[1]", b"[]", b'"x"', b"[" * 100_000])
async def test_bad_content_is_kept_aside(memory: Memory, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    await write(memory, content)
    assert await requeue(memory) == Recovered(kept=1)
    assert (await blobs(memory))[BLOB].startswith("not a list of events")
    assert "event=dead_letter.kept" in caplog.text
    assert await requeue(memory) == Recovered()


async def test_a_huge_blob_is_not_read(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    await write(memory, [event()])
    monkeypatch.setattr("pipeline.jobs.dead_lettered_events.MAX_BLOB_BYTES", 10)
    assert await requeue(memory) == Recovered(kept=1)
    assert not [op for op in memory.account.operations if op[0] == "blob.get"]
    assert MAX_BLOB_BYTES > 1 << 20


@pytest.mark.parametrize("operation", ["blob.list", "blob.get", "queue.send", "blob.delete"])
async def test_a_fault_of_storage_loses_no_event(memory: Memory, operation: str) -> None:
    await memory.upload(NAME, image_bytes(60, 40))
    await write(memory, [event()])
    memory.account.fail(operation, 503, "ServerBusy")
    with pytest.raises(StorageUnavailable):
        await requeue(memory)
    assert await blobs(memory) == {BLOB: ""}
    assert (await requeue(memory)).blobs == 1
    assert await blobs(memory) == {}
    assert len(await memory.take()) == 1


async def test_a_deleted_source_has_no_job(memory: Memory) -> None:
    await write(memory, [event("photos/gone.jpg")])
    await requeue(memory)
    assert await blobs(memory) == {}
    for message in await memory.take():
        await memory.run_queued(message)
    assert await memory.entry("web", "photos/gone.jpg") is None


async def test_a_missing_container_is_no_error(memory: Memory) -> None:
    await memory.account.container("deadletters").delete_container()
    assert await requeue(memory) == Recovered()


async def test_the_time_of_a_pass_is_bounded(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.jobs.dead_lettered_events.TIME_BUDGET_SECONDS", -1)
    for number in range(20):
        await write(memory, [event(f"photos/{number}.jpg")], f"{FOLDER}/{number}.json")
    assert (await requeue(memory)).blobs == 16
    assert (await requeue(memory)).blobs == 4


async def test_a_replaced_blob_is_not_deleted(memory: Memory) -> None:
    await write(memory, [event()])
    container = DeadLetterContainer(memory.account, "deadletters")
    (blob,) = [each async for each in container.pending()]
    await memory.account.container("deadletters").upload_blob(BLOB, b"[]", overwrite=True)
    await container.delete(blob)
    await container.keep(blob, "x")
    assert await blobs(memory) == {BLOB: ""}


SIZED = RECIPES.replace('include: ["photos/**"]', 'include: ["photos/**"], size: {min: 1}')


async def test_the_trouble_of_one_name_stops_no_other_event(caplog: pytest.LogCaptureFixture) -> None:
    """Storage refuses the properties of one source, with a code in no list."""
    async with open_in_memory(SIZED) as memory:
        for name in ("photos/a.jpg", "photos/b.jpg", "photos/c.jpg"):
            await memory.upload(name, image_bytes(60, 40))
        await write(memory, [event("photos/a.jpg"), event("photos/b.jpg")], f"{FOLDER}/1.json")
        await write(memory, [event("photos/c.jpg")], f"{FOLDER}/2.json")
        memory.account.fail("blob.head input/photos/a.jpg", 409, "SomethingNew", times=2)
        assert await requeue(memory) == Recovered(blobs=1, events=2, jobs=2)
        assert await blobs(memory) == {f"{FOLDER}/1.json": ""}
        assert "event=dead_letter.postponed" in caplog.text
        assert await requeue(memory) == Recovered(), "the other event is not queued again"
        assert await requeue(memory) == Recovered(blobs=1, events=1, jobs=1)
        assert await blobs(memory) == {}


async def test_the_trouble_of_one_name_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    assert POSTPONED_FOR.days == 1
    async with open_in_memory(SIZED) as memory:
        await memory.upload(NAME, image_bytes(60, 40))
        await write(memory, [event()])
        memory.account.fail("blob.head", 409, "SomethingNew")
        monkeypatch.setattr("pipeline.jobs.dead_lettered_events.POSTPONED_FOR", -POSTPONED_FOR)
        assert await requeue(memory) == Recovered(blobs=1, kept=1)
        assert "SomethingNew" in (await blobs(memory))[BLOB]


@pytest.mark.parametrize(("operation", "code"), [("blob.get", "BlobArchived"), ("blob.delete", "LeaseIdMissing")])
async def test_a_blob_that_storage_refuses_stops_no_other_blob(memory: Memory, operation: str, code: str) -> None:
    """A lease on a blob of dead-lettered events does not queue its events in each pass."""
    await write(memory, [event("photos/a.jpg")], f"{FOLDER}/1.json")
    await write(memory, [event("photos/b.jpg")], f"{FOLDER}/2.json")
    memory.account.fail(f"{operation} deadletters/{FOLDER}/1.json", 409, code, times=3)
    for _ in range(4):
        await requeue(memory)
    assert await blobs(memory) == {}
    assert sorted(message["name"] for message in await memory.take()) == ["photos/a.jpg", "photos/b.jpg"]
