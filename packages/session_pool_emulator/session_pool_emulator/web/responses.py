"""JSON responses, and error responses in the form of the service: status, code and body."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response


def json_response(body: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return `body` as JSON, with all characters except ASCII escaped: output of a session can contain any text."""
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=True)
    return Response(text, status_code=status, headers=headers, media_type="application/json; charset=utf-8")


def format_timestamp(moment: datetime) -> str:
    """Format a UTC time according to RFC 3339, with milliseconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


@dataclass(eq=False)
class ApiError(Exception):
    """Error response with an HTTP status; `target` names the invalid parameter, header or field.

    The body is empty if `code` is None, and has no `error` envelope if `flat` is true.
    """

    status: int
    code: str | None
    message: str = ""
    target: str = field(default="", kw_only=True)
    flat: bool = field(default=False, kw_only=True)


def bad_request(message: str, *, code: str = "SessionRequestValidationFailed", target: str = "") -> ApiError:
    """Return an error with status 400. The message tells the client how to correct the request."""
    return ApiError(400, code, message, target=target)


def error_response(error: ApiError) -> Response:
    """Return the response for `error`."""
    if error.code is None:
        return Response(status_code=error.status)
    body: dict[str, Any] = {"code": error.code, "message": error.message}
    if not error.flat:
        target = {"target": error.target} if error.target else {}
        body = {"error": body | target | {"traceId": uuid.uuid4().hex}}
    return json_response(body, status=error.status, headers={"x-ms-error-code": error.code})


async def handle_error(_: Request, error: Exception) -> Response:
    """Handle an exception of a handler (Starlette)."""
    return error_response(error if isinstance(error, ApiError) else ApiError(500, "InternalServerError", "Unexpected."))
