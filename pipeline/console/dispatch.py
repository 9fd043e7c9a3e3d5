"""Routes of the console, and dispatch of requests: authentication, roles, CSRF check, timeouts and error pages."""

import asyncio
import os
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from urllib.parse import quote, urlsplit

import azure.functions as func

from pipeline.console import responses, templates
from pipeline.console.auth import (
    CONSOLE_PATH,
    Role,
    authenticate,
    cookie_header,
    csrf_token,
    csrf_valid,
    ensure_platform_authenticates,
    is_console_path,
    safe_redirect,
    sign_cookie,
)
from pipeline.console.cache import SWRCache
from pipeline.console.images import ImageFiles
from pipeline.console.jobs import FailurePages, JobPages
from pipeline.console.overview import OverviewPage
from pipeline.console.playground import PlaygroundPages
from pipeline.console.pool import PoolPages
from pipeline.console.recipes import RecipePages
from pipeline.console.request import ConsoleRequest, Handler
from pipeline.console.runs import RunPages
from pipeline.errors import PipelineError, RequestError, TransientError
from pipeline.jobs.pauses import Pauses
from pipeline.services import Services
from pipeline.settings import Settings
from pipeline.storage import SharedSecret
from pipeline.telemetry import logger


@dataclass(frozen=True)
class Route:
    """A page or an action: its method, the pattern of its path below the console's, and the required role."""

    method: str
    pattern: str
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
        services.admission,
        cache,
    )
    jobs = JobPages(settings, recipe_file, ledger, services.jobs)
    failures = FailurePages(recipe_file, ledger, services.jobs, cache)
    images = ImageFiles(settings, ledger, services.sources, services.renditions, services.http_memory)
    runs = RunPages(settings, recipe_file, services.runs, services.planner)
    recipes = RecipePages(recipe_file, ledger)
    playground = PlaygroundPages(settings, recipe_file, ledger, services.sources, services.previewer)
    pool = PoolPages(settings, services.pool_monitor, services.admission)
    return (
        Route("POST", r"sign-out", "read", _sign_out),
        Route("GET", r"", "read", overview.show),
        Route("GET", r"jobs", "read", jobs.index),
        Route("GET", r"jobs/(?P<id>[^/]+)", "read", jobs.show),
        Route("POST", r"jobs/(?P<id>[^/]+)/retry", "write", jobs.retry),
        Route("POST", r"jobs/(?P<id>[^/]+)/dismiss", "write", jobs.dismiss),
        Route("GET", r"failures", "read", failures.index),
        Route("POST", r"failures/retry", "write", failures.retry),
        Route("POST", r"failures/dismiss", "write", failures.dismiss),
        Route("GET", r"images/blob", "read", images.blob),
        Route("GET", r"images/(?P<id>[^/]+)/source", "read", images.source),
        Route("GET", r"images/(?P<id>[^/]+)/rendition/(?P<name>[^/]+)", "read", images.rendition),
        Route("GET", r"runs", "read", runs.index),
        Route("GET", r"runs/plan", "write", runs.form),
        Route("POST", r"runs/plan", "write", runs.plan),
        Route("GET", r"runs/plans/(?P<id>[^/]+)", "read", runs.review),
        Route("POST", r"runs/plans/(?P<id>[^/]+)/continue", "write", runs.continue_planning),
        Route("POST", r"runs/plans/(?P<id>[^/]+)/start", "write", runs.start),
        Route("GET", r"runs/(?P<id>[^/]+)", "read", runs.show),
        Route("POST", r"runs/(?P<id>[^/]+)/cancel", "write", runs.cancel),
        Route("POST", r"runs/(?P<id>[^/]+)/resume", "write", runs.resume),
        Route("GET", r"recipes", "read", recipes.index),
        Route("GET", r"recipes/(?P<name>[^/]+)", "read", recipes.show),
        Route("GET", r"playground", "read", playground.show),
        Route("POST", r"playground", "write", playground.submit),
        Route("GET", r"pool", "read", pool.show),
        Route("POST", r"pool/(?P<number>[0-9]{1,6})/recycle", "write", pool.recycle),
        Route("POST", r"pauses/(?P<work>uploads|requests|runs)/pause", "write", pool.pause),
        Route("POST", r"pauses/(?P<work>uploads|requests|runs)/resume", "write", pool.resume),
    )


async def _sign_out(request: ConsoleRequest) -> func.HttpResponse:
    """`POST sign-out`: delete the cookie."""
    return responses.redirect(CONSOLE_PATH, Set_Cookie=cookie_header("", request.http, 0))


log = logger(__name__)
SECRET_BLOB = "console/secret"  # noqa: S105 - the name of the blob, not the secret
READ_TIMEOUT_SECONDS, WRITE_TIMEOUT_SECONDS = 20.0, 200.0


class AccessDenied(PipelineError):  # noqa: N818 - named as HTTP names it
    """The user may not do this."""

    default_kind = "forbidden"
    http = (403, "Access denied")


