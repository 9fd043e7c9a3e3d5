"""What goes on in each slot, told to all: jobs under way, written down every few seconds while something changes.

Whoever looks at the pool sees what every process does there, and can ask the holder of a slot to end its session: it
looks for that as often as it tells. No call is made for a job.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pipeline.errors import PipelineError
from pipeline.pool.slot import Slot
from pipeline.telemetry import logger

log = logger(__name__)
PUBLISH_INTERVAL_SECONDS = 10.0
# Of the jobs in a slot so many are told of, and so much of a name.
MAX_JOBS_PER_SLOT, MAX_NAME_CHARACTERS = 4, 200


class StatusTable(Protocol):
    """Where it is written down."""

    async def publish(self, rows: Mapping[str, dict[str, Any]]) -> None:
        """Replace what is told of these slots, by their names."""

    async def recycle_requests(self) -> dict[str, int]:
        """The slots whose sessions somebody wants to be ended, and the generations of those sessions."""


class SlotStatusPublisher:
    """This process's part in that."""

    def __init__(self, board: StatusTable) -> None:
        self._board = board
        self._told: dict[str, dict[str, Any]] = {}
        self._last = 0.0
        self.holder = secrets.token_hex(4)
        """What this process calls itself in the documents of its slots, so that what it tells is known to be its."""

    async def publish(self, slots: Sequence[Slot]) -> None:
        """Look what is asked for, and tell what has changed, if it is time."""
        now = time.monotonic()
        if not slots or now - self._last < PUBLISH_INTERVAL_SECONDS:
            return
        self._last = now
        try:
            asked = await self._board.recycle_requests()
            for slot in slots:
                if asked.get(slot.name) == slot.generation:
                    slot.recycle_reason = slot.recycle_reason or "asked for"
            rows = {slot.name: slot_status(slot, self.holder) for slot in slots}
            changed = {name: row for name, row in rows.items() if self._told.get(name) != row}
            if changed:
                await self._board.publish(changed)
            self._told = rows
        except PipelineError as error:
            log.warning("what goes on in the slots cannot be told now: %s", error)


def slot_status(slot: Slot, holder: str = "") -> dict[str, Any]:
    """What is told of a slot. Times are seconds since 1970."""
    jobs = [seat for seat in slot.requests if seat.job_label]
    return {
        "holder": holder,
        "generation": slot.generation,
        "uses": slot.used,
        "born": slot.lifetime.started,
        "count": slot.jobs,
        "draining": bool(slot.in_doubt) and slot.jobs > 0,
        "jobs": [
            [
                seat.job_label.recipe,
                seat.job_label.container,
                seat.job_label.name[:MAX_NAME_CHARACTERS],
                round(seat.since, 1),
            ]
            for seat in jobs[:MAX_JOBS_PER_SLOT]
            if seat.job_label
        ],
    }
