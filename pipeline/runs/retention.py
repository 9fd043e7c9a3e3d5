"""Retention: tasks that delete old bookkeeping. They are bounded in time, and a failing one stops no other.

A task works in steps. The timer gives each task some seconds, and the next timer continues at the stored position.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pipeline.errors import TransientError
from pipeline.runs.active_recipes import ActiveRecipes
from pipeline.runs.model import now
from pipeline.storage import RunStore
from pipeline.telemetry import logger

log = logger(__name__)
KEY = "positions"
Step = Callable[[str], Awaitable[tuple[int, str]]]
"""Continue at a position, empty at first: return the number of deletions, and the next position, empty at the end."""


@dataclass(frozen=True)
class RetentionTask:
    """One kind of bookkeeping and its deletion. Its rounds begin at least `interval` apart."""

    name: str
    step: Step
    interval: timedelta = timedelta(hours=1)


@dataclass(frozen=True)
class Retention:
    """Apply the tasks, each for at most about `seconds`, measured by `clock`."""

    store: RunStore
    active: ActiveRecipes
    tasks: Sequence[RetentionTask]
    seconds: float = 20.0
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)

    async def apply(self) -> dict[str, int]:
        """Continue every task that is due. Returns the number of deletions by task.

        Only the newest deployment deletes: an older one may know fewer recipes.
        """
        if not await self.active.publish():
            return {}
        stored = await self.store.get("retention", KEY)
        places: dict[str, Any] = dict(stored.content) if stored else {}
        counts = {}
        for task in self.tasks:
            place = _place(places.get(task.name))
            if place["at"] or not place["began"] or now() - datetime.fromisoformat(place["began"]) >= task.interval:
                counts[task.name], places[task.name] = await self._continue(task, place)
        if stored:
            await self.store.replace("retention", KEY, stored, places)
        else:
            await self.store.create("retention", KEY, places)
        return counts

    async def _continue(self, task: RetentionTask, place: dict[str, str]) -> tuple[int, dict[str, str]]:
        """Continue a task at its place. Returns the number of deletions and the next place."""
        at, began = place["at"], place["began"] if place["at"] else now().isoformat()
        count, end = 0, self.clock() + self.seconds
        try:
            while True:
                deleted, at = await task.step(at)
                count += deleted
                if not at or self.clock() >= end:
                    break
        except Exception as error:
            # Only a service that is away leaves the position usable; anything else starts a new round.
            if isinstance(error, TransientError):
                began = began if at else place["began"]  # a round that has not begun is due again at once
            else:
                at = ""
            log.warning(
                "retention of %s failed: %s", task.name, error, exc_info=True, extra={"event": "retention.failed"}
            )
        if count:
            log.info("retention deleted %d %s", count, task.name, extra={"event": "retention.applied"})
        return count, {"at": at, "began": began}


def _place(stored: Any) -> dict[str, str]:  # noqa: ANN401 - JSON
    """Return the place of a task. One that an edit by hand has made unreadable starts a new round."""
    match stored:
        case {"at": str(at), "began": str(began)}:
            with suppress(ValueError):
                if not began or datetime.fromisoformat(began).tzinfo:
                    return {"at": at, "began": began}
    return {"at": "", "began": ""}
