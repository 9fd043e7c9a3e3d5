"""Status publisher: write each slot's status (running jobs) to a table, at most every 10 s and only when it changed.

So every process can show the whole pool, and can request that the holder of a slot recycles its session. The publisher
reads these requests as often as it publishes. No call is made for a single job.
"""

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pipeline.errors import PipelineError
from pipeline.pool.slot import Slot
from pipeline.telemetry import logger

log = logger(__name__)
PUBLISH_INTERVAL_SECONDS = 10.0
# Publish at most this many jobs of a slot, and this many characters of a source's name.
MAX_JOBS_PER_SLOT, MAX_NAME_CHARACTERS = 4, 200


class StatusTable(Protocol):
    """Table of the slots' status."""

    async def publish(self, rows: Mapping[str, dict[str, Any]]) -> None:
        """Replace the rows of these slots, by slot name."""

    async def recycle_requests(self) -> dict[str, int]:
        """Return the slots whose sessions users want recycled, and the generations of those sessions."""


class SlotStatusPublisher:
    """Publisher of the status of this process's slots.

    Attributes:
        holder: Name of this process in the documents of its slots. It tells current rows from those of a past holder.
    """

    def __init__(self, board: StatusTable) -> None:
        """Create a publisher with a random holder name."""
        self._board = board
        self._published: dict[str, dict[str, Any]] = {}
        self._last_published = 0.0
        self.holder = secrets.token_hex(4)

    async def publish(self, slots: Sequence[Slot]) -> None:
        """Handle recycle requests and publish changed rows, if the interval has passed."""
        now = time.monotonic()
        if not slots or now - self._last_published < PUBLISH_INTERVAL_SECONDS:
            return
        self._last_published = now
        try:
            requests = await self._board.recycle_requests()
            for slot in slots:
                if requests.get(slot.name) == slot.generation:
                    slot.taint("requested")
            rows = {slot.name: slot_status(slot, self.holder) for slot in slots}
            changed = {name: row for name, row in rows.items() if self._published.get(name) != row}
            if changed:
                await self._board.publish(changed)
            self._published = rows
        except PipelineError as error:
            log.warning("cannot publish the status of slots: %s", error, extra={"event": "slot.status_unpublished"})


def slot_status(slot: Slot, holder: str = "") -> dict[str, Any]:
    """Return the status row of a slot. Times are seconds since 1970."""
    return {
        "holder": holder,
        "generation": slot.generation,
        "uses": slot.jobs_served,
        "born": slot.lifetime.started,
        "count": slot.jobs,
        "draining": bool(slot.in_doubt) and slot.jobs > 0,
        "jobs": [
            [label.recipe, label.container, label.name[:MAX_NAME_CHARACTERS], round(request.started, 1)]
            for request in slot.requests
            if (label := request.job_label)
        ][:MAX_JOBS_PER_SLOT],
    }
