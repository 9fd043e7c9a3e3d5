"""Delivery: the handshake, the filters, attempts until one is taken, and dead letters."""

from __future__ import annotations

import json
from typing import Any

import pytest
from azure.storage.blob.aio import ContainerClient

from devstack.azurite import KEY
from devstack.event_grid.events import Event
from devstack.event_grid.filters import AdvancedFilter
from devstack.event_grid.oddities import Oddities
from devstack.event_grid.subscription import WHOLE, for_blobs
from tests.event_grid.conftest import Account, Webhook, account
from tests.waiting import eventually


def event(container: str = "c", name: str = "a.jpg", **data: Any) -> dict[str, Any]:
    """An event by hand."""
    return {
        "id": "1",
        "subject": f"/blobServices/default/containers/{container}/blobs/{name}",
        "eventType": "Microsoft.Storage.BlobCreated",
        "data": {"api": "PutBlob", "url": f"http://127.0.0.1/account/{container}/{name}", **data},
    }


async def test_an_event_that_is_not_taken_comes_again_until_it_is(storage: Account, webhook: Webhook) -> None:
    webhook.statuses = [500, 404, 503, 202]
    await storage.subscribed(webhook)
    await storage.container.upload_blob("a.jpg", b"1")
    events = await webhook.hear(4)
    assert len({each["id"] for each in events}) == 1
    assert [each["aeg-delivery-count"] for each in webhook.headers] == ["0", "1", "2", "3"]
    await eventually(lambda: _counted(storage, delivered=1, failed=3), 30)


async def _counted(storage: Account, **counts: int) -> bool:
    found = await storage.counted()
    return {name: found.get(name) for name in counts} == counts and found["under way"] == 0


@pytest.mark.parametrize("status", [400, 401, 403, 413])
async def test_what_no_attempt_can_change_is_set_aside_at_once(storage: Account, webhook: Webhook, status: int) -> None:
    webhook.statuses = [status]
    dead = f"{storage.container.container_name}-dead"
    target = {"endpointType": "StorageBlob", "properties": {"blobContainerName": dead}}
    await storage.subscribed(webhook, deadLetterDestination=target)
    await storage.container.upload_blob("a.jpg", b"1")
    await eventually(lambda: _counted(storage, failed=1, **{"set aside": 1}), 30)
    (letter,) = await _letters(storage, dead)
    assert letter["deadLetterReason"] == "UndeliverableDueToHttpError"
    assert (letter["deliveryAttempts"], letter["lastDeliveryOutcome"]) == (1, f"HTTP {status}")
    assert letter["subject"].endswith("/blobs/a.jpg")


async def _letters(storage: Account, container: str) -> list[dict[str, Any]]:
    async with ContainerClient(storage.address, container, KEY) as client:
        names = [name async for name in client.list_blob_names(name_starts_with="SUB/")]
        texts = [await (await client.download_blob(name)).readall() for name in names]
    return [letter for text in texts for letter in json.loads(text)]


async def test_after_the_last_attempt_an_event_is_set_aside_or_dropped(storage: Account, webhook: Webhook) -> None:
    webhook.statuses = [500]
    await storage.subscribed(webhook, retryPolicy={"maxDeliveryAttempts": 3})
    await storage.container.upload_blob("a.jpg", b"1")
    await eventually(lambda: _counted(storage, failed=3, dropped=1), 30)


async def test_an_endpoint_that_is_gone_counts_as_a_failed_attempt(storage: Account, webhook: Webhook) -> None:
    async with Webhook().served() as gone:
        both = for_blobs([gone.url, webhook.url], storage.container.container_name)
        assert (await storage.subscribe("sub", both)).status_code == 201
    await storage.container.upload_blob("a.jpg", b"1")
    await eventually(lambda: _counted(storage, failed=1, delivered=1), 30)


async def test_only_what_the_filters_want_is_delivered(storage: Account, webhook: Webhook) -> None:
    await storage.subscribe("sub", for_blobs([webhook.url], "c"))
    odd = ["CreateFile", "SomethingNew", "RenameFile"]
    await storage.publish(*(event(api=api) for api in [*odd, *WHOLE]))
    await storage.publish(event("c-and-more"), event("other"), event("C", "upper.jpg"))
    deleted = {**event(), "eventType": "Microsoft.Storage.BlobDeleted"}
    await storage.publish(deleted, event(name="last.jpg"))
    await eventually(lambda: _counted(storage, delivered=len(WHOLE) + 2, **{"not wanted": len(odd) + 3}), 30)
    assert sorted(each["data"]["api"] for each in webhook.events) == sorted([*WHOLE, "PutBlob", "PutBlob"])


@pytest.mark.parametrize(
    ("condition", "fits"),
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
async def test_an_advanced_filter_means_what_it_means_on_azure(condition: dict[str, Any], fits: bool) -> None:
    assert AdvancedFilter.model_validate(condition).wants(Event.read(event(contentLength=42))) is fits


async def test_events_come_twice_in_any_order_and_beside_others_on_demand(azurite: str, webhook: Webhook) -> None:
    async with account(azurite, oddities=Oddities(copies=2, shuffle=0.2, also=("CreateFile",))) as storage:
        await storage.subscribed(webhook, filter={})
        for number in range(5):
            await storage.container.upload_blob(f"{number}.jpg", b"1")
        events = await webhook.hear(20)
    assert len(events) == 20
    assert len({each["id"] for each in events}) == 10
    sequence = [each["data"]["sequencer"] for each in events]
    assert sequence != sorted(sequence)


BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "destination: Field required"),
    (for_blobs(["ftp://a/b"], "c"), "'ftp://a/b' is not an http"),
    ({**for_blobs(["http://127.0.0.1:9/"], "c")}, "handshake failed, it does not answer"),
    ({**for_blobs(["http://a/"], "c"), "eventDeliverySchema": "Custom"}, "eventDeliverySchema"),
    (
        {**for_blobs(["http://a/"], "c"), "filter": {"advancedFilters": [{"operatorType": "Like", "key": "a"}]}},
        "'Like' is none of the operators",
    ),
]


@pytest.mark.parametrize(("document", "message"), BAD, ids=[message for _, message in BAD])
async def test_a_subscription_that_is_none_is_refused_with_the_reason(
    storage: Account, document: dict[str, Any], message: str
) -> None:
    answer = await storage.subscribe("sub", document)
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]
    assert (await storage.control.get(storage.root)).json() == {}


async def test_events_by_hand_that_are_none_are_refused(storage: Account) -> None:
    for body in (b"nonsense", b'[{"subject": "/a"}]', b"[1]"):
        assert (await storage.control.post(f"{storage.root}/events", content=body)).status_code == 400
