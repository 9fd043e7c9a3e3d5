"""The proxy passes calls on unchanged, and tells of those that wrote or deleted a blob."""

from __future__ import annotations

import asyncio
import random
import sys
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
from azure.core.exceptions import ResourceExistsError
from azure.storage.blob import BlobBlock, ContentSettings, generate_container_sas

from devstack import child
from devstack.azurite import ACCOUNT, KEY
from devstack.event_grid import Options, running
from tests.event_grid.conftest import Account, Webhook
from tests.waiting import eventually

EVERYTHING = {"filter": {}}


async def test_every_way_to_write_a_blob_is_told_and_nothing_else(storage: Account, webhook: Webhook) -> None:
    await storage.subscribed(webhook, **EVERYTHING)
    blob = storage.container.get_blob_client("a.jpg")
    await blob.upload_blob(b"12345", content_settings=ContentSettings(content_type="image/jpeg"))
    await blob.set_blob_metadata({"a": "b"})
    await blob.set_blob_tags({"a": "b"})
    await blob.acquire_lease(15, lease_id="5ca1ab1e-0000-4000-8000-000000000001")
    with pytest.raises(ResourceExistsError):
        await blob.upload_blob(b"no", overwrite=False)
    in_blocks = storage.container.get_blob_client("in/blocks.jpg")
    await in_blocks.stage_block("MQ==", b"123")
    await in_blocks.commit_block_list([BlobBlock("MQ==")])
    copy = storage.container.get_blob_client("copy.jpg")
    await copy.start_copy_from_url(in_blocks.url)
    await storage.container.get_blob_client("log").create_append_blob()
    await webhook.hear(4)
    await copy.delete_blob()
    events = await webhook.hear(5)
    by_api = {each["data"]["api"]: each for each in events if not each["subject"].endswith("log")}
    assert sorted(by_api) == ["CopyBlob", "DeleteBlob", "PutBlob", "PutBlockList"]
    assert {api: each["data"]["contentLength"] for api, each in by_api.items() if api != "DeleteBlob"} == {
        "PutBlob": 5, "PutBlockList": 3, "CopyBlob": 3,
    }  # fmt: skip
    assert by_api["DeleteBlob"]["eventType"] == "Microsoft.Storage.BlobDeleted"
    assert len(events) == 5


async def test_an_event_has_the_shape_of_azures(storage: Account, webhook: Webhook) -> None:
    await storage.subscribed(webhook)
    name = "2026/ä b#1?%.jpg"
    blob = storage.container.get_blob_client(name)
    written = await blob.upload_blob(b"12345", content_settings=ContentSettings(content_type="image/jpeg"))
    (event,) = await webhook.hear(1)
    data = event["data"]
    assert event["subject"] == f"/blobServices/default/containers/{storage.container.container_name}/blobs/{name}"
    assert event["topic"].endswith("/providers/Microsoft.Storage/storageAccounts/devstoreaccount1")
    assert (event["eventType"], event["dataVersion"]) == ("Microsoft.Storage.BlobCreated", "")
    assert (data["eTag"], data["requestId"]) == (written["etag"].strip('"'), written["request_id"])
    assert (data["contentType"], data["contentLength"], data["blobType"]) == ("image/jpeg", 5, "BlockBlob")
    assert data["url"] == blob.url
    assert set(event) == {
        "id", "topic", "subject", "eventType", "eventTime", "data", "dataVersion", "metadataVersion",
    }  # fmt: skip
    headers = webhook.headers[0]
    assert (headers["aeg-event-type"], headers["aeg-subscription-name"]) == ("Notification", "SUB")
    assert headers["aeg-delivery-count"] == "0"


async def test_a_cloud_event_comes_alone_in_its_own_shape(storage: Account, webhook: Webhook) -> None:
    await storage.subscribed(webhook, eventDeliverySchema="CloudEventSchemaV1_0")
    await storage.container.upload_blob("a.jpg", b"1")
    (event,) = await webhook.hear(1)
    assert (event["specversion"], event["type"]) == ("1.0", "Microsoft.Storage.BlobCreated")
    assert event["source"].endswith("devstoreaccount1")
    assert event["data"]["api"] == "PutBlob"
    assert webhook.headers[0]["content-type"].startswith("application/cloudevents+json")
    assert isinstance(webhook.asked[0]["data"], str), "Azure packs the data of the question twice"


