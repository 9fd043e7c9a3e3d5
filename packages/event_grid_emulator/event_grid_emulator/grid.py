"""The Event Grid of one storage account: validate and manage subscriptions, and publish events to them.

An endpoint must accept a subscription in a handshake before it receives events.
"""

import asyncio
import json
import uuid
from dataclasses import replace
from http import HTTPStatus
from typing import Any

import httpx

from event_grid_emulator.delivery import SubscriptionDelivery
from event_grid_emulator.errors import EventGridError
from event_grid_emulator.events import BLOB_CREATED, RESOURCE_GROUP, BlobOperation, Event, utc_now
from event_grid_emulator.faults import Faults
from event_grid_emulator.subscription import Subscription
from event_grid_emulator.upstream import Upstream

ORIGIN = "eventgrid.azure.net"
VALIDATION_EVENT = "Microsoft.EventGrid.SubscriptionValidationEvent"


async def validate_endpoints(subscription: Subscription, http: httpx.AsyncClient) -> None:
    """Perform the handshake with every endpoint of the subscription.

    Raises:
        EventGridError: An endpoint does not respond as required.
    """
    for url in subscription.endpoints:
        try:
            if not (subscription.uses_cloud_events and await _is_origin_allowed(url, http)):
                await _validate(subscription, url, http)
        except httpx.HTTPError as error:
            raise _handshake_error(subscription, f"no response ({type(error).__name__})") from error


async def _is_origin_allowed(url: str, http: httpx.AsyncClient) -> bool:
    """Perform the CloudEvents handshake. Endpoints that do not support it get a validation event instead."""
    response = await http.options(url, headers={"WebHook-Request-Origin": ORIGIN})
    return response.is_success and response.headers.get("WebHook-Allowed-Origin") in (ORIGIN, "*")


async def _validate(subscription: Subscription, url: str, http: httpx.AsyncClient) -> None:
    code = str(uuid.uuid4()).upper()
    headers = {"aeg-event-type": "SubscriptionValidation", "aeg-subscription-name": subscription.name.upper()}
    event = _validation_event(code, cloud=subscription.uses_cloud_events)
    response = await http.post(url, json=event, headers=headers)
    if response.status_code != HTTPStatus.OK:
        raise _handshake_error(subscription, f"HTTP {response.status_code}")
    try:
        document: Any = response.json()
    except ValueError:
        document = None
    if not isinstance(document, dict) or document.get("validationResponse") != code:
        raise _handshake_error(subscription, "the response does not contain the code as validationResponse")


def _validation_event(code: str, *, cloud: bool) -> object:
    data = {"validationCode": code, "validationUrl": None}
    common = {"id": str(uuid.uuid4()), "subject": ""}
    if cloud:  # as on Azure, the data of this event is a JSON string
        fields = {"source": RESOURCE_GROUP, "type": VALIDATION_EVENT, "specversion": "1.0", "data": json.dumps(data)}
        return {**common, **fields}
    fields = {"topic": RESOURCE_GROUP, "eventType": VALIDATION_EVENT, "eventTime": utc_now()}
    return [{**common, **fields, "data": data, "dataVersion": "2", "metadataVersion": "1"}]


def _handshake_error(subscription: Subscription, reason: str) -> EventGridError:
    return EventGridError(
        f"the subscription {subscription.name} was not created: validation handshake failed, {reason}; is the function "
        "app running, and is the code in the URL its key?"
    )


HANDSHAKE_TIMEOUT_SECONDS = 30


class EventGrid:
    """Publish events to subscriptions, with injected faults. `pace` scales the retry delays. Close it at the end."""

    def __init__(self, upstream: Upstream, faults: Faults, pace: float = 1.0) -> None:
        self._upstream, self._faults, self._pace = upstream, faults, pace
        self._http = httpx.AsyncClient(timeout=HANDSHAKE_TIMEOUT_SECONDS)
        self._deliveries: dict[str, SubscriptionDelivery] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def subscribe(self, subscription: Subscription) -> None:
        """Create a subscription, or replace the one with the same name.

        Raises:
            EventGridError: The handshake with an endpoint failed.
        """
        await validate_endpoints(subscription, self._http)
        replaced = self._deliveries.get(subscription.name)
        self._deliveries[subscription.name] = SubscriptionDelivery(
            subscription, self._http, self._upstream.write_dead_letter, self._pace
        )
        if replaced:
            await replaced.close()

    async def unsubscribe(self, name: str) -> None:
        """Delete a subscription.

        Raises:
            EventGridError: There is no subscription with this name.
        """
        delivery = self._deliveries.pop(name, None)
        if delivery is None:
            raise EventGridError(f"there is no subscription {name}")
        await delivery.close()

    def on_operation(self, operation: BlobOperation, endpoint: str) -> None:
        """Publish the event of a blob operation. `endpoint` is the base URL that clients use."""
        if not self._deliveries:
            return
        task = asyncio.create_task(self._publish_operation(operation, endpoint))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _publish_operation(self, operation: BlobOperation, endpoint: str) -> None:
        if operation.length is None and operation.event_type == BLOB_CREATED:
            operation = replace(operation, length=await self._upstream.blob_length(operation))
        self.publish(Event.from_operation(operation, endpoint))

    def publish(self, event: Event) -> None:
        """Deliver an event to every subscription with a matching filter."""
        for faulty, delay in self._faults.apply(event):
            for delivery in self._deliveries.values():
                if delivery.subscription.filter.matches(faulty):
                    delivery.start(faulty, delay)
                else:
                    delivery.counts["filtered"] += 1

    def status(self) -> dict[str, Any]:
        """Return endpoints and counts of each subscription."""
        return {
            name: {
                "endpoints": [url.partition("?")[0] for url in delivery.subscription.endpoints],
                "pending": delivery.pending,
                **delivery.counts,
            }
            for name, delivery in self._deliveries.items()
        }

    async def aclose(self) -> None:
        """Stop all deliveries."""
        for task in self._tasks:
            task.cancel()
        for delivery in self._deliveries.values():
            await delivery.close()
        await self._http.aclose()
