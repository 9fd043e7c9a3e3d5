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
EVERY = 10.0
# Of the jobs in a slot so many are told of, and so much of a name.
MOST_JOBS, LONGEST_NAME = 4, 200


class Board(Protocol):
    """Where it is written down."""

    async def tell(self, rows: Mapping[str, dict[str, Any]]) -> None:
        """Replace what is told of these slots, by their names."""

    async def asked(self) -> dict[str, int]:
        """The slots whose sessions somebody wants to be ended, and the generations of those sessions."""


class Telling:
    """This process's part in that."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._told: dict[str, dict[str, Any]] = {}
        self._last = 0.0
        self.holder = secrets.token_hex(4)
        """What this process calls itself in the documents of its slots, so that what it tells is known to be its."""

    async def tell(self, slots: Sequence[Slot]) -> None:
        """Look what is asked for, and tell what has changed, if it is time."""
        now = time.monotonic()
        if not slots or now - self._last < EVERY:
            return
        self._last = now
        try:
            asked = await self._board.asked()
            for slot in slots:
                if asked.get(slot.name) == slot.generation:
                    slot.doubt = slot.doubt or "asked for"
            rows = {slot.name: told(slot, self.holder) for slot in slots}
            changed = {name: row for name, row in rows.items() if self._told.get(name) != row}
            if changed:
                await self._board.tell(changed)
            self._told = rows
        except PipelineError as error:
            log.warning("what goes on in the slots cannot be told now: %s", error)


def told(slot: Slot, holder: str = "") -> dict[str, Any]:
    """What is told of a slot. Times are seconds since 1970."""
    jobs = [seat for seat in slot.seats if seat.doing]
    return {
        "holder": holder,
        "generation": slot.generation,
        "uses": slot.used,
        "born": slot.life.born,
        "count": slot.jobs,
        "draining": bool(slot.in_doubt) and slot.jobs > 0,
        "jobs": [
            [seat.doing.recipe, seat.doing.container, seat.doing.name[:LONGEST_NAME], round(seat.since, 1)]
            for seat in jobs[:MOST_JOBS]
            if seat.doing
        ],
    }