async def test_the_sequencer_tells_the_order_of_the_writes(storage: Account, webhook: Webhook) -> None:
    await storage.subscribed(webhook)
    for content in (b"1", b"12", b"123"):
        await storage.container.upload_blob("a.jpg", content, overwrite=True)
    events = await webhook.hear(3)
    ordered = sorted(events, key=lambda each: each["data"]["sequencer"])
    assert [each["data"]["contentLength"] for each in ordered] == [1, 2, 3]


async def test_large_blobs_lists_and_reads_pass_unchanged(storage: Account) -> None:
    content = random.Random(1).randbytes(9_000_000)
    await storage.container.upload_blob("large.bin", content, max_concurrency=4)
    blob = storage.container.get_blob_client("large.bin")
    assert await (await blob.download_blob(max_concurrency=4)).readall() == content
    assert await (await blob.download_blob(offset=5_000_000, length=10)).readall() == content[5_000_000:5_000_010]
    assert [name async for name in storage.container.list_blob_names()] == ["large.bin"]


async def test_the_emulator_gone_is_a_502_and_no_hang(storage: Account) -> None:
    async with running(Options("http://127.0.0.1:9")) as (address, _):
        answer = await storage.control.get(f"{address}/devstoreaccount1/a/b")
    assert answer.status_code == 502
    assert "emulator does not answer" in answer.text


async def test_nobody_subscribed_costs_nothing_and_subscriptions_can_end(storage: Account, webhook: Webhook) -> None:
    await storage.container.upload_blob("before.jpg", b"1")
    await storage.subscribed(webhook)
    await storage.container.upload_blob("a.jpg", b"1")
    (event,) = await webhook.hear(1)
    assert event["subject"].endswith("/blobs/a.jpg")
    assert (await storage.control.delete(f"{storage.root}/subscriptions/sub")).status_code == 204
    assert (await storage.control.get(storage.root)).json() == {}
    assert "no subscription" in (await storage.control.delete(f"{storage.root}/subscriptions/sub")).text
    await eventually(lambda: len(webhook.events) == 1)


async def test_a_client_that_goes_away_in_the_middle_leaves_no_blob_no_event_and_no_traceback(
    storage: Account, webhook: Webhook, caplog: pytest.LogCaptureFixture
) -> None:
    await storage.subscribed(webhook)
    there = urlsplit(storage.address)
    _, writer = await asyncio.open_connection(there.hostname, there.port)
    container = storage.container.container_name
    until = datetime.now(UTC) + timedelta(hours=1)
    allowed = generate_container_sas(ACCOUNT, container, account_key=KEY, permission="cw", expiry=until)
    head = (
        f"PUT {there.path}/{container}/cut.jpg?{allowed} HTTP/1.1\r\nHost: {there.netloc}\r\n"
        "x-ms-blob-type: BlockBlob\r\nx-ms-version: 2021-12-02\r\nContent-Length: 1000000\r\n\r\n"
    )
    writer.write(head.encode() + b"x" * 100_000)
    await writer.drain()
    writer.close()
    whole = f"{storage.address}/{container}/whole.jpg?{allowed}"
    headers = {"x-ms-blob-type": "BlockBlob", "x-ms-version": "2021-12-02"}
    assert (await storage.control.put(whole, content=b"1", headers=headers)).status_code == 201
    (event,) = await webhook.hear(1)
    assert event["subject"].endswith("/blobs/whole.jpg")
    assert [name async for name in storage.container.list_blob_names()] == ["whole.jpg"]
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--emulator", "nonsense"], "'nonsense' is not the address of an emulator"),
        (["--key", "#"], "the account's key is not one"),
        (["--subscription", "/nowhere.json"], "the subscription /nowhere.json cannot be read"),
        (["--to", "http://127.0.0.1:9/"], "handshake failed, it does not answer"),
        (["--certificate", "a.pem"], "--certificate and --key-file go together"),
    ],
)
async def test_what_it_cannot_do_ends_it_with_one_message(options: list[str], message: str) -> None:
    argv = [sys.executable, "-m", "devstack", "event-grid", *options]
    async with child.running("event-grid", argv, env={"COLUMNS": "200"}) as process:
        told = str(await process.ended())
    assert process.status in (1, 2)
    assert message in told
    assert "Traceback" not in told
