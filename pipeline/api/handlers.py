"""Description of a route, and all HTTP handlers of the API, composed from the services of a process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from pipeline.api.http import Request, Response

if TYPE_CHECKING:
    from pipeline.api.idempotency import IdempotencyKeys
    from pipeline.api.images import ImageHandlers
    from pipeline.api.jobs import FailureHandlers, JobHandlers
    from pipeline.api.monitoring import MonitoringHandlers
    from pipeline.api.pauses import PauseHandlers
    from pipeline.api.recipes import PreviewHandlers, RecipeHandlers
    from pipeline.api.runs import RunHandlers
    from pipeline.api.submit import SubmitHandlers
    from pipeline.services import Services


@dataclass(frozen=True)
class Handlers:
    """The handlers by resource. Each is composed, and its module imported, at its first use."""

    services: Services

    @cached_property
    def keys(self) -> IdempotencyKeys:
        """Idempotency-Keys of requests."""
        from pipeline.api.idempotency import IdempotencyKeys

        return IdempotencyKeys(self.services.idempotency, self.services.settings.idempotency_ttl_hours)

    @cached_property
    def images(self) -> ImageHandlers:
        """Handlers of renditions and sources."""
        from pipeline.api.images import ImageHandlers

        return ImageHandlers(
            self.services.settings, self.services.jobs, self.services.sources, self.services.renditions
        )

    @cached_property
    def submit(self) -> SubmitHandlers:
        """Handlers of new jobs."""
        from pipeline.api.submit import SubmitHandlers

        return SubmitHandlers(
            self.services.settings, self.services.jobs, self.services.dispatcher, self.keys, self.images
        )

    @cached_property
    def jobs(self) -> JobHandlers:
        """Handlers of jobs."""
        from pipeline.api.jobs import JobHandlers

        return JobHandlers(self.services.jobs, self.services.settings.input_container)

    @cached_property
    def failures(self) -> FailureHandlers:
        """Handlers of failures."""
        from pipeline.api.jobs import FailureHandlers

        return FailureHandlers(self.services.jobs)

    @cached_property
    def runs(self) -> RunHandlers:
        """Handlers of runs."""
        from pipeline.api.runs import RunHandlers

        return RunHandlers(self.services.runs, self.services.planner, self.keys)

    @cached_property
    def recipes(self) -> RecipeHandlers:
        """Handlers of recipes."""
        from pipeline.api.recipes import RecipeHandlers

        return RecipeHandlers(self.services.recipes, self.services.settings.adhoc_recipes)

    @cached_property
    def preview(self) -> PreviewHandlers:
        """Handlers of previews."""
        from pipeline.api.recipes import PreviewHandlers

        return PreviewHandlers(self.services.settings, self.services.previewer)

    @cached_property
    def monitoring(self) -> MonitoringHandlers:
        """Handlers of the session pool, health, version and statistics."""
        from pipeline.api.monitoring import MonitoringHandlers

        return MonitoringHandlers(
            self.services.settings, self.services.pool_monitor, self.services.health, self.services.statistics
        )

    @cached_property
    def pauses(self) -> PauseHandlers:
        """Handlers of pauses."""
        from pipeline.api.pauses import PauseHandlers

        return PauseHandlers(self.services.admission.pauses)


Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Route:
    """One endpoint. Its contract in `pipeline.api.contracts` has the same name."""

    name: str
    method: str
    path: str
    handler: Callable[[Handlers], Handler]
    summary: str

    @property
    def methods(self) -> tuple[str, ...]:
        """The HTTP methods that the endpoint allows: GET implies HEAD."""
        return ("GET", "HEAD") if self.method == "GET" else (self.method,)
