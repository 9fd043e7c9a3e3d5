"""Sessions themselves: look at one, end one."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from devstack.session_pool.session import Session
from devstack.session_pool.web.answers import json_response, timestamp
from devstack.session_pool.web.call import Call, Version
from devstack.session_pool.web.errors import ApiError, bad_request


async def get_session(request: Request) -> Response:
    """GET session."""
    call = Call.of(request, since=Version.V2025_02)
    session = call.pool.find(call.identifier)
    if session is None:
        raise _absent(call.identifier)
    session.touch()
    return json_response(describe(session), headers={"x-ms-session-etag": session.etag})


async def delete_session(request: Request) -> Response:
    """DELETE session."""
    call = Call.of(request, since=Version.V2025_02)
    if not await call.pool.delete(call.identifier):
        raise _absent(call.identifier)
    return Response(status_code=204)


async def stop_session(request: Request) -> Response:
    """POST .management/stopSession."""
    call = Call.of(request, since=Version.V2025_02)
    if not await call.pool.delete(call.identifier):
        raise _absent_in_management(call.identifier)
    return PlainTextResponse(f"Session {call.identifier} in session pool {call.pool.settings.name} stopped.")


def describe(session: Session) -> dict[str, Any]:
    """A session as the service shows it."""
    return {
        "identifier": session.identifier,
        "createdAt": timestamp(session.created_at),
        "lastAccessedAt": timestamp(session.last_accessed_at),
        "expireAt": timestamp(session.expire_at),
        "etag": session.etag,
    }


def _absent(identifier: str) -> ApiError:
    return ApiError(404, "NoSessionFoundError", f"Could not find session with name '{identifier}'.")


def _absent_in_management(identifier: str) -> ApiError:
    message = f"The session with identifier '{identifier}' is not found."
    return bad_request(message, code="SessionWithIdentifierNotFound", target="identifier")
