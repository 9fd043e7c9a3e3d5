"""Handlers of sessions, pool metadata and health."""

import platform
from collections.abc import Callable
from functools import cache
from importlib import metadata
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from session_pool_emulator.session import Session
from session_pool_emulator.web.request_context import ApiVersion, RequestContext
from session_pool_emulator.web.responses import ApiError, bad_request, format_timestamp, json_response

_PAGE_SIZE = 300
_MAX_INT32 = 2**31 - 1


async def get_session(request: Request) -> Response:
    """Handle GET /session."""
    session = _find_session(_context(request), _not_found)
    return json_response(_session_body(session), headers={"x-ms-session-etag": session.etag})


async def delete_session(request: Request) -> Response:
    """Handle DELETE /session."""
    context = _context(request)
    if not await context.pool.delete(context.identifier):
        raise _not_found(context.identifier)
    return Response(status_code=204)


async def list_sessions(request: Request) -> Response:
    """Handle GET /listSessions."""
    sessions, next_link = _page(_context(request), _session_body)
    return json_response({"sessions": sessions} | next_link)


async def post_get_session(request: Request) -> Response:
    """Handle POST /.management/getSession."""
    return json_response(_management_body(_find_session(_context(request), _management_not_found)))


async def post_list_sessions(request: Request) -> Response:
    """Handle POST /.management/listSessions."""
    sessions, next_link = _page(_context(request), _management_body)
    return json_response({"value": sessions, "count": len(sessions)} | next_link)


async def post_stop_session(request: Request) -> Response:
    """Handle POST /.management/stopSession."""
    context = _context(request)
    if not await context.pool.delete(context.identifier):
        raise _management_not_found(context.identifier)
    return PlainTextResponse(f"Session {context.identifier} in session pool {context.pool.settings.name} stopped.")


async def get_metadata(request: Request) -> Response:
    """Handle GET /metadata: describe the Python and the packages of this process, which sessions share."""
    created_at = format_timestamp(_context(request).pool.created_at)
    kernel = {
        "name": "ipykernel",
        "version": metadata.version("ipykernel"),
        "projectUrl": "https://github.com/ipython/ipykernel",
        "description": "IPython kernel for Jupyter",
    }
    body = {
        "runtimes": [{"name": "python", "version": platform.python_version()}],
        "preInstalledPackages": _installed_packages(),
        "createdAt": created_at,
        "lastUpdatedAt": created_at,
        "jupyterKernel": kernel,
    }
    return json_response(body)


async def get_health(_: Request) -> Response:
    """Handle GET /health."""
    return json_response({"message": "healthy"})


@cache
def _installed_packages() -> list[dict[str, str]]:
    versions = {package.name.lower(): package.version for package in metadata.distributions()}
    return [{"name": name, "version": version} for name, version in sorted(versions.items())]


def _context(request: Request) -> RequestContext:
    """Return the context of a request to an operation that exists since version 2025-02-02."""
    return RequestContext.create(request, since=ApiVersion.V2025_02)


def _find_session(context: RequestContext, not_found: Callable[[str], ApiError]) -> Session:
    """Return the session of the request without allocating one; raise the `not_found` error without a session."""
    session = context.pool.find(context.identifier)
    if session is None:
        raise not_found(context.identifier)
    session.touch()
    return session


def _page(
    context: RequestContext, to_body: Callable[[Session], dict[str, Any]]
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return one page of sessions, and `nextLink` if more sessions follow."""
    text = context.request.query_params.get("skip", "0")
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= _MAX_INT32):
        raise bad_request("The query parameter 'skip' must be an integer of at least 0.", target="skip")
    end = int(text) + _PAGE_SIZE
    sessions = context.pool.sessions
    next_link = str(context.request.url.include_query_params(skip=end))
    page = [to_body(session) for session in sessions[int(text) : end]]
    return page, {"nextLink": next_link} if end < len(sessions) else {}


def _session_body(session: Session) -> dict[str, Any]:
    return {
        "identifier": session.identifier,
        "createdAt": format_timestamp(session.created_at),
        "lastAccessedAt": format_timestamp(session.last_accessed_at),
        "expireAt": format_timestamp(session.expire_at),
        "etag": session.etag,
    }


def _management_body(session: Session) -> dict[str, Any]:
    """Return the body of the `.management` operations, which call the field `expiresAt` instead of `expireAt`."""
    body = _session_body(session)
    body["expiresAt"] = body.pop("expireAt")
    return body


def _not_found(identifier: str) -> ApiError:
    return ApiError(404, "NoSessionFoundError", f"Could not find session with name '{identifier}'.")


def _management_not_found(identifier: str) -> ApiError:
    message = f"The session with identifier '{identifier}' is not found."
    return bad_request(message, code="SessionWithIdentifierNotFound", target="identifier")
