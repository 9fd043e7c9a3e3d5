"""Authentication of the console: signed cookies, CSRF tokens and roles.

Browsers send no function key when they follow a link, so the pages accept other proofs: a signed cookie that was issued
for a function key (`keys`), the headers of App Service authentication (`app_service`), or, on a laptop, a request to a
loopback host name (`open`).
"""

import base64
import binascii
import hashlib
import json
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

import azure.functions as func
from itsdangerous import BadData, Signer, URLSafeTimedSerializer

from pipeline.errors import ConfigError
from pipeline.settings import LOOPBACK, PLATFORM_AUTH_VARIABLE, Settings, variable

Role = Literal["read", "write"]
PRINCIPAL_HEADER = "x-ms-client-principal"
COOKIE_NAME = "pipeline_console"
CONSOLE_PATH = "/api/console"
ROLE_CLAIMS = {"roles", "http://schemas.microsoft.com/ws/2008/06/identity/claims/role"}


@dataclass(frozen=True)
class Principal:
    """An authenticated user.

    Attributes:
        role: `read` for the pages, `write` for changes too.
        name: The name that the pages show.
        nonce: Identifies the sign-in: the CSRF token of one sign-in is invalid for another.
        can_sign_out: True if a cookie holds the sign-in.
    """

    role: Role
    name: str
    nonce: str
    can_sign_out: bool = False

    @property
    def may_write(self) -> bool:
        """True if the user may make changes."""
        return self.role == "write"


def ensure_platform_authenticates(settings: Settings, environ: Mapping[str, str]) -> None:
    """Raise ConfigError if the console trusts App Service authentication while that is off in `environ`.

    Any client could then send the header that names a user and its roles.
    """
    is_on = environ.get(PLATFORM_AUTH_VARIABLE, "").lower() in ("true", "1")
    if settings.console_access == "app_service" and not is_on:
        access = variable("console_access")
        raise ConfigError(
            f"{access} is app_service, but App Service authentication is off ({PLATFORM_AUTH_VARIABLE} is not true): "
            f"every client could claim every role. Turn App Service authentication on, or set {access} to keys"
        )


def authenticate(request: func.HttpRequest, settings: Settings, secret: bytes) -> Principal | None:
    """Return the user who sent a request; None if the user must sign in, or has no access."""
    match settings.console_access:
        case "open":
            return Principal("write", "this machine", "open") if _is_loopback(request) else None
        case "app_service":
            return _app_service_principal(request.headers.get(PRINCIPAL_HEADER, ""), settings)
        case "keys":
            hours = settings.console_session_hours
            principals = (_cookie_principal(value, hours, secret) for value in _cookie_values(request))
            return next((each for each in principals if each), None)
        case _:
            return None


def sign_cookie(role: Role, secret: bytes) -> str:
    """Return the signed value of a cookie: the role, a nonce, and the time of the sign-in."""
    return _cookie_serializer(secret).dumps([role, secrets.token_hex(8)])


def cookie_header(value: str, request: func.HttpRequest, hours: float) -> str:
    """Return the Set-Cookie header. It omits `Secure` only for loopback hosts, which have no HTTPS."""
    age = int(hours * 3600) if value else 0
    secure = "" if _is_loopback(request) else "; Secure"
    return f"{COOKIE_NAME}={value}; Path={CONSOLE_PATH}; Max-Age={age}; HttpOnly; SameSite=Strict{secure}"


def csrf_token(principal: Principal, secret: bytes) -> str:
    """Return the CSRF token that forms of this sign-in must contain, so that no other site can submit them."""
    return _csrf_signer(secret).get_signature(principal.nonce).decode()


def csrf_valid(request: func.HttpRequest, principal: Principal, secret: bytes, token: str) -> bool:
    """Check the CSRF token of a form, and the origin that the browser reports."""
    return _csrf_signer(secret).verify_signature(principal.nonce, token) and same_origin(request)


def same_origin(request: func.HttpRequest) -> bool:
    """Check that the browser reports this site as the origin of the request. No report counts as another site."""
    site: str | None = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = urlsplit(request.headers.get("origin", "")).netloc
    # A proxy forwards the host name that the browser knows. Pages of other sites cannot set this header.
    return bool(origin) and origin in (request.headers.get("host"), request.headers.get("x-forwarded-host"))


def safe_redirect(url: str) -> str:
    """Return `url` if it is a URL of the console, else the URL of the overview. Prevents open redirects."""
    # A line break would split the header that holds the URL.
    is_plain = url.isascii() and url.isprintable() and "\\" not in url
    return url if is_plain and is_console_path(url) else CONSOLE_PATH


def is_console_path(path: str) -> bool:
    """Tell if a path belongs to the console."""
    return path.startswith(CONSOLE_PATH) and path[len(CONSOLE_PATH) : len(CONSOLE_PATH) + 1] in ("", "/", "?")


def _is_loopback(request: func.HttpRequest) -> bool:
    """Check the requested host name: a site elsewhere whose domain resolves to this machine must get no data."""
    host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    return host in LOOPBACK


def _cookie_values(request: func.HttpRequest) -> Iterator[str]:
    """Yield the values of the console's cookies. Other cookies of the domain may be malformed and are skipped."""
    for part in re.split("[;,]", request.headers.get("cookie", "")):
        name, _, value = part.strip().partition("=")
        if name == COOKIE_NAME:
            yield value


def _cookie_principal(value: str, hours: float, secret: bytes) -> Principal | None:
    """Return the user of a cookie; None if its signature is invalid or it has expired."""
    try:
        role, nonce = _cookie_serializer(secret).loads(value, max_age=int(hours * 3600))
    except BadData:
        return None
    return Principal(role, "function key", nonce, can_sign_out=True)


def _app_service_principal(header: str, settings: Settings) -> Principal | None:
    """Return the user that App Service has signed in. App Service removes this header from external requests."""
    try:
        document = json.loads(base64.b64decode(header, validate=True))
        claims = [(str(each["typ"]), str(each["val"])) for each in document["claims"]]
        role_claims = ROLE_CLAIMS | {str(document.get("role_typ"))}
        name_claim = str(document.get("name_typ"))
    except (binascii.Error, ValueError, TypeError, KeyError, AttributeError):
        return None
    roles = {value for kind, value in claims if kind in role_claims}
    name = next((value for kind, value in claims if kind in (name_claim, "preferred_username", "name")), "signed in")
    # The nonce is the same after a renewed sign-in, so open forms stay valid.
    nonce = hashlib.sha256(name.encode()).hexdigest()[:16]
    if settings.console_writer_role in roles:
        return Principal("write", name, nonce)
    return Principal("read", name, nonce) if settings.console_reader_role in roles else None


def _cookie_serializer(secret: bytes) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(secret, salt="cookie", signer_kwargs={"digest_method": hashlib.sha256})


def _csrf_signer(secret: bytes) -> Signer:
    return Signer(secret, salt="csrf", digest_method=hashlib.sha256)
