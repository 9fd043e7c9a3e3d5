"""`GET /msi/token`, as Azure Functions and App Service answer it (api-version 2019-08-01)."""

from __future__ import annotations

import hmac

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from devstack.identity.tokens import SYSTEM_ASSIGNED, Issuer, NoToken

API_VERSION = "2019-08-01"
HEADER = "x-identity-header"


class Endpoint:
    """The ASGI application. `header` is the secret that callers must know."""

    def __init__(self, issuer: Issuer, header: str) -> None:
        self._issuer, self._header = issuer, header

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http":
            await self._answer(Request(scope, receive))(scope, receive, send)

    def _answer(self, request: Request) -> JSONResponse:
        query = request.query_params
        if request.url.path != "/msi/token" or request.method != "GET":
            return _error(404, "not found: ask for GET /msi/token")
        if not hmac.compare_digest(request.headers.get(HEADER, "").encode(), self._header.encode()):
            return _error(401, f"the header {HEADER} must be what IDENTITY_HEADER says")
        if query.get("api-version") != API_VERSION:
            return _error(400, f"Unsupported api-version: it must be {API_VERSION}")
        if not query.get("resource"):
            return _error(400, "the parameter resource is missing")
        try:
            return self._given(query["resource"], query.get("client_id"))
        except NoToken as error:
            return _error(400, str(error))

    def _given(self, resource: str, client_id: str | None) -> JSONResponse:
        token, expires = self._issuer.token(resource, client_id)
        answer = {"access_token": token, "expires_on": str(expires), "resource": resource, "token_type": "Bearer"}
        return JSONResponse({**answer, "client_id": client_id or SYSTEM_ASSIGNED})


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"statusCode": status, "message": message}, status)
