"""Timer triggers: one host at a time runs them, and what was missed while none ran is made up for once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from datetime import UTC, datetime
from typing import Any

from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.functions.timer import TimerRequest
from azure.storage.blob.aio import BlobClient

from devstack.errors import HostError
from devstack.host import cron
from devstack.host.functions import Function
from devstack.host.invoke import InvocationFailed, Invoker
from devstack.host.settings import resolve
from devstack.host.work import Work

log = logging.getLogger("host")
LONGEST_SLEEP = 60.0  # a laptop sleeps too: look at the clock again after that
MONITORED = 60.0  # the platform does not keep the status of schedules that come more often than this


class Timer:
    """One function on its schedule. `status` is the blob that remembers its last and its next time.

    Raises:
        HostError: the schedule is wrong.
    """

    def __init__(self, function: Function, status: BlobClient, invoke: Invoker, work: Work) -> None:
        self._function = function
        self._status = status
        self._invoke = invoke
        self._work = work
        try:
            self._schedule = cron.parse(resolve(function.trigger["schedule"]))
            first = self._schedule.after(datetime.now(UTC))
            often = (self._schedule.after(first) - first).total_seconds() < MONITORED
        except ValueError as error:
            raise HostError(f"{function.name}: {error}") from None
        self._monitored = function.trigger.get("useMonitor", True) and not often

    async def run(self) -> None:
        """Run it on its schedule until cancelled."""
        last = await self._catch_up()
        while True:
            due = self._schedule.after(max(last, datetime.now(UTC)))
            await self._remember(last, due)
            await _sleep_until(due)
            await self._run(past_due=False, last=last, due=due)
            last = due

    async def _catch_up(self) -> datetime:
        """Run it when it should have run while no host did, or when it wants to run at every start."""
        now = datetime.now(UTC)
        status = await self._remembered()
        due = datetime.fromisoformat(status["Next"]) if status else now
        past_due = due < now
        if past_due or self._function.trigger.get("runOnStartup"):
            await self._run(past_due=past_due, last=now, due=due)
        return now

    async def _run(self, *, past_due: bool, last: datetime, due: datetime) -> None:
        status = {"Last": last.isoformat(), "Next": due.isoformat(), "LastUpdated": last.isoformat()}
        request = TimerRequest(past_due=past_due, schedule_status=status)
        with contextlib.suppress(InvocationFailed):  # logged; the next time comes anyway
            await asyncio.shield(self._work.start(self._invoke(self._function, request, f"timer, due {due:%X}")))

    async def _remembered(self) -> dict[str, Any] | None:
        if not self._monitored:
            return None
        try:
            return json.loads(await (await self._status.download_blob()).readall())  # type: ignore[no-any-return]
        except ResourceNotFoundError:
            return None
        except (AzureError, ValueError) as error:
            log.warning("the status of the timer %s cannot be read: %s", self._function.name, error)
            return None

    async def _remember(self, last: datetime, due: datetime) -> None:
        if not self._monitored:
            return
        status = {"Last": last.isoformat(), "Next": due.isoformat(), "LastUpdated": last.isoformat()}
        try:
            await self._status.upload_blob(json.dumps(status), overwrite=True)
        except AzureError as error:
            log.warning("the status of the timer %s cannot be kept: %s", self._function.name, error)


async def _sleep_until(due: datetime) -> None:
    while (left := (due - datetime.now(UTC)).total_seconds()) > 0:  # noqa: ASYNC110 - a clock sets no event
        await asyncio.sleep(min(left, LONGEST_SLEEP))
