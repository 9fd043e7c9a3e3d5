"""Blob triggers: every new or changed blob is delivered to one host; failing blobs are dead-lettered."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest
from azure.storage.blob.aio import BlobLeaseClient

from functions_host.blob_triggers import DEAD_LETTER_QUEUE
from functions_host.queue_listener import encode_message
from tests.functions_host.conftest import Host, HostEnvironment
from tests.waiting import eventually

in_module_loop = pytest.mark.asyncio(loop_scope="module")
SharedHost = tuple[HostEnvironment, Host]


@in_module_loop
async def test_a_new_blob_triggers_the_functions_with_a_matching_path(shared_host: SharedHost) -> None:
    environment, _ = shared_host
    await environment.container.upload_blob("a/b é#.jpg", b"12345")
    await environment.container.upload_blob("notes.txt", b"123")
    await environment.container.upload_blob("other.png", b"1")
    reports = {each["function"]: each for each in await environment.reports(2)}
    assert (reports["by_client"]["blob"], reports["by_client"]["size"]) == ("a/b é#.jpg", 5)
    assert (reports["by_stream"]["blob"], reports["by_stream"]["length"]) == (f"{environment.name}/notes.txt", 3)


@in_module_loop
async def test_a_line_break_in_a_name_is_escaped_in_the_log(shared_host: SharedHost) -> None:
    environment, host = shared_host
    await environment.container.upload_blob("a\nforged.jpg", b"1")
    await environment.reports(1)
    await eventually(lambda: any("succeeded" in line and r"a\nforged.jpg" in line for line in host.log))
    assert not any(line.startswith("forged") for line in host.log)


@in_module_loop
async def test_a_changed_blob_triggers_again(shared_host: SharedHost) -> None:
    environment, _ = shared_host
    for content in (b"1", b"12", b"123"):
        await environment.container.upload_blob("a.jpg", content, overwrite=True)
        assert [each["size"] for each in await environment.reports(1)] == [len(content)]


async def test_a_restarted_host_delivers_missed_blobs_and_no_old_ones(environment: HostEnvironment) -> None:
    async with environment.host():
        await environment.container.upload_blob("before.jpg", b"1")
        await environment.reports(1)
    await environment.container.upload_blob("meanwhile.jpg", b"1")
    async with environment.host():
        await environment.container.upload_blob("after.jpg", b"1")
        assert {each["blob"] for each in await environment.reports(2)} == {"meanwhile.jpg", "after.jpg"}


async def test_a_container_may_be_created_after_the_host_started(environment: HostEnvironment) -> None:
    async with environment.host(CONTAINER=f"{environment.name}-later"):
        later = await environment.blobs.create_container(f"{environment.name}-later")
        await later.upload_blob("a.jpg", b"1")
        await environment.reports(1)


@in_module_loop
async def test_a_failing_blob_is_dead_lettered_after_5_attempts(shared_host: SharedHost) -> None:
    environment, host = shared_host
    queue = environment.queues.get_queue_client(DEAD_LETTER_QUEUE)
    uploaded = await environment.container.upload_blob("bad.jpg", b"bad")
    dead_letters: list[dict[str, str]] = []

    async def is_dead_lettered() -> bool:
        messages = [message async for message in queue.receive_messages(visibility_timeout=1)]
        dead_letters.extend(json.loads(base64.b64decode(message.content)) for message in messages)
        return any(each["ContainerName"] == environment.name for each in dead_letters)

    await eventually(lambda: environment.message_count(queue))
    await eventually(is_dead_lettered)
    assert sum("failed in" in line for line in host.log) == 5
    etag = (await uploaded.get_blob_properties()).etag.strip('"')
    assert {
        "FunctionId": "Host.Functions.by_client",
        "BlobType": "BlockBlob",
        "ContainerName": environment.name,
        "BlobName": "bad.jpg",
        "ETag": etag,
    } in dead_letters


@in_module_loop
async def test_a_message_about_a_deleted_blob_is_skipped(shared_host: SharedHost) -> None:
    environment, host = shared_host
    message = {"FunctionId": "Host.Functions.by_client", "ContainerName": environment.name, "BlobName": "gone.jpg"}
    await environment.blob_trigger_queue.send_message(encode_message(json.dumps(message)))
    await eventually(lambda: any("gone.jpg was deleted or replaced" in line for line in host.log))


async def test_two_hosts_share_the_blobs_without_duplicates(environment: HostEnvironment) -> None:
    async with environment.host(), environment.host():
        names = [f"{number}.jpg" for number in range(60)]
        await asyncio.gather(*(environment.container.upload_blob(name, b"slow") for name in names))
        reports = await environment.reports(60)
    assert sorted(each["blob"] for each in reports) == sorted(names)
    assert len({each["pid"] for each in reports}) == 2


async def test_another_host_takes_over_from_a_killed_leader(environment: HostEnvironment) -> None:
    """The second host repeats the invocation of the killed host, and becomes the leader that scans."""
    lock = environment.blobs.get_blob_client("azure-webjobs-hosts", f"locks/{environment.name}/blobscan")
    async with environment.host("--hidden", "2", SLOW_SECONDS="30") as leader:
        await environment.container.upload_blob("started.jpg", b"slow")
        await eventually(lambda: environment.message_count(environment.blob_trigger_queue))
        async with environment.host("--hidden", "2"):
            leader.process.kill()
            await environment.container.upload_blob("new.jpg", b"1")
            # The lease would expire after 15 seconds. Breaking it has the same effect without the wait.
            assert (await lock.get_blob_properties()).lease.duration == "fixed"
            await BlobLeaseClient(lock).break_lease(lease_break_period=0)
            assert {each["blob"] for each in await environment.reports(2)} == {"started.jpg", "new.jpg"}
