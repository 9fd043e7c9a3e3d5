"""HTTP handlers: show the session pool, and recycle a slot."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.api.http import Request, Response
from pipeline.monitoring.pool_overview import PoolMonitor, PoolOverview, SlotOverview


class SlotDocument(SlotOverview):
    """One slot, as its holder published it at most 10 s ago, or as its last holder stored it."""

    recycle: str
    """URL to recycle the slot with POST."""


class PoolDocument(PoolOverview):
    """All slots, their number by state, and the billed session-hours."""

    slots: tuple[SlotDocument, ...]


@dataclass(frozen=True)
class PoolHandlers:
    """Handlers of the session pool."""

    monitor: PoolMonitor

    async def show(self, request: Request) -> Response:
        """Handle `GET /api/pool`: return all slots."""
        overview, links = await self.monitor.overview(), request.links
        slots = tuple(
            SlotDocument(**dict(slot), recycle=links.to("pool", "slots", str(slot.number), "recycle"))
            for slot in overview.slots
        )
        return Response(PoolDocument(**{**dict(overview), "slots": slots}))

    async def recycle(self, request: Request) -> Response:
        """Handle `POST /api/pool/slots/{number}/recycle`: end the session of a slot after its running jobs."""
        result = await self.monitor.recycle(request.parameter("number"))
        return Response(result, 200 if result.outcome in ("ended", "no_session") else 202)
