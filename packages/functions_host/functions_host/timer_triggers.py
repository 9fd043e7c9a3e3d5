"""Timer triggers: only the leader runs a timer. A run that was missed while no host was up is made up for once."""

import asyncio
import contextlib
import json
import logging
from datetime import UTC, datetime
from typing import Any

from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.functions.timer import TimerRequest
from azure.storage.blob.aio import BlobClient

from functions_host.errors import HostError
from functions_host.functions import Function, InFlight, InvocationError, Invoker
from functions_host.ncrontab import parse_schedule
from functions_host.settings import resolve_settings

log = logging.getLogger(__name__)
MAX_SLEEP_SECONDS = 60.0  # a suspended laptop stops the monotonic clock: check the wall clock again after this time
MIN_MONITORED_INTERVAL_SECONDS = 60.0  # Azure does not store the status of schedules with shorter intervals


class TimerTrigger:
    """One function on its schedule. The blob `status` stores the last and the next scheduled time.

    Raises:
        HostError: The schedule is invalid.
    """

    def __init__(self, function: Function, status: BlobClient, invoke: Invoker, inflight: InFlight) -> None:
        self._function = function
        self._status_blob = status
        self._invoke = invoke
        self._inflight = inflight
        try:
            self._schedule = parse_schedule(resolve_settings(function.trigger["schedule"]))
            first = self._schedule.next_after(datetime.now(UTC))
            interval = (self._schedule.next_after(first) - first).total_seconds()
        except ValueError as error:
            raise HostError(f"{function.name}: {error}") from None
        self._is_monitored = function.trigger.get("useMonitor", True) and interval >= MIN_MONITORED_INTERVAL_SECONDS

    async def run(self) -> None:
        """Run the function on its schedule until cancelled."""
        last = await self._catch_up()
        while True:
            due = self._schedule.next_after(max(last, datetime.now(UTC)))
            await self._save_status(_status(last, due))
            await _sleep_until(due)
            await self._run_once(past_due=False, last=last, due=due)
            last = due

    async def _catch_up(self) -> datetime:
        """Run the function now if a scheduled time was missed, or if the trigger has runOnStartup."""
        now = datetime.now(UTC)
        status = await self._load_status()
        due = datetime.fromisoformat(status["Next"]) if status else now
        past_due = due < now
        if past_due or self._function.trigger.get("runOnStartup"):
            await self._run_once(past_due=past_due, last=now, due=due)
        return now

    async def _run_once(self, *, past_due: bool, last: datetime, due: datetime) -> None:
        request = TimerRequest(past_due=past_due, schedule_status=_status(last, due))
        invocation = self._invoke(self._function, request, f"timer, due {due:%X}")
        with contextlib.suppress(InvocationError):  # already logged; the schedule continues
            await asyncio.shield(self._inflight.start(invocation))

    async def _load_status(self) -> dict[str, Any] | None:
        """Load the stored status; None if there is none."""
        if not self._is_monitored:
            return None
        try:
            return json.loads(await (await self._status_blob.download_blob()).readall())  # type: ignore[no-any-return]
        except ResourceNotFoundError:
            return None
        except (AzureError, ValueError) as error:
            log.warning("cannot read the status of the timer %s: %s", self._function.name, error)
            return None

    async def _save_status(self, status: dict[str, str]) -> None:
        if not self._is_monitored:
            return
        try:
            await self._status_blob.upload_blob(json.dumps(status), overwrite=True)
        except AzureError as error:
            log.warning("cannot save the status of the timer %s: %s", self._function.name, error)


def _status(last: datetime, due: datetime) -> dict[str, str]:
    """Return a timer status with Azure's field names."""
    return {"Last": last.isoformat(), "Next": due.isoformat(), "LastUpdated": last.isoformat()}


async def _sleep_until(due: datetime) -> None:
    """Sleep until the wall clock reaches `due`."""
    while (remaining := (due - datetime.now(UTC)).total_seconds()) > 0:  # noqa: ASYNC110 - a clock sets no event
        await asyncio.sleep(min(remaining, MAX_SLEEP_SECONDS))
