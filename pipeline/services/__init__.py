"""Composition root: the dependency container of a process.

`Services` creates the clients, and builds the objects that do the work from the parts they use. Only the edges hold the
container: function triggers, routes and commands. Everything below takes its collaborators instead.

Each property imports the modules that it composes: a function that the platform starts for one trigger loads no others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from pipeline import telemetry
from pipeline.recipes import load_recipes
from pipeline.services.clients import pool_client
from pipeline.services.runs import RunServices
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.monitoring.health import HealthMonitor
    from pipeline.monitoring.pool_overview import PoolMonitor, StatisticsCollector

__all__ = ["Services", "ServicesProvider", "pool_client"]


class Services(RunServices):
    """The clients of a process, and the objects built from them. Each of those is built at its first use."""

    @cached_property
    def pool_monitor(self) -> PoolMonitor:
        """Reads the state of the slots, and recycles them."""
        from pipeline.monitoring.pool_overview import PoolMonitor

        return PoolMonitor(self.settings, self.slot_documents, self.slot_status, self.scheduler, self.pool)

    @cached_property
    def health(self) -> HealthMonitor:
        """Checks the dependencies."""
        from pipeline.monitoring.health import HealthMonitor

        return HealthMonitor(self.settings, self.account, self.ledger, self.run_store, self.pool, self.admission)

    @cached_property
    def statistics(self) -> StatisticsCollector:
        """Collects statistics."""
        from pipeline.monitoring.pool_overview import StatisticsCollector

        return StatisticsCollector(self.ledger.metrics, self.job_queue, self.run_queue, self.pool_monitor)


class ServicesProvider:
    """Provide the services of this process, opened at first use: clients belong to the event loop they are created in.

    Settings and recipes are loaded at once, so that the app fails at its start if they are invalid.
    """

    def __init__(self, environ: Mapping[str, str], *, ignore_unknown_settings: bool = False) -> None:
        """Load settings and recipes from `environ`. Raises ConfigError if they are invalid."""
        telemetry.quiet_libraries()
        self._environ = environ
        self.settings = Settings.load(environ, ignore_unknown=ignore_unknown_settings)
        self.recipes = load_recipes(self.settings)
        self._services: Services | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def services(self) -> Services:
        """Return the services of the running event loop."""
        loop = asyncio.get_running_loop()
        if self._services is None or self._loop is not loop:
            self._services, self._loop = Services.open(self.settings, self.recipes, self._environ), loop
        return self._services
