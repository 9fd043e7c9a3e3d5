"""How processes come to hold about as many slots each: who wants more says so, who has too many gives them up."""

from __future__ import annotations

import time
from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

from pipeline.errors import PipelineError
from pipeline.pool.slot import SlotDocuments
from pipeline.telemetry import logger

log = logger(__name__)

# How often a process that could do with more slots says so, and one that has several looks who does.
REBALANCE_INTERVAL_SECONDS = 5.0


class SlotDemand(NamedTuple):
    """How many slots a process holds, and whether it has work for more."""

    held: int
    more: bool


def fair_share(capacity: int, wishes: Sequence[SlotDemand]) -> int:
    """The most that one process is to hold of so many slots, all wishes considered, its own among them.

    Whoever does not want more keeps what it has, up to there; the others share the rest evenly.
    """
    left, sharers = capacity, len(wishes)
    for wish in sorted(wishes, key=lambda wish: wish.held):
        if not wish.more and wish.held * sharers <= left:
            left, sharers = left - wish.held, sharers - 1
    return max(1, ceil(left / sharers)) if sharers else capacity


class SlotRebalancer:
    """This process's part in that. It costs a call every few seconds, and none for a process that is alone and idle."""

    def __init__(self, documents: SlotDocuments, capacity: int) -> None:
        self._documents, self._capacity = documents, capacity
        self._others: list[SlotDemand] = []
        self._looked = self._said_at = 0.0
        self._said: bool | None = None
        self.most = capacity
        """How many slots this process may hold, as far as is known of the others."""

    async def publish_demand(self, held: int, *, more: bool) -> None:
        """Let the others know what this process holds, and whether it has work for more; nothing if nobody asks."""
        now = time.monotonic()
        saying = more if more or (held > 1 and self._wanted) else None
        if saying == self._said and (saying is None or now - self._said_at < REBALANCE_INTERVAL_SECONDS):
            return
        try:
            if saying is None:
                await self._documents.withdraw_demand()
            else:
                await self._documents.publish_demand(held, more=saying)
        except PipelineError as error:
            log.warning("cannot tell others of the slots held here: %s", error)
        else:
            self._said, self._said_at = saying, now

    async def surplus(self, held: int, *, more: bool) -> int:
        """How many of `held` slots to give up to others that have work for them."""
        now = time.monotonic()
        if now - self._looked < REBALANCE_INTERVAL_SECONDS or not (more or held > 1):
            return 0
        self._looked = now
        try:
            self._others = [SlotDemand(*wish) for wish in await self._documents.demands()]
        except PipelineError as error:
            log.warning("cannot see who asks for slots: %s", error)
            return 0
        self.most = self._due(held, more=more) if self._wanted else self._capacity
        return max(0, held - self.most)

    def _due(self, held: int, *, more: bool) -> int:
        """How many this process is to hold. Two more than one who asks is one too many, whatever the others say."""
        most = fair_share(self._capacity, [SlotDemand(held, more), *self._others])
        least = min(wish.held for wish in self._others if wish.more)
        return min(most, held - 1) if held >= least + 2 else most

    @property
    def _wanted(self) -> bool:
        return any(wish.more for wish in self._others)
