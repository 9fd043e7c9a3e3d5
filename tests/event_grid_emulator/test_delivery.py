"""Delivery: handshake, filters, retries, dead letters and injected faults."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from azure.storage.blob.aio import ContainerClient

from event_grid_emulator.emulator import AZURITE_KEY
from event_grid_emulator.events import Event
from event_grid_emulator.faults import Faults
from event_grid_emulator.subscription import COMPLETING_APIS, AdvancedFilter, blob_trigger_subscription
from tests.event_grid_emulator.conftest import EmulatedAccount, Webhook, emulated_account
from tests.waiting import eventually


def event(container: str = "c", name: str = "a.jpg", **data: Any) -> dict[str, Any]:
    """Return an event for the control API."""
    return {
        "id": "1",
        "subject": f"/blobServices/default/containers/{container}/blobs/{name}",
        "eventType": "Microsoft.Storage.BlobCreated",
        "data": {"api": "PutBlob", "url": f"http://127.0.0.1/account/{container}/{name}", **data},
    }


async def has_counts(account: EmulatedAccount, **counts: int) -> bool:
    """Return whether no event is pending and the counts are these; `dead_lettered` is the count `dead-lettered`."""
    status = await account.status()
    return status["pending"] == 0 and all(status.get(name.replace("_", "-")) == n for name, n in counts.items())


async def test_an_event_is_retried_until_it_is_delivered(account: EmulatedAccount, webhook: Webhook) -> None:
    webhook.statuses = [500, 404, 503, 202]
    await account.subscribe(webhook)
    await account.container.upload_blob("a.jpg", b"1")
    events = await webhook.wait_for_events(4)
    assert len({each["id"] for each in events}) == 1
    assert [each["aeg-delivery-count"] for each in webhook.headers] == ["0", "1", "2", "3"]
    await eventually(lambda: has_counts(account, delivered=1, failed=3), 30)


@pytest.mark.parametrize("status", [400, 401, 403, 413])
async def test_a_permanent_error_dead_letters_at_once(account: EmulatedAccount, webhook: Webhook, status: int) -> None:
    webhook.statuses = [status]
    container = f"{account.container.container_name}-dead"
    destination = {"endpointType": "StorageBlob", "properties": {"blobContainerName": container}}
    await account.subscribe(webhook, deadLetterDestination=destination)
    await account.container.upload_blob("a.jpg", b"1")
    await eventually(lambda: has_counts(account, failed=1, dead_lettered=1), 30)
    (letter,) = await dead_letters(account, container)
    assert letter["deadLetterReason"] == "UndeliverableDueToHttpError"
    assert (letter["deliveryAttempts"], letter["lastDeliveryOutcome"]) == (1, f"HTTP {status}")
    assert letter["subject"].endswith("/blobs/a.jpg")


async def dead_letters(account: EmulatedAccount, container: str) -> list[dict[str, Any]]:
    """Return the dead letters in a container."""
    async with ContainerClient(account.url, container, AZURITE_KEY) as client:
        names = [name async for name in client.list_blob_names(name_starts_with="SUB/")]
        no_padding = r"SUB/\d{4}/[1-9]\d?/[1-9]\d?/(0|[1-9]\d?)/[0-9a-f-]{36}\.json"
        assert all(re.fullmatch(no_padding, name) for name in names)
        texts = [await (await client.download_blob(name)).readall() for name in names]
    return [letter for text in texts for letter in json.loads(text)]


async def test_without_a_dead_letter_container_events_are_dropped(account: EmulatedAccount, webhook: Webhook) -> None:
    webhook.statuses = [500]
    await account.subscribe(webhook, retryPolicy={"maxDeliveryAttempts": 3})
    await account.container.upload_blob("a.jpg", b"1")
    await eventually(lambda: has_counts(account, failed=3, dropped=1), 30)


async def test_an_unreachable_endpoint_counts_as_a_failed_attempt(account: EmulatedAccount, webhook: Webhook) -> None:
    async with Webhook().serving() as stopped:
        urls = [stopped.url, webhook.url]
        subscription = blob_trigger_subscription(urls, account.container.container_name)
        assert (await account.put_subscription("sub", subscription)).status_code == 201
    await account.container.upload_blob("a.jpg", b"1")
    await eventually(lambda: has_counts(account, failed=1, delivered=1), 30)


async def test_only_events_that_match_the_filter_are_delivered(account: EmulatedAccount, webhook: Webhook) -> None:
    await account.put_subscription("sub", blob_trigger_subscription([webhook.url], "c"))
    other_apis = ["CreateFile", "SomethingNew", "RenameFile"]
    await account.publish(*(event(api=api) for api in [*other_apis, *COMPLETING_APIS]))
    await account.publish(event("c-and-more"), event("other"), event("C", "upper.jpg"))
    deleted = {**event(), "eventType": "Microsoft.Storage.BlobDeleted"}
    await account.publish(deleted, event(name="last.jpg"))
    delivered, filtered = len(COMPLETING_APIS) + 2, len(other_apis) + 3
    await eventually(lambda: has_counts(account, delivered=delivered, filtered=filtered), 30)
    assert sorted(each["data"]["api"] for each in webhook.events) == sorted([*COMPLETING_APIS, "PutBlob", "PutBlob"])


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"operatorType": "StringIn", "key": "data.api", "values": ["putblob"]}, True),
        ({"operatorType": "StringNotIn", "key": "data.api", "values": ["PutBlob"]}, False),
        ({"operatorType": "StringEndsWith", "key": "subject", "values": [".png", ".jpg"]}, True),
        ({"operatorType": "StringBeginsWith", "key": "data.contentType", "values": ["image/"]}, False),
        ({"operatorType": "StringNotContains", "key": "data.contentType", "values": ["image/"]}, True),
        ({"operatorType": "NumberGreaterThan", "key": "data.contentLength", "value": 10}, True),
        ({"operatorType": "NumberLessThan", "key": "data.contentLength", "value": 10}, False),
        ({"operatorType": "IsNotNull", "key": "data.contentType"}, False),
    ],
)
def test_an_advanced_filter_matches_as_on_azure(condition: dict[str, Any], expected: bool) -> None:
    assert AdvancedFilter.model_validate(condition).matches(Event.from_json(event(contentLength=42))) is expected


async def test_faults_duplicate_reorder_and_add_events(azurite: str, webhook: Webhook) -> None:
    faults = Faults(copies=2, max_delay=0.2, extra_apis=("CreateFile",))
    async with emulated_account(azurite, faults=faults) as account:
        await account.subscribe(webhook, filter={})
        for number in range(5):
            await account.container.upload_blob(f"{number}.jpg", b"1")
        events = await webhook.wait_for_events(20)
    assert len(events) == 20
    assert len({each["id"] for each in events}) == 10
    sequence = [each["data"]["sequencer"] for each in events]
    assert sequence != sorted(sequence)


async def test_the_fault_loss_rate_loses_events(azurite: str, webhook: Webhook) -> None:
    async with emulated_account(azurite, faults=Faults(loss_rate=1.0)) as account:
        await account.subscribe(webhook, filter={})
        assert (await account.publish(event())).json() == {"published": 1}
        assert await has_counts(account)
    assert webhook.events == []


INVALID: list[tuple[dict[str, Any], str]] = [
    ({}, "destination: Field required"),
    (blob_trigger_subscription(["ftp://a/b"], "c"), "'ftp://a/b' is not an http"),
    (blob_trigger_subscription(["http://127.0.0.1:9/"], "c"), "handshake failed, no response"),
    ({**blob_trigger_subscription(["http://a/"], "c"), "eventDeliverySchema": "Custom"}, "eventDeliverySchema"),
    (
        {
            **blob_trigger_subscription(["http://a/"], "c"),
            "filter": {"advancedFilters": [{"operatorType": "Like", "key": "a"}]},
        },
        "'Like' is not supported",
    ),
]


@pytest.mark.parametrize(("document", "message"), INVALID, ids=[message for _, message in INVALID])
async def test_an_invalid_subscription_is_rejected_with_the_reason(
    account: EmulatedAccount, document: dict[str, Any], message: str
) -> None:
    response = await account.put_subscription("sub", document)
    assert response.status_code == 400
    assert message in response.json()["error"]["message"]
    assert (await account.http.get(account.control_url)).json() == {}


async def test_invalid_events_are_rejected(account: EmulatedAccount) -> None:
    for body in (b"nonsense", b'[{"subject": "/a"}]', b"[1]"):
        assert (await account.http.post(f"{account.control_url}/events", content=body)).status_code == 400
