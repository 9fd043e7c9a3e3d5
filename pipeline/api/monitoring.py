"""HTTP handlers of monitoring: session pool, health, version and statistics; and recycling a slot."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from pipeline.api.http import RETRY_AFTER_SECONDS, Request, Response
from pipeline.monitoring.document import Document
from pipeline.monitoring.health import HealthMonitor, version_info
from pipeline.monitoring.pool_overview import PoolMonitor, PoolOverview, SlotOverview, StatisticsCollector
from pipeline.settings import Settings


class SlotDocument(SlotOverview):
    """One slot, as its holder published it at most 10 s ago, or as its last holder stored it."""

    recycle: str
    """URL to recycle the slot with POST."""


class PoolDocument(PoolOverview):
    """All slots, their number by state, and the billed session-hours."""

    slots: tuple[SlotDocument, ...]


class StatsQuery(Document):
    """Query of the statistics."""

    minutes: Annotated[int, Field(ge=1, le=48 * 60)] = 60
    """Length of the period in minutes, up to now."""


@dataclass(frozen=True)
class MonitoringHandlers:
    """Handlers of the session pool, health, version and statistics."""

    settings: Settings
    pool: PoolMonitor
    health: HealthMonitor
    statistics: StatisticsCollector

    async def show_pool(self, request: Request) -> Response:
        """Handle `GET /api/pool`: return all slots."""
        overview, links = await self.pool.overview(), request.links
        slots = tuple(
            SlotDocument(**dict(slot), recycle=links.to("pool", "slots", str(slot.number), "recycle"))
            for slot in overview.slots
        )
        return Response(PoolDocument(**{**dict(overview), "slots": slots}))

    async def recycle_slot(self, request: Request) -> Response:
        """Handle `POST /api/pool/slots/{number}/recycle`: end the session of a slot after its running jobs."""
        result = await self.pool.recycle(request.parameter("number"))
        return Response(result, 200 if result.outcome in ("ended", "no_session") else 202)

    async def show_health(self, _: Request) -> Response:
        """Handle `GET /api/health`: status 200 if every dependency is healthy, else 503."""
        health = await self.health.check()
        return Response(health) if health.healthy else Response(health, 503, {"Retry-After": str(RETRY_AFTER_SECONDS)})

    async def show_version(self, _: Request) -> Response:
        """Handle `GET /api/version`: return versions and limits."""
        return Response(version_info(self.settings))

    async def show_statistics(self, request: Request) -> Response:
        """Handle `GET /api/stats`: return throughput, queue depths and slot counts."""
        return Response(await self.statistics.collect(request.query(StatsQuery).minutes))
