"""HTTP handlers: health, version and statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from pipeline.api.http import Request, Response
from pipeline.api.problems import RETRY_AFTER_SECONDS
from pipeline.monitoring.document import Document
from pipeline.monitoring.health import HealthMonitor, version_info
from pipeline.monitoring.statistics import StatisticsCollector
from pipeline.settings import Settings


class StatsQuery(Document):
    """Query of the statistics."""

    minutes: Annotated[int, Field(ge=1, le=48 * 60)] = 60
    """Length of the period in minutes, up to now."""


@dataclass(frozen=True)
class StatusHandlers:
    """Handlers of health, version and statistics."""

    settings: Settings
    health: HealthMonitor
    statistics: StatisticsCollector

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
