"""Delivering events the way Event Grid does: at least once, in no order, with pauses that grow, and then set aside."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import httpx

from devstack.event_grid.events import Event
from devstack.event_grid.subscription import Subscription

log = logging.getLogger("event-grid")
# Seconds from one attempt to the next; the last one is repeated. Published by Azure, who add a little at random.
SCHEDULE = (10, 30, 60, 300, 600, 1800, 3600, 10_800, 21_600, 43_200)
LONGER = {HTTPStatus.SERVICE_UNAVAILABLE: 30, HTTPStatus.REQUEST_TIMEOUT: 120}
# What no attempt will change.
FINAL = {HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.REQUEST_ENTITY_TOO_LARGE}
TAKEN = range(200, 205)
ANSWER_WITHIN = 30.0
AT_ONCE = 16


@dataclass(frozen=True)
class Attempt:
    """How the last attempt went. `final` says that there is no use in another."""

    outcome: str
    taken: bool = False
    final: bool = False
    status: int = 0


Undelivered = Callable[[Subscription, dict[str, Any]], Awaitable[None]]


class Deliveries:
    """The deliveries of one subscription. `pace` times the schedule is how long its pauses are.

    `counted` has the events that were `delivered`, the attempts that `failed`, and the events that were `set aside` in
    the dead-letter container or `dropped` for want of one.
    """

    def __init__(
        self, subscription: Subscription, http: httpx.AsyncClient, set_aside: Undelivered, pace: float
    ) -> None:
        self.subscription = subscription
        self.counted: Counter[str] = Counter()
        self._http, self._set_aside, self._pace = http, set_aside, pace
        self._turns = itertools.count()
        self._room = asyncio.Semaphore(AT_ONCE)
        self._under_way: set[asyncio.Task[None]] = set()

    @property
    def under_way(self) -> int:
        """How many events wait for their delivery."""
        return len(self._under_way)

    def begin(self, event: Event, delay: float = 0) -> None:
        """Deliver an event, `delay` seconds from now."""
        task = asyncio.create_task(self._deliver(event, delay))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def close(self) -> None:
        """Stop: what is under way is lost, as it is not on Azure."""
        if self._under_way:
            log.warning("%s: %d events are not delivered", self.subscription.name, len(self._under_way))
        for task in (left := list(self._under_way)):
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _deliver(self, event: Event, delay: float) -> None:
        policy = self.subscription.retry_policy
        published, number = time.monotonic(), 0
        lifetime = policy.event_time_to_live_in_minutes * 60 * self._pace
        while True:
            await asyncio.sleep(delay)
            async with self._room:
                attempt = await self._attempt(event, number)
            number += 1
            if attempt.taken:
                self.counted["delivered"] += 1
                return
            self.counted["failed"] += 1
            delay = max(SCHEDULE[min(number, len(SCHEDULE)) - 1], LONGER.get(HTTPStatus(attempt.status or 500), 0))
            delay *= self._pace
            reason = self._reason(attempt, number, time.monotonic() + delay - published > lifetime)
            if reason:
                await self._give_up(event, attempt, number, reason)
                return
            log.warning("%s: %s; the next attempt in %.1f s", self.subscription.name, attempt.outcome, delay)

    def _reason(self, attempt: Attempt, number: int, is_late: bool) -> str | None:
        """Why there is no other attempt, in Azure's words; None when there is one."""
        if attempt.final:
            return "UndeliverableDueToHttpError"
        if number >= self.subscription.retry_policy.max_delivery_attempts:
            return "MaxDeliveryAttemptsExceeded"
        return "TimeToLiveExceeded" if is_late else None

    async def _attempt(self, event: Event, number: int) -> Attempt:
        urls = self.subscription.endpoints
        body: Any = event.dump(cloud=self.subscription.is_cloud)
        kind = "application/cloudevents+json" if self.subscription.is_cloud else "application/json"
        headers = {
            "Content-Type": f"{kind}; charset=utf-8",
            "aeg-event-type": "Notification",
            "aeg-subscription-name": self.subscription.name.upper(),
            "aeg-delivery-count": str(number),
            "aeg-data-version": "",
            "aeg-metadata-version": "1",
        }
        try:
            answer = await self._http.post(
                urls[next(self._turns) % len(urls)],
                json=body if self.subscription.is_cloud else [body],
                headers=headers,
                timeout=ANSWER_WITHIN,
            )
        except httpx.HTTPError as error:
            return Attempt(f"no answer ({type(error).__name__})")
        status = answer.status_code
        return Attempt(f"HTTP {status}", status in TAKEN, status in FINAL, status if status in LONGER else 0)

    async def _give_up(self, event: Event, attempt: Attempt, number: int, reason: str) -> None:
        name = self.subscription.name
        if self.subscription.dead_letter_destination is None:
            self.counted["dropped"] += 1
            log.error("%s: %s after %d attempts (%s): the event is dropped", name, reason, number, attempt.outcome)
            return
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        about = {
            "deadLetterReason": reason,
            "deliveryAttempts": number,
            "lastDeliveryOutcome": attempt.outcome,
            "publishTime": event.time,
            "lastDeliveryAttemptTime": now,
        }
        await self._set_aside(self.subscription, event.dump(cloud=self.subscription.is_cloud) | about)
        self.counted["set aside"] += 1
        log.error("%s: %s after %d attempts (%s): set aside", name, reason, number, attempt.outcome)
