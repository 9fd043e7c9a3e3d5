"""Blob triggers: every new or changed blob is delivered, to one host, and failing ones are set aside."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest

from devstack.host.blobs import POISON_QUEUE
from devstack.host.queues import encode
from tests.host.conftest import Host, Stage
from tests.waiting import eventually

shared = pytest.mark.asyncio(loop_scope="module")


@shared
async def test_a_new_blob_triggers_the_functions_whose_pattern_it_fits(served: tuple[Stage, Host]) -> None:
    stage, _ = served
    await stage.container.upload_blob("a/b é#.jpg", b"12345")
    await stage.container.upload_blob("notes.txt", b"123")
    await stage.container.upload_blob("other.png", b"1")
    told = {each["function"]: each for each in await stage.hear(2)}
    assert (told["by_client"]["blob"], told["by_client"]["size"]) == ("a/b é#.jpg", 5)
    assert (told["by_stream"]["blob"], told["by_stream"]["length"]) == (f"{stage.name}/notes.txt", 3)


@shared
async def test_a_name_with_a_line_end_makes_no_line_of_the_log(served: tuple[Stage, Host]) -> None:
    stage, host = served
    await stage.container.upload_blob("a\nforged.jpg", b"1")
    await stage.hear(1)
    await eventually(lambda: any("succeeded" in line and r"a\nforged.jpg" in line for line in host.log))
    assert not any(line.startswith("forged") for line in host.log)


@shared
async def test_a_changed_blob_triggers_again(served: tuple[Stage, Host]) -> None:
    stage, _ = served
    for content in (b"1", b"12", b"123"):
        await stage.container.upload_blob("a.jpg", content, overwrite=True)
        assert [each["size"] for each in await stage.hear(1)] == [len(content)]


async def test_a_restarted_host_delivers_what_was_missed_and_replays_nothing(stage: Stage) -> None:
    async with stage.host():
        await stage.container.upload_blob("before.jpg", b"1")
        await stage.hear(1)
    await stage.container.upload_blob("meanwhile.jpg", b"1")
    async with stage.host():
        await stage.container.upload_blob("after.jpg", b"1")
        assert {each["blob"] for each in await stage.hear(2)} == {"meanwhile.jpg", "after.jpg"}


async def test_a_container_that_comes_later_is_noticed(stage: Stage) -> None:
    async with stage.host(CONTAINER=f"{stage.name}-later"):
        later = await stage.blobs.create_container(f"{stage.name}-later")
        await later.upload_blob("a.jpg", b"1")
        await stage.hear(1)


@shared
async def test_a_blob_that_keeps_failing_is_tried_five_times_and_becomes_poison(served: tuple[Stage, Host]) -> None:
    stage, host = served
    poison = stage.queues.get_queue_client(POISON_QUEUE)
    uploaded = await stage.container.upload_blob("bad.jpg", b"bad")
    found: list[dict[str, str]] = []

    async def set_aside() -> bool:
        messages = [message async for message in poison.receive_messages(visibility_timeout=1)]
        found.extend(json.loads(base64.b64decode(message.content)) for message in messages)
        return any(each["ContainerName"] == stage.name for each in found)

    await eventually(lambda: stage.waiting(poison))
    await eventually(set_aside)
    assert sum("failed in" in line for line in host.log) == 5
    etag = (await uploaded.get_blob_properties()).etag.strip('"')
    assert {
        "FunctionId": "Host.Functions.by_client",
        "BlobType": "BlockBlob",
        "ContainerName": stage.name,
        "BlobName": "bad.jpg",
        "ETag": etag,
    } in found


@shared
async def test_a_blob_that_is_gone_is_dropped(served: tuple[Stage, Host]) -> None:
    stage, host = served
    message = {"FunctionId": "Host.Functions.by_client", "ContainerName": stage.name, "BlobName": "gone.jpg"}
    await stage.shared_queue.send_message(encode(json.dumps(message)))
    await eventually(lambda: any("gone.jpg is no more" in line for line in host.log))


async def test_two_hosts_share_the_blobs_and_none_comes_twice(stage: Stage) -> None:
    async with stage.host(), stage.host():
        names = [f"{number}.jpg" for number in range(60)]
        await asyncio.gather(*(stage.container.upload_blob(name, b"slow") for name in names))
        told = await stage.hear(60)
    assert sorted(each["blob"] for each in told) == sorted(names)
    assert len({each["pid"] for each in told}) == 2


async def test_when_a_host_is_killed_another_one_finishes_its_work_and_takes_over_the_scan(stage: Stage) -> None:
    async with stage.host("--hidden", "3", SLOW="30") as first:  # the first one scans
        await stage.container.upload_blob("begun.jpg", b"slow")
        await eventually(
            lambda: stage.waiting(stage.queues.get_queue_client(f"azure-webjobs-blobtrigger-{stage.name}"))
        )
        async with stage.host("--hidden", "3"):
            first.process.kill()
            await stage.container.upload_blob("new.jpg", b"1")
            assert {each["blob"] for each in await stage.hear(2, 40)} == {"begun.jpg", "new.jpg"}
