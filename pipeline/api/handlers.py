"""Description of a route, and all HTTP handlers of the API, composed from the services of a process."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

from pydantic import BaseModel

from pipeline.api.http import Request, Response
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
    """The handlers by resource."""

    submit: SubmitHandlers
    jobs: JobHandlers
    images: ImageHandlers
    failures: FailureHandlers
    runs: RunHandlers
    recipes: RecipeHandlers
    preview: PreviewHandlers
    monitoring: MonitoringHandlers
    pauses: PauseHandlers

    @classmethod
    def of(cls, services: Services) -> Self:
        """Compose the handlers. This is cheap: they hold references only."""
        settings, jobs = services.settings, services.jobs
        keys = IdempotencyKeys(services.idempotency, settings.idempotency_ttl_hours)
        images = ImageHandlers(settings, jobs, services.sources, services.renditions)
        return cls(
            submit=SubmitHandlers(settings, jobs, services.dispatcher, keys, images),
            jobs=JobHandlers(jobs, settings.input_container),
            images=images,
            failures=FailureHandlers(jobs),
            runs=RunHandlers(services.runs, services.planner, keys),
            recipes=RecipeHandlers(services.recipes, settings.adhoc_recipes),
            preview=PreviewHandlers(settings, services.previewer),
            monitoring=MonitoringHandlers(settings, services.pool_monitor, services.health, services.statistics),
            pauses=PauseHandlers(services.admission.pauses),
        )


Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Route:
    """One endpoint. `responses` are documents or media types by status; `problems` are the statuses of problems."""

    name: str
    method: str
    path: str
    handler: Callable[[Handlers], Handler]
    summary: str
    responses: Mapping[int, type[BaseModel] | tuple[type[BaseModel] | str, ...]]
    problems: tuple[int, ...] = ()
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    form: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def methods(self) -> tuple[str, ...]:
        """The HTTP methods that the endpoint allows: GET implies HEAD."""
        return ("GET", "HEAD") if self.method == "GET" else (self.method,)
