"""Errors as the service words them: status, code and body."""

from __future__ import annotations

import uuid
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from session_pool_emulator.web.answers import json_response


class ApiError(Exception):
    """An answer that is not a success. `code` None is an empty body; `flat` is the body without its envelope."""

    def __init__(
        self, status: int, code: str | None, message: str = "", *, target: str = "", flat: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.target = target
        self.flat = flat


def bad_request(message: str, *, code: str = "SessionRequestValidationFailed", target: str = "") -> ApiError:
    """400: the request itself is wrong, and the message says what to change."""
    return ApiError(400, code, message, target=target)


def answer(error: ApiError) -> Response:
    """The response to `error`."""
    if error.code is None:
        return Response(status_code=error.status)
    body: dict[str, Any] = {"code": error.code, "message": error.message}
    if not error.flat:
        body = {"error": body | {"target": error.target or None, "traceId": uuid.uuid4().hex}}
        body["error"] = {key: value for key, value in body["error"].items() if value is not None}
    return json_response(body, status=error.status, headers={"x-ms-error-code": error.code})


async def handle(_: Request, error: Exception) -> Response:
    """Starlette's way to ask for `answer`."""
    return answer(error if isinstance(error, ApiError) else ApiError(500, "InternalServerError", "Unexpected."))
