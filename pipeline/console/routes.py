"""Routes of the console, and the composition of its pages from the services of a process."""

from __future__ import annotations

import re
from dataclasses import dataclass

import azure.functions as func

from pipeline.console import responses
from pipeline.console.auth import CONSOLE_PATH, Role, cookie_header
from pipeline.console.cache import SWRCache
from pipeline.console.failures import FailurePages
from pipeline.console.images import ImageFiles
from pipeline.console.jobs import JobPages
from pipeline.console.overview import OverviewPage
from pipeline.console.playground import PlaygroundPages
from pipeline.console.pool import PoolPages
from pipeline.console.recipes import RecipePages
from pipeline.console.request import ConsoleRequest, Handler
from pipeline.console.runs import RunPages
from pipeline.services import Services


@dataclass(frozen=True)
class Route:
    """A page or an action: its method, the pattern of its path below the console's, and the required role."""

    method: str
    pattern: re.Pattern[str]
    role: Role
    handler: Handler


def routes(services: Services, cache: SWRCache) -> tuple[Route, ...]:
    """Compose the pages, and return their routes. The first route that matches a request handles it."""
    settings, recipe_file, ledger = services.settings, services.recipes, services.ledger
    overview = OverviewPage(
        settings.input_container,
        ledger,
        services.job_queue,
        services.runs,
        services.pool_monitor,
        services.health,
        cache,
    )
    jobs = JobPages(settings, recipe_file, ledger, services.jobs)
    failures = FailurePages(recipe_file, ledger, services.jobs, cache)
    images = ImageFiles(settings, ledger, services.sources, services.renditions)
    runs = RunPages(settings, recipe_file, services.runs, services.planner)
    recipes = RecipePages(recipe_file, ledger)
    playground = PlaygroundPages(settings, recipe_file, ledger, services.sources, services.previewer)
    pool = PoolPages(settings, services.pool_monitor)
    return (
        _route("POST", r"sign-out", "read", _sign_out),
        _route("GET", r"", "read", overview.show),
        _route("GET", r"jobs", "read", jobs.index),
        _route("GET", r"jobs/(?P<id>[^/]+)", "read", jobs.show),
        _route("POST", r"jobs/(?P<id>[^/]+)/retry", "write", jobs.retry),
        _route("POST", r"jobs/(?P<id>[^/]+)/dismiss", "write", jobs.dismiss),
        _route("GET", r"failures", "read", failures.index),
        _route("POST", r"failures/retry", "write", failures.retry),
        _route("POST", r"failures/dismiss", "write", failures.dismiss),
        _route("GET", r"images/blob", "read", images.blob),
        _route("GET", r"images/(?P<id>[^/]+)/source", "read", images.source),
        _route("GET", r"images/(?P<id>[^/]+)/rendition/(?P<name>[^/]+)", "read", images.rendition),
        _route("GET", r"runs", "read", runs.index),
        _route("GET", r"runs/plan", "write", runs.form),
        _route("POST", r"runs/plan", "write", runs.plan),
        _route("GET", r"runs/plans/(?P<id>[^/]+)", "read", runs.review),
        _route("POST", r"runs/plans/(?P<id>[^/]+)/continue", "write", runs.continue_planning),
        _route("POST", r"runs/plans/(?P<id>[^/]+)/start", "write", runs.start),
        _route("GET", r"runs/(?P<id>[^/]+)", "read", runs.show),
        _route("POST", r"runs/(?P<id>[^/]+)/cancel", "write", runs.cancel),
        _route("POST", r"runs/(?P<id>[^/]+)/resume", "write", runs.resume),
        _route("GET", r"recipes", "read", recipes.index),
        _route("GET", r"recipes/(?P<name>[^/]+)", "read", recipes.show),
        _route("GET", r"playground", "read", playground.show),
        _route("POST", r"playground", "write", playground.submit),
        _route("GET", r"pool", "read", pool.show),
        _route("POST", r"pool/(?P<number>[0-9]{1,6})/recycle", "write", pool.recycle),
    )


def _route(method: str, pattern: str, role: Role, handler: Handler) -> Route:
    return Route(method, re.compile(pattern), role, handler)


async def _sign_out(request: ConsoleRequest) -> func.HttpResponse:
    """`POST sign-out`: delete the cookie."""
    return responses.redirect(CONSOLE_PATH, Set_Cookie=cookie_header("", request.http, 0))
