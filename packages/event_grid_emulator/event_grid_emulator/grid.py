"""The Event Grid of one storage account: manage subscriptions and publish events to them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import httpx

from event_grid_emulator.delivery import SubscriptionDelivery
from event_grid_emulator.errors import EventGridError
from event_grid_emulator.events import Event
from event_grid_emulator.faults import Faults
from event_grid_emulator.handshake import validate_endpoints
from event_grid_emulator.operations import BLOB_CREATED, BlobOperation
from event_grid_emulator.subscription import Subscription
from event_grid_emulator.upstream import Upstream

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
