"""Token endpoint: `GET /msi/token` as on Azure Functions and App Service (api-version 2019-08-01)."""

from __future__ import annotations

import hmac
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from devstack.identity.tokens import SYSTEM_ASSIGNED_CLIENT_ID, TokenIssuer, TokenRefusedError

API_VERSION = "2019-08-01"
HEADER_NAME = "x-identity-header"


class TokenEndpoint:
    """ASGI application. `header` is the secret that requests must send."""

    def __init__(self, issuer: TokenIssuer, header: str) -> None:
        self._issuer, self._header = issuer, header

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one ASGI request."""
        if scope["type"] == "http":
            await self._respond(Request(scope, receive))(scope, receive, send)

    def _respond(self, request: Request) -> JSONResponse:
        query = request.query_params
        if request.url.path != "/msi/token" or request.method != "GET":
            return _error(HTTPStatus.NOT_FOUND, "not found: request GET /msi/token")
        if not hmac.compare_digest(request.headers.get(HEADER_NAME, "").encode(), self._header.encode()):
            return _error(HTTPStatus.UNAUTHORIZED, f"the header {HEADER_NAME} must have the value of IDENTITY_HEADER")
        if query.get("api-version") != API_VERSION:
            return _error(HTTPStatus.BAD_REQUEST, f"Unsupported api-version: it must be {API_VERSION}")
        if not query.get("resource"):
            return _error(HTTPStatus.BAD_REQUEST, "the parameter resource is missing")
        try:
            return self._token_response(query["resource"], query.get("client_id"))
        except TokenRefusedError as error:
            return _error(HTTPStatus.BAD_REQUEST, str(error))

    def _token_response(self, resource: str, client_id: str | None) -> JSONResponse:
        token, expires = self._issuer.issue(resource, client_id)
        body = {"access_token": token, "expires_on": str(expires), "resource": resource, "token_type": "Bearer"}
        return JSONResponse({**body, "client_id": client_id or SYSTEM_ASSIGNED_CLIENT_ID})


def _error(status: HTTPStatus, message: str) -> JSONResponse:
    return JSONResponse({"statusCode": status, "message": message}, status)
