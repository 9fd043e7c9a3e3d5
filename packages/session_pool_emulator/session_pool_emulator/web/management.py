"""Sessions themselves and the pool: look at them, end them."""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import cache
from importlib import metadata
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from session_pool_emulator.session import Session
from session_pool_emulator.web.answers import json_response, timestamp
from session_pool_emulator.web.call import Call, Version
from session_pool_emulator.web.errors import ApiError, bad_request

PAGE = 300
_INT32 = 2**31 - 1


async def get_session(request: Request) -> Response:
    """GET session."""
    call = Call.of(request, since=Version.V2025_02)
    session = call.pool.find(call.identifier)
    if session is None:
        raise _absent(call.identifier)
    session.touch()
    return json_response(_describe(session), headers={"x-ms-session-etag": session.etag})


async def delete_session(request: Request) -> Response:
    """DELETE session."""
    call = Call.of(request, since=Version.V2025_02)
    if not await call.pool.delete(call.identifier):
        raise _absent(call.identifier)
    return Response(status_code=204)


async def list_sessions(request: Request) -> Response:
    """GET listSessions."""
    call = Call.of(request, since=Version.V2025_02)
    sessions, rest = _page(call, _describe)
    return json_response({"sessions": sessions} | rest)


async def get_session_view(request: Request) -> Response:
    """POST .management/getSession."""
    call = Call.of(request, since=Version.V2025_02)
    session = call.pool.find(call.identifier)
    if session is None:
        raise _absent_in_management(call.identifier)
    session.touch()
    return json_response(_view(session))


async def list_session_views(request: Request) -> Response:
    """POST .management/listSessions."""
    call = Call.of(request, since=Version.V2025_02)
    views, rest = _page(call, _view)
    return json_response({"value": views, "count": len(views)} | rest)


async def stop_session(request: Request) -> Response:
    """POST .management/stopSession."""
    call = Call.of(request, since=Version.V2025_02)
    if not await call.pool.delete(call.identifier):
        raise _absent_in_management(call.identifier)
    return PlainTextResponse(f"Session {call.identifier} in session pool {call.pool.settings.name} stopped.")


async def get_metadata(request: Request) -> Response:
    """GET metadata: what sessions really have, which is what this server's Python has."""
    call = Call.of(request, since=Version.V2025_02)
    created = timestamp(call.pool.created_at)
    kernel = {
        "name": "ipykernel",
        "version": metadata.version("ipykernel"),
        "projectUrl": "https://github.com/ipython/ipykernel",
        "description": "IPython kernel for Jupyter",
    }
    body = {
        "runtimes": [{"name": "python", "version": platform.python_version()}],
        "preInstalledPackages": _packages(),
        "createdAt": created,
        "lastUpdatedAt": created,
        "jupyterKernel": kernel,
    }
    return json_response(body)


async def health(_: Request) -> Response:
    """GET health."""
    return json_response({"message": "healthy"})


@cache
def _packages() -> list[dict[str, str]]:
    found = {package.name.lower(): package.version for package in metadata.distributions()}
    return [{"name": name, "version": version} for name, version in sorted(found.items())]


def _page(call: Call, describe: Callable[[Session], dict[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """One page of sessions, and `nextLink` when there are more."""
    text = call.request.query_params.get("skip", "0")
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= _INT32):
        raise bad_request("The query parameter 'skip' must be a whole number, at least 0.", target="skip")
    skip = int(text)
    sessions = call.pool.sessions
    page = [describe(session) for session in sessions[skip : skip + PAGE]]
    more = skip + PAGE < len(sessions)
    return page, {"nextLink": str(call.request.url.include_query_params(skip=skip + PAGE))} if more else {}


def _describe(session: Session) -> dict[str, Any]:
    return {
        "identifier": session.identifier,
        "createdAt": timestamp(session.created_at),
        "lastAccessedAt": timestamp(session.last_accessed_at),
        "expireAt": timestamp(session.expire_at),
        "etag": session.etag,
    }


def _view(session: Session) -> dict[str, Any]:
    """The management POSTs spell one name otherwise."""
    view = _describe(session)
    view["expiresAt"] = view.pop("expireAt")
    return view


def _absent(identifier: str) -> ApiError:
    return ApiError(404, "NoSessionFoundError", f"Could not find session with name '{identifier}'.")


def _absent_in_management(identifier: str) -> ApiError:
    message = f"The session with identifier '{identifier}' is not found."
    return bad_request(message, code="SessionWithIdentifierNotFound", target="identifier")
