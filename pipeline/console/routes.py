"""Which page answers an address, and who may ask for it."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, replace
from urllib.parse import quote, urlsplit

import azure.functions as func

from pipeline.console import failures, images, jobs, overview, playground, pool, recipes, responses, runs, templates
from pipeline.console.auth import (
    PATH,
    Principal,
    Role,
    cookie,
    csrf_token,
    csrf_valid,
    is_within,
    local,
    principal,
    sign_cookie,
)
from pipeline.console.cache import forget
from pipeline.console.request import ConsoleRequest, Handler
from pipeline.errors import PipelineError, TransientError
from pipeline.services import Services
from pipeline.storage.shared_secret import SharedSecret
from pipeline.telemetry import logger

log = logger(__name__)
SECRET = "console/secret"  # noqa: S105 - where it is, not what it is
LOOKING, CHANGING = 20.0, 200.0
"""The longest that a page, or an action, may take, in seconds."""


@dataclass(frozen=True)
class Route:
    """A page or an action: its method, the pattern of its address below the console's, and who may ask for it."""

    method: str
    pattern: re.Pattern[str]
    role: Role
    handler: Handler


def _route(method: str, pattern: str, role: Role, handler: Handler) -> Route:
    return Route(method, re.compile(pattern), role, handler)


async def _sign_out(visit: ConsoleRequest) -> func.HttpResponse:
    """`POST sign-out`: take the cookie away."""
    return responses.go_to(PATH, Set_Cookie=cookie("", visit.request, 0))


ROUTES = (
    _route("POST", r"sign-out", "read", _sign_out),
    _route("GET", r"", "read", overview.show),
    _route("GET", r"jobs", "read", jobs.index),
    _route("GET", r"jobs/(?P<id>[^/]+)", "read", jobs.show),
    _route("POST", r"jobs/(?P<id>[^/]+)/retry", "write", jobs.retry),
    _route("POST", r"jobs/(?P<id>[^/]+)/dismiss", "write", jobs.dismiss),
    _route("GET", r"failures", "read", failures.index),
    _route("POST", r"failures/retry", "write", failures.retry),
    _route("POST", r"failures/dismiss", "write", failures.dismiss),
    _route("GET", r"pictures/blob", "read", images.blob),
    _route("GET", r"pictures/(?P<id>[^/]+)/source", "read", images.source),
    _route("GET", r"pictures/(?P<id>[^/]+)/rendition/(?P<name>[^/]+)", "read", images.rendition),
    _route("GET", r"runs", "read", runs.index),
    _route("GET", r"runs/plan", "write", runs.form),
    _route("POST", r"runs/plan", "write", runs.plan),
    _route("GET", r"runs/plans/(?P<id>[^/]+)", "read", runs.review),
    _route("POST", r"runs/plans/(?P<id>[^/]+)/continue", "write", runs.go_on),
    _route("POST", r"runs/plans/(?P<id>[^/]+)/start", "write", runs.start),
    _route("GET", r"runs/(?P<id>[^/]+)", "read", runs.show),
    _route("POST", r"runs/(?P<id>[^/]+)/cancel", "write", runs.cancel),
    _route("POST", r"runs/(?P<id>[^/]+)/resume", "write", runs.resume),
    _route("GET", r"recipes", "read", recipes.index),
    _route("GET", r"recipes/(?P<name>[^/]+)", "read", recipes.show),
    _route("GET", r"playground", "read", playground.show),
    _route("POST", r"playground", "write", playground.work),
    _route("GET", r"pool", "read", pool.show),
    _route("POST", r"pool/(?P<number>[0-9]{1,6})/recycle", "write", pool.recycle),
)


