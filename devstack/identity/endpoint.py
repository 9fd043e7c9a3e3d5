"""Token endpoint: `GET /msi/token` as on Azure Functions and App Service (api-version 2019-08-01).

Its tokens have the claims of Azure's tokens, and no signature.
"""

import hmac
import secrets
import time
import uuid
from dataclasses import dataclass
from http import HTTPStatus

import jwt
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

# Constant, so that repeated test runs produce the same ids.
TENANT_ID = "5ca1ab1e-0000-4000-8000-00000000007e"
SYSTEM_ASSIGNED_CLIENT_ID = "5ca1ab1e-0000-4000-8000-000000000001"
PRINCIPAL_NAMESPACE = uuid.UUID("5ca1ab1e-0000-4000-8000-000000000000")
UNKNOWN_AUDIENCE = "https://unknown-audience.invalid"
CLOCK_SKEW_SECONDS = 300


class TokenRefusedError(Exception):
    """The issuer refuses a token. The message is that of Azure."""


@dataclass(frozen=True)
class TokenIssuer:
    """Issue tokens for identities.

    Attributes:
        client_ids: The user-assigned identities that exist. If empty, every client id is valid.
        lifetime: The lifetime of tokens in seconds.
        refused: The resources for which no token is issued.
        misdirected: Issue tokens for an audience that no service has.
    """

    client_ids: tuple[str, ...] = ()
    lifetime: int = 86_400
    refused: tuple[str, ...] = ()
    misdirected: bool = False

    def issue(self, resource: str, client_id: str | None) -> tuple[str, int]:
        """Return a token for `resource` and its expiry as a Unix time. Without a client id, use the system identity.

        Raises:
            TokenRefusedError: The identity does not exist, or the resource is refused.
        """
        if client_id and self.client_ids and client_id not in self.client_ids:
            raise TokenRefusedError("No User Assigned or Delegated Managed Identity found for specified ClientId")
        if resource.rstrip("/") in (each.rstrip("/") for each in self.refused):
            raise TokenRefusedError(f"The resource principal named {resource} was not found in the tenant")
        now = int(time.time())
        audience = UNKNOWN_AUDIENCE if self.misdirected else resource
        claims = self._claims(audience, client_id or SYSTEM_ASSIGNED_CLIENT_ID, now)
        return jwt.encode(claims, "", algorithm="none"), now + self.lifetime

    def _claims(self, audience: str, client_id: str, now: int) -> dict[str, object]:
        principal = str(uuid.uuid5(PRINCIPAL_NAMESPACE, client_id))
        times = {"iat": now, "nbf": now - CLOCK_SKEW_SECONDS, "exp": now + self.lifetime}
        subject = {"appid": client_id, "oid": principal, "sub": principal, "tid": TENANT_ID, "idtyp": "app"}
        # No two tokens are equal, even if they are issued in the same second.
        unique = {"uti": secrets.token_urlsafe(16), "ver": "1.0"}
        return {"aud": audience, "iss": f"https://sts.windows.net/{TENANT_ID}/", **times, **subject, **unique}


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
