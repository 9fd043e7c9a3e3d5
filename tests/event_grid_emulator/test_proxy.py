"""The proxy forwards requests unchanged, and publishes an event for each written or deleted blob."""

from __future__ import annotations

import asyncio
import random
import sys
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
from azure.core.exceptions import ResourceExistsError
from azure.storage.blob import BlobBlock, ContentSettings, generate_container_sas

from devstack import subprocesses
from event_grid_emulator.emulator import AZURITE_ACCOUNT, AZURITE_KEY, EmulatorOptions, running
from tests.event_grid_emulator.conftest import EmulatedAccount, Webhook
from tests.waiting import eventually

NO_FILTER = {"filter": {}}


async def test_only_writes_and_deletions_of_blobs_are_published(account: EmulatedAccount, webhook: Webhook) -> None:
    await account.subscribe(webhook, **NO_FILTER)
    blob = account.container.get_blob_client("a.jpg")
    await blob.upload_blob(b"12345", content_settings=ContentSettings(content_type="image/jpeg"))
    await blob.set_blob_metadata({"a": "b"})
    await blob.set_blob_tags({"a": "b"})
    await blob.acquire_lease(15, lease_id="5ca1ab1e-0000-4000-8000-000000000001")
    with pytest.raises(ResourceExistsError):
        await blob.upload_blob(b"no", overwrite=False)
    in_blocks = account.container.get_blob_client("in/blocks.jpg")
    await in_blocks.stage_block("MQ==", b"123")
    await in_blocks.commit_block_list([BlobBlock("MQ==")])
    copy = account.container.get_blob_client("copy.jpg")
    await copy.start_copy_from_url(in_blocks.url)
    await account.container.get_blob_client("log").create_append_blob()
    await webhook.wait_for_events(4)
    await copy.delete_blob()
    events = await webhook.wait_for_events(5)
    by_api = {each["data"]["api"]: each for each in events if not each["subject"].endswith("log")}
    assert sorted(by_api) == ["CopyBlob", "DeleteBlob", "PutBlob", "PutBlockList"]
    assert {api: each["data"]["contentLength"] for api, each in by_api.items() if api != "DeleteBlob"} == {
        "PutBlob": 5, "PutBlockList": 3, "CopyBlob": 3,
    }  # fmt: skip
    assert by_api["DeleteBlob"]["eventType"] == "Microsoft.Storage.BlobDeleted"
    assert len(events) == 5


async def test_an_event_has_the_fields_of_azure(account: EmulatedAccount, webhook: Webhook) -> None:
    await account.subscribe(webhook)
    name = "2026/ä b#1?%.jpg"
    blob = account.container.get_blob_client(name)
    upload = await blob.upload_blob(b"12345", content_settings=ContentSettings(content_type="image/jpeg"))
    (event,) = await webhook.wait_for_events(1)
    data = event["data"]
    assert event["subject"] == f"/blobServices/default/containers/{account.container.container_name}/blobs/{name}"
    assert event["topic"].endswith("/providers/Microsoft.Storage/storageAccounts/devstoreaccount1")
    assert (event["eventType"], event["dataVersion"]) == ("Microsoft.Storage.BlobCreated", "")
    assert (data["eTag"], data["requestId"]) == (upload["etag"].strip('"'), upload["request_id"])
    assert (data["contentType"], data["contentLength"], data["blobType"]) == ("image/jpeg", 5, "BlockBlob")
    assert data["url"] == blob.url
    assert set(event) == {
        "id", "topic", "subject", "eventType", "eventTime", "data", "dataVersion", "metadataVersion",
    }  # fmt: skip
    headers = webhook.headers[0]
    assert (headers["aeg-event-type"], headers["aeg-subscription-name"]) == ("Notification", "SUB")
    assert headers["aeg-delivery-count"] == "0"


async def test_a_cloud_event_is_one_object_with_its_own_fields(account: EmulatedAccount, webhook: Webhook) -> None:
    await account.subscribe(webhook, eventDeliverySchema="CloudEventSchemaV1_0")
    await account.container.upload_blob("a.jpg", b"1")
    (event,) = await webhook.wait_for_events(1)
    assert (event["specversion"], event["type"]) == ("1.0", "Microsoft.Storage.BlobCreated")
    assert event["source"].endswith("devstoreaccount1")
    assert event["data"]["api"] == "PutBlob"
    assert webhook.headers[0]["content-type"].startswith("application/cloudevents+json")
    assert isinstance(webhook.validations[0]["data"], str), "the data of Azure's validation event is a JSON string"