class Console:
    """The console of one process. `answer` never raises."""

    def __init__(self) -> None:
        self._known: tuple[Services, SharedSecret] | None = None

    async def answer(self, services: Services, request: func.HttpRequest) -> func.HttpResponse:
        """A page, or a page that says why there is none. HEAD gets what GET gets; servers leave the body out."""
        try:
            return await self._answer(services, request)
        except Exception:  # the boundary: no traceback may reach a user
            log.exception("a bug: not even a page that says so can be made")
            return _simple(500, "Something is broken. The log has the details.")

    async def _answer(self, services: Services, request: func.HttpRequest) -> func.HttpResponse:
        if not is_within(urlsplit(request.url).path.lower()):
            return _simple(404, f"The console is at {PATH} alone: routePrefix in host.json must be 'api' for it.")
        rest = request.route_params.get("page", "").strip("/")
        if rest.startswith("static/"):
            found = templates.static(rest.removeprefix("static/"))
            return responses.file(found.data, found.content_type, found.tag) if found else _simple(404, "no such file")
        try:
            async with asyncio.timeout(LOOKING if _method(request) == "GET" else CHANGING):
                return await self._guarded(services, request, rest)
        except TimeoutError:
            late = TransientError(
                "Storage, or the pool, takes too long to answer. Look again in a moment.", kind="slow"
            )
            return _trouble(None, "", late)
        except PipelineError as error:
            return _trouble(None, "", error)

    async def _guarded(self, services: Services, request: func.HttpRequest, rest: str) -> func.HttpResponse:
        """The page, for whoever may see it."""
        secret = await self._secret(services)
        who = principal(request, services.settings, secret)
        if who is None:
            return _sign_in(services, request)
        return await self._page(ConsoleRequest(services, request, who, csrf_token(who, secret), {}), rest, secret)

    async def admit(self, services: Services, request: func.HttpRequest, role: Role) -> func.HttpResponse:
        """A cookie in exchange for a function key, which the host has checked before it called us."""
        if services.settings.console_access != "keys":
            return _simple(404, "the console takes no function keys here (PIPELINE_CONSOLE_ACCESS)")
        try:
            secret = await self._secret(services)
        except PipelineError as error:
            return _trouble(None, "", error)
        hours = services.settings.console_session_hours
        given = cookie(sign_cookie(role, hours, secret), request, hours)
        return responses.go_to(local(request.params.get("next", "")), Set_Cookie=given)

    async def _secret(self, services: Services) -> bytes:
        """The secret behind cookies and forms; one per set of services, which a process has one of."""
        if self._known is None or self._known[0] is not services:
            self._known = services, SharedSecret(services.account, services.settings.state_container, SECRET)
        return await self._known[1].get()

    async def _page(self, visit: ConsoleRequest, rest: str, secret: bytes) -> func.HttpResponse:
        # The first that fits is to stay.
        fitting = [(route, match) for route in reversed(ROUTES) if (match := route.pattern.fullmatch(rest))]
        found = {route.method: (route, match) for route, match in fitting}
        if not found:
            return _told(visit.who, visit.token, visit, 404, "Not found", "There is no such page.")
        if _method(visit.request) not in found:
            allowed = ", ".join(sorted({*found, *(["HEAD"] if "GET" in found else [])}))
            message = f"This address takes {allowed}, not {visit.request.method}."
            return _told(visit.who, visit.token, visit, 405, "Not that way", message, Allow=allowed)
        route, match = found[_method(visit.request)]
        parts = {name: value for name, value in match.groupdict().items() if value is not None}
        return await _answered(replace(visit, parts=parts), route, secret)


def _method(request: func.HttpRequest) -> str:
    return "GET" if request.method == "HEAD" else request.method


async def _answered(visit: ConsoleRequest, route: Route, secret: bytes) -> func.HttpResponse:
    try:
        _check(visit, route, secret)
        answer = await route.handler(visit)
    except PipelineError as error:
        return _trouble(visit.who, visit.token, error, visit)
    except Exception:  # the boundary: no traceback may reach a user
        log.exception("a bug: the page cannot be made")
        return _told(visit.who, visit.token, visit, 500, "Something is broken", "The log has the details.", "internal")
    if route.method == "POST":
        forget(visit.services.ledger)
    return answer


def _check(visit: ConsoleRequest, route: Route, secret: bytes) -> None:
    """Raise Refused when the visitor may not do that, or has not asked for it on a page of ours."""
    if route.role == "write" and not visit.who.may_write:
        raise Refused("You may look but not change anything: sign in with a key that may write.")
    if route.method == "POST" and not csrf_valid(visit.request, visit.who, secret, visit.form.get("token", "")):
        raise Refused("This page is out of date, or did not come from here: load it again, then repeat what you did.")


class Refused(PipelineError):  # noqa: N818 - named for what it is
    """The visitor may not do that."""

    default_kind = "forbidden"
    http = (403, "Not allowed")


def _trouble(
    who: Principal | None, form_token: str, error: PipelineError, visit: ConsoleRequest | None = None
) -> func.HttpResponse:
    return _told(who, form_token, visit, *error.status_and_title, error.message, error.kind)


def _told(
    who: Principal | None,
    form_token: str,
    visit: ConsoleRequest | None,
    status: int,
    title: str,
    message: str,
    kind: str = "",
    **headers: str,
) -> func.HttpResponse:
    """A page that says what is wrong. Nothing of the address's query is in it: that may be what is wrong."""
    html = templates.render(
        "trouble.html",
        who=who,
        token=form_token,
        path=urlsplit(visit.request.url).path if visit else PATH,
        query={},
        title=title,
        message=message,
        kind=kind,
    )
    return responses.page(html, status, **headers)


def _sign_in(services: Services, request: func.HttpRequest) -> func.HttpResponse:
    address = urlsplit(request.url)
    onward = local(address.path + (f"?{address.query}" if address.query else "")) if _method(request) == "GET" else PATH
    html = templates.render(
        "sign_in.html",
        who=None,
        token="",
        path=PATH,
        query={},
        access=services.settings.console_access,
        onward=onward,
        onward_quoted=quote(onward),
    )
    return responses.page(html, 401)


def _simple(status: int, text: str) -> func.HttpResponse:
    return func.HttpResponse(text, status_code=status, headers=responses.SAFE, mimetype="text/plain")