@dataclass(frozen=True)
class Console:
    """The console: handle requests to its pages, and sign users in. Its handlers never raise."""

    settings: Settings
    secret: SharedSecret
    pauses: Pauses
    routes: tuple[Route, ...]
    cache: SWRCache

    async def handle(self, request: func.HttpRequest) -> func.HttpResponse:
        """Return a page, or an error page. HEAD gets the response to GET; servers omit its body."""
        try:
            return await self._handle(request)
        except Exception:  # the boundary: users see no traceback
            log.exception("unexpected error of the console", extra={"event": "console.crashed"})
            return responses.plain_text(500, "Internal error. The log has the details.")

    async def sign_in(self, request: func.HttpRequest, role: Role) -> func.HttpResponse:
        """Issue a cookie for a function key. The host has checked the key before it calls the function."""
        if self.settings.console_access != "keys":
            return responses.plain_text(404, "the console accepts no function keys (PIPELINE_CONSOLE_ACCESS)")
        try:
            secret = await self.secret.get()
        except PipelineError as error:
            return _error_page(error)
        cookie = cookie_header(sign_cookie(role, secret), request, self.settings.console_session_hours)
        return responses.redirect(safe_redirect(request.params.get("next", "")), Set_Cookie=cookie)

    async def _handle(self, request: func.HttpRequest) -> func.HttpResponse:
        if not is_console_path(urlsplit(request.url).path.lower()):
            return responses.plain_text(
                404, f"The console works only at {CONSOLE_PATH}: set routePrefix in host.json to 'api'."
            )
        path = request.route_params.get("page", "").strip("/")
        if path.startswith("static/"):
            file = templates.static_file(path.removeprefix("static/"))
            if file is None:
                return responses.plain_text(404, "file not found")
            return responses.static_file(file.data, file.content_type, file.digest)
        try:
            ensure_platform_authenticates(self.settings, os.environ)
            async with asyncio.timeout(READ_TIMEOUT_SECONDS if _method(request) == "GET" else WRITE_TIMEOUT_SECONDS):
                secret = await self.secret.get()
                principal = authenticate(request, self.settings, secret)
                if principal is None:
                    return self._sign_in_page(request)
                token = csrf_token(principal, secret)
                paused, outdated = await self.pauses.current(), str(await self.pauses.outdated() or "")
                page = ConsoleRequest(request, principal, token, {}, paused, outdated)
                return await self._dispatch(page, path, secret)
        except TimeoutError:
            message = "Storage or the session pool did not respond in time. Try again in a moment."
            return _error_page(TransientError(message, kind="slow"))
        except PipelineError as error:
            return _error_page(error)

    async def _dispatch(self, request: ConsoleRequest, path: str, secret: bytes) -> func.HttpResponse:
        """Call the handler of the first route that matches."""
        # In reverse order, so that the first route of a method replaces the others.
        matches = [(route, match) for route in reversed(self.routes) if (match := re.fullmatch(route.pattern, path))]
        by_method = {route.method: (route, match) for route, match in matches}
        if not by_method:
            return _error_page(RequestError("This page does not exist.", kind="not_found"), request)
        method = request.http.method
        if _method(request.http) not in by_method:
            allowed = ", ".join(sorted({*by_method, *(["HEAD"] if "GET" in by_method else [])}))
            error = RequestError(f"{method} is not allowed. Allowed: {allowed}.", kind="method_not_allowed")
            return _error_page(error, request, Allow=allowed)
        route, match = by_method[_method(request.http)]
        parts = {name: value for name, value in match.groupdict().items() if value is not None}
        return await self._call(route, replace(request, parts=parts), secret)

    async def _call(self, route: Route, request: ConsoleRequest, secret: bytes) -> func.HttpResponse:
        """Check role and CSRF token, then call the handler of a route."""
        try:
            _authorize(route, request, secret)
            response = await route.handler(request)
        except PipelineError as error:
            return _error_page(error, request)
        except Exception:  # the boundary: users see no traceback
            log.exception("unexpected error of a page", extra={"event": "console.page_failed"})
            return _error_page(PipelineError("The log has the details.", kind="internal"), request)
        if route.method == "POST":
            self.cache.invalidate()
        return response

    def _sign_in_page(self, request: func.HttpRequest) -> func.HttpResponse:
        url = urlsplit(request.url)
        target = url.path + (f"?{url.query}" if url.query else "")
        next_url = safe_redirect(target) if _method(request) == "GET" else CONSOLE_PATH
        html = templates.render(
            "sign_in.html",
            principal=None,
            csrf_token="",
            path=CONSOLE_PATH,
            query={},
            access=self.settings.console_access,
            next_url=next_url,
            next_url_quoted=quote(next_url),
        )
        return responses.page(html, 401)


@lru_cache(maxsize=1)
def console_of(services: Services) -> Console:
    """Compose the console from the services of a process, once: its cache and its secret outlive a request."""
    cache = SWRCache()
    secret = SharedSecret(services.account, services.settings.state_container, SECRET_BLOB)
    return Console(services.settings, secret, services.admission.pauses, routes(services, cache), cache)


def _method(request: func.HttpRequest) -> str:
    return "GET" if request.method == "HEAD" else request.method


def _authorize(route: Route, request: ConsoleRequest, secret: bytes) -> None:
    """Raise AccessDenied if the user lacks the role, or if a form does not come from a page of the console."""
    if route.role == "write" and not request.principal.may_write:
        raise AccessDenied("Your role is read-only: sign in with a key that allows changes.")
    if route.method == "POST":
        token = request.form.get("csrf_token", "")
        if not csrf_valid(request.http, request.principal, secret, token):
            raise AccessDenied("This form is out of date, or comes from another site: reload the page and try again.")


def _error_page(error: PipelineError, request: ConsoleRequest | None = None, **headers: str) -> func.HttpResponse:
    """Return a page about an error. It repeats nothing of the query, which may be the cause."""
    status, title = error.status_and_title
    html = templates.render(
        "error.html",
        principal=request.principal if request else None,
        csrf_token=request.csrf_token if request else "",
        path=request.path if request else CONSOLE_PATH,
        query={},
        title=title,
        message=error.message,
        kind=error.kind,
    )
    return responses.page(html, status, **headers)
