"""Deliver events as Event Grid does: at least once, in any order, with exponential backoff and dead letters."""

import asyncio
import itertools
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx

from event_grid_emulator.events import Event, utc_now
from event_grid_emulator.subscription import Subscription

log = logging.getLogger(__name__)
# Seconds before the next attempt, as published by Azure (which adds some randomness). The last value repeats.
RETRY_SCHEDULE_SECONDS = (10, 30, 60, 300, 600, 1800, 3600, 10_800, 21_600, 43_200)
MIN_RETRY_DELAY_SECONDS = {HTTPStatus.SERVICE_UNAVAILABLE: 30, HTTPStatus.REQUEST_TIMEOUT: 120}
# Event Grid does not retry after these.
PERMANENT_ERRORS = {
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
}
SUCCESS_STATUSES = range(200, 205)
RESPONSE_TIMEOUT_SECONDS = 30.0
MAX_CONCURRENT_ATTEMPTS = 16


@dataclass(frozen=True)
class AttemptResult:
    """The result of a delivery attempt. `permanent` means that a retry would fail as well."""

    outcome: str
    delivered: bool = False
    permanent: bool = False
    min_retry_delay: int = 0


DeadLetterWriter = Callable[[Subscription, dict[str, Any]], Awaitable[None]]


class SubscriptionDelivery:
    """Deliver the events of one subscription. `pace` scales the retry delays.

    `counts` has the events that were `delivered`, the attempts that `failed`, and the events that were `dead-lettered`
    or, without a dead-letter container, `dropped`.
    """

    def __init__(
        self, subscription: Subscription, http: httpx.AsyncClient, write_dead_letter: DeadLetterWriter, pace: float
    ) -> None:
        self.subscription = subscription
        self.counts: Counter[str] = Counter()
        self._http, self._write_dead_letter, self._pace = http, write_dead_letter, pace
        self._endpoint_turns = itertools.cycle(subscription.endpoints)
        self._attempt_slots = asyncio.Semaphore(MAX_CONCURRENT_ATTEMPTS)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def pending(self) -> int:
        """The number of events that are not delivered yet."""
        return len(self._tasks)

    def start(self, event: Event, delay: float = 0) -> None:
        """Start to deliver an event after `delay` seconds."""
        task = asyncio.create_task(self._deliver(event, delay))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Stop. Pending events are lost; on Azure they are kept."""
        if self._tasks:
            log.warning("%s: stopped with %d events not delivered", self.subscription.name, len(self._tasks))
        for task in (remaining := list(self._tasks)):
            task.cancel()
        await asyncio.gather(*remaining, return_exceptions=True)

    async def _deliver(self, event: Event, delay: float) -> None:
        published = time.monotonic()
        time_to_live = self.subscription.retry_policy.event_time_to_live_in_minutes * 60 * self._pace
        for attempts in itertools.count(1):
            await asyncio.sleep(delay)
            async with self._attempt_slots:
                result = await self._attempt(event, attempts)
            if result.delivered:
                self.counts["delivered"] += 1
                return
            self.counts["failed"] += 1
            scheduled = RETRY_SCHEDULE_SECONDS[min(attempts, len(RETRY_SCHEDULE_SECONDS)) - 1]
            delay = max(scheduled, result.min_retry_delay) * self._pace
            is_expired = time.monotonic() + delay - published > time_to_live
            if reason := self._give_up_reason(result, attempts, is_expired=is_expired):
                await self._give_up(event, result, attempts, reason)
                return
            log.warning("%s: %s; retrying in %.1f s", self.subscription.name, result.outcome, delay)

    def _give_up_reason(self, result: AttemptResult, attempts: int, *, is_expired: bool) -> str | None:
        """Return Azure's name of the reason not to retry; None to retry."""
        if result.permanent:
            return "UndeliverableDueToHttpError"
        if attempts >= self.subscription.retry_policy.max_delivery_attempts:
            return "MaxDeliveryAttemptsExceeded"
        return "TimeToLiveExceeded" if is_expired else None

    async def _attempt(self, event: Event, number: int) -> AttemptResult:
        cloud = self.subscription.uses_cloud_events
        body: Any = event.to_json(cloud=cloud)
        headers = {
            "Content-Type": f"application/{'cloudevents+json' if cloud else 'json'}; charset=utf-8",
            "aeg-event-type": "Notification",
            "aeg-subscription-name": self.subscription.name.upper(),
            "aeg-delivery-count": str(number - 1),
            "aeg-data-version": "",
            "aeg-metadata-version": "1",
        }
        url, document = next(self._endpoint_turns), body if cloud else [body]
        try:
            response = await self._http.post(url, json=document, headers=headers, timeout=RESPONSE_TIMEOUT_SECONDS)
        except httpx.HTTPError as error:
            return AttemptResult(f"no response ({type(error).__name__})")
        status = response.status_code
        min_delay = next((delay for code, delay in MIN_RETRY_DELAY_SECONDS.items() if code == status), 0)
        return AttemptResult(f"HTTP {status}", status in SUCCESS_STATUSES, status in PERMANENT_ERRORS, min_delay)

    async def _give_up(self, event: Event, result: AttemptResult, attempts: int, reason: str) -> None:
        fate = "dead-lettered" if self.subscription.dead_letter_destination else "dropped"
        if self.subscription.dead_letter_destination:
            dead_letter = {
                "deadLetterReason": reason,
                "deliveryAttempts": attempts,
                "lastDeliveryOutcome": result.outcome,
                "publishTime": event.time,
                "lastDeliveryAttemptTime": utc_now(),
            }
            document = event.to_json(cloud=self.subscription.uses_cloud_events) | dead_letter
            await self._write_dead_letter(self.subscription, document)
        self.counts[fate] += 1
        name, outcome = self.subscription.name, result.outcome
        log.error("%s: %s after %d attempts (%s): the event was %s", name, reason, attempts, outcome, fate)
