"""How processes come to hold about as many slots each: who has work for more says so, who has more gives one up."""

from __future__ import annotations

import time

from pipeline.errors import PipelineError
from pipeline.sessions.slot import Documents
from pipeline.telemetry import logger

log = logger(__name__)

# How often a process that could do with more slots says so, and one that has several looks who does.
EVERY = 5.0
# After a process has given one up, those who asked for it have so long to find it first.
POLITE = 2 * EVERY


class Sharing:
    """This process's part in that. It costs a call every few seconds, and none for a process that is alone and idle."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._wished = self._looked = self._polite_until = 0.0

    @property
    def polite(self) -> bool:
        """Whether to leave free slots to others for now."""
        return time.monotonic() < self._polite_until

    async def wish(self, held: int, *, more: bool) -> None:
        """Say whether this process, which holds so many, has work for more."""
        now = time.monotonic()
        if more and now - self._wished >= EVERY:
            self._wished = now
            await self._documents.wish(held)
        elif self._wished and not more:
            self._wished = 0.0
            await self._documents.wish_no_more()

    async def too_many(self, held: int) -> bool:
        """Whether to give one of `held` slots up: another process that has work for more has two less."""
        now = time.monotonic()
        if held < 2 or now - self._looked < EVERY:
            return False
        self._looked = now
        try:
            wishes = await self._documents.wishes()
        except PipelineError as error:
            log.warning("cannot see who asks for slots: %s", error)
            return False
        if not wishes or min(wishes) + 2 > held:
            return False
        self._polite_until = now + POLITE
        return True
