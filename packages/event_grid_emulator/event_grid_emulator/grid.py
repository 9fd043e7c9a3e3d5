"""The Event Grid of one storage account: subscriptions, what is published to them, and how they fare."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import httpx

from devstack.errors import EventGridError
from devstack.event_grid.delivery import Deliveries
from devstack.event_grid.events import Event
from devstack.event_grid.handshake import shake
from devstack.event_grid.oddities import Oddities
from devstack.event_grid.operations import CREATED, Written
from devstack.event_grid.subscription import Subscription
from devstack.event_grid.upstream import Upstream


class Grid:
    """Close it at the end. `pace` makes the pauses between attempts shorter, or longer."""

    def __init__(self, upstream: Upstream, oddities: Oddities, pace: float = 1.0) -> None:
        self._upstream, self._oddities, self._pace = upstream, oddities, pace
        self._http = httpx.AsyncClient(timeout=30)
        self._deliveries: dict[str, Deliveries] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def subscribe(self, subscription: Subscription) -> None:
        """Make a subscription, or change the one of its name.

        Raises:
            EventGridError: its endpoint does not take part in the handshake.
        """
        await shake(subscription, self._http)
        before = self._deliveries.get(subscription.name)
        made = Deliveries(subscription, self._http, self._upstream.set_aside, self._pace)
        self._deliveries[subscription.name] = made
        if before:
            await before.close()

    async def unsubscribe(self, name: str) -> None:
        """End a subscription.

        Raises:
            EventGridError: there is none of that name.
        """
        deliveries = self._deliveries.pop(name, None)
        if deliveries is None:
            raise EventGridError(f"there is no subscription {name}")
        await deliveries.close()

    def written(self, written: Written, endpoint: str) -> None:
        """Publish that a blob was written."""
        if not self._deliveries:
            return
        task = asyncio.create_task(self._measured(written, endpoint))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _measured(self, written: Written, endpoint: str) -> None:
        if written.length is None and written.type == CREATED:
            written = replace(written, length=await self._upstream.length(written))
        self.publish(Event.of(written, endpoint))

    def publish(self, event: Event) -> None:
        """Deliver an event to every subscription that wants it."""
        for one, delay in self._oddities.made_of(event):
            for deliveries in self._deliveries.values():
                if deliveries.subscription.filter.wants(one):
                    deliveries.begin(one, delay)
                else:
                    deliveries.counted["not wanted"] += 1

    def status(self) -> dict[str, Any]:
        """How the subscriptions fare."""
        return {
            name: {
                "endpoints": [url.partition("?")[0] for url in one.subscription.endpoints],
                "under way": one.under_way,
                **one.counted,
            }
            for name, one in self._deliveries.items()
        }

    async def close(self) -> None:
        """Stop."""
        for task in self._tasks:
            task.cancel()
        for deliveries in self._deliveries.values():
            await deliveries.close()
        await self._http.aclose()