async def test_the_sequencer_orders_the_writes(account: EmulatedAccount, webhook: Webhook) -> None:
    await account.subscribe(webhook)
    for content in (b"1", b"12", b"123"):
        await account.container.upload_blob("a.jpg", content, overwrite=True)
    events = await webhook.wait_for_events(3)
    ordered = sorted(events, key=lambda each: each["data"]["sequencer"])
    assert [each["data"]["contentLength"] for each in ordered] == [1, 2, 3]


async def test_large_blobs_lists_and_reads_pass_unchanged(account: EmulatedAccount) -> None:
    content = random.Random(1).randbytes(9_000_000)
    await account.container.upload_blob("large.bin", content, max_concurrency=4)
    blob = account.container.get_blob_client("large.bin")
    assert await (await blob.download_blob(max_concurrency=4)).readall() == content
    assert await (await blob.download_blob(offset=5_000_000, length=10)).readall() == content[5_000_000:5_000_010]
    assert [name async for name in account.container.list_blob_names()] == ["large.bin"]


async def test_without_a_storage_emulator_the_response_is_502(account: EmulatedAccount) -> None:
    async with running(EmulatorOptions("http://127.0.0.1:9")) as (url, _):
        response = await account.http.get(f"{url}/devstoreaccount1/a/b")
    assert response.status_code == 502
    assert "emulator does not respond" in response.text


async def test_only_events_during_a_subscription_are_delivered(account: EmulatedAccount, webhook: Webhook) -> None:
    await account.container.upload_blob("before.jpg", b"1")
    await account.subscribe(webhook)
    await account.container.upload_blob("a.jpg", b"1")
    (event,) = await webhook.wait_for_events(1)
    assert event["subject"].endswith("/blobs/a.jpg")
    subscription = f"{account.control_url}/subscriptions/sub"
    assert (await account.http.delete(subscription)).status_code == 204
    assert (await account.http.get(account.control_url)).json() == {}
    assert "no subscription" in (await account.http.delete(subscription)).text
    await account.container.upload_blob("after.jpg", b"1")
    await eventually(lambda: len(webhook.events) == 1)


async def test_an_unknown_path_of_the_control_api_is_not_forwarded(account: EmulatedAccount) -> None:
    for method, path in [("GET", "/nothing"), ("PUT", "/subscriptions/a/b"), ("POST", "/subscriptions")]:
        response = await account.http.request(method, account.control_url + path, json={})
        assert (response.status_code, response.headers.get("x-ms-request-id")) == (404, None)


async def test_an_aborted_upload_leaves_no_blob_event_or_traceback(
    account: EmulatedAccount, webhook: Webhook, caplog: pytest.LogCaptureFixture
) -> None:
    await account.subscribe(webhook)
    url = urlsplit(account.url)
    _, writer = await asyncio.open_connection(url.hostname, url.port)
    container = account.container.container_name
    expiry = datetime.now(UTC) + timedelta(hours=1)
    sas = generate_container_sas(AZURITE_ACCOUNT, container, account_key=AZURITE_KEY, permission="cw", expiry=expiry)
    head = (
        f"PUT {url.path}/{container}/aborted.jpg?{sas} HTTP/1.1\r\nHost: {url.netloc}\r\n"
        "x-ms-blob-type: BlockBlob\r\nx-ms-version: 2021-12-02\r\nContent-Length: 1000000\r\n\r\n"
    )
    writer.write(head.encode() + b"x" * 100_000)
    await writer.drain()
    writer.close()
    complete = f"{account.url}/{container}/complete.jpg?{sas}"
    headers = {"x-ms-blob-type": "BlockBlob", "x-ms-version": "2021-12-02"}
    assert (await account.http.put(complete, content=b"1", headers=headers)).status_code == 201
    (event,) = await webhook.wait_for_events(1)
    assert event["subject"].endswith("/blobs/complete.jpg")
    assert [name async for name in account.container.list_blob_names()] == ["complete.jpg"]
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--emulator", "nonsense"], "'nonsense' is not the URL of an emulator"),
        (["--key", "#"], "the account key is invalid"),
        (["--subscription", "/nowhere.json"], "the subscription /nowhere.json cannot be read"),
        (["--to", "http://127.0.0.1:9/"], "handshake failed, no response"),
        (["--certificate", "a.pem"], "--certificate and --key-file go together"),
    ],
)
async def test_an_invalid_option_ends_the_command_with_one_message(options: list[str], message: str) -> None:
    argv = [sys.executable, "-m", "event_grid_emulator", *options]
    async with subprocesses.running("event-grid", argv, env={"COLUMNS": "200"}) as process:
        output = str(await process.wait_for_exit())
    assert process.status in (1, 2)
    assert message in output
    assert "Traceback" not in output
