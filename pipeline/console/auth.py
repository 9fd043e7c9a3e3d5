"""Who is asking, what they may do, and whether a change was really asked for on one of our own pages.

The console's pages take no function key, since a browser can send none when it follows a link. They look for
themselves: at a cookie that was given for a function key (`keys`), at the headers of App Service authentication
(`app_service`), or, on a laptop, at nothing but that the request comes from there (`open`).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

import azure.functions as func

from pipeline.settings import LOOPBACK, Settings

Role = Literal["read", "write"]
PRINCIPAL = "x-ms-client-principal"
COOKIE = "pipeline_console"
PATH = "/api/console"
ROLE_CLAIMS = {"roles", "http://schemas.microsoft.com/ws/2008/06/identity/claims/role"}


@dataclass(frozen=True)
class Principal:
    """Somebody who may look. `nonce` tells their sign-in from others: tokens in forms hold for it alone."""

    role: Role
    name: str
    nonce: str
    can_sign_out: bool = False

    @property
    def may_write(self) -> bool:
        """Whether they may change something."""
        return self.role == "write"


def principal(request: func.HttpRequest, settings: Settings, secret: bytes) -> Principal | None:
    """Who is asking; None when they have to sign in first, or may not come in at all."""
    match settings.console_access:
        case "open":
            return Principal("write", "this machine", "open") if _is_loopback(request) else None
        case "app_service":
            return _principal(request.headers.get(PRINCIPAL, ""), settings)
        case "keys":
            return next((who for each in _cookies(request) if (who := _unsealed(each, secret))), None)
        case _:
            return None


def sign_cookie(role: Role, hours: float, secret: bytes) -> str:
    """A sign-in as the value of a cookie: role, end, a number of its own, and a seal over them."""
    text = f"{role}.{int(time.time() + hours * 3600)}.{secrets.token_hex(8)}"
    return f"{text}.{_seal(secret, 'cookie', text)}"


def cookie(value: str, request: func.HttpRequest, hours: float) -> str:
    """The Set-Cookie header. Without `Secure` only for this machine, where there is no https."""
    age = int(hours * 3600) if value else 0
    secure = "" if _is_loopback(request) else "; Secure"
    return f"{COOKIE}={value}; Path={PATH}; Max-Age={age}; HttpOnly; SameSite=Strict{secure}"


def csrf_token(who: Principal, secret: bytes) -> str:
    """What a form must bring back, so that no other site can send it."""
    return _seal(secret, "form", who.nonce)


def csrf_valid(request: func.HttpRequest, who: Principal, secret: bytes, given: str) -> bool:
    """Whether a change was asked for on a page of ours: by its token, and by what the browser says of its origin."""
    return hmac.compare_digest(csrf_token(who, secret).encode(), given.encode()) and same_origin(request)


def same_origin(request: func.HttpRequest) -> bool:
    """Whether the browser says that the request comes from this site. A browser that says nothing does not count."""
    site: str | None = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = urlsplit(request.headers.get("origin", "")).netloc
    # A proxy in front keeps the name that the browser knows; no page of another site can set this header.
    return bool(origin) and origin in (request.headers.get("host"), request.headers.get("x-forwarded-host"))


def local(address: str) -> str:
    """An address to go on to after the sign-in: one of the console's own, or its first page."""
    # It goes into a header, which a line's end would split.
    plain = address.isascii() and address.isprintable() and "\\" not in address
    return address if plain and is_within(address) else PATH


def is_within(address: str) -> bool:
    """Whether an address is one of the console's."""
    return address.startswith(PATH) and address[len(PATH) : len(PATH) + 1] in ("", "/", "?")


def _is_loopback(request: func.HttpRequest) -> bool:
    """By the name that was asked for: a page elsewhere whose name leads to this machine would show its own."""
    host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    return host in LOOPBACK


def _cookies(request: func.HttpRequest) -> Iterator[str]:
    """The values of the cookies of our name. Others of the domain are not looked at: they may hold anything."""
    for part in re.split("[;,]", request.headers.get("cookie", "")):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            yield value


def _unsealed(value: str, secret: bytes) -> Principal | None:
    text, _, seal = value.rpartition(".")
    if not hmac.compare_digest(_seal(secret, "cookie", text).encode(), seal.encode()):
        return None
    role, ends, nonce = text.split(".")
    if int(ends) < time.time():
        return None
    return Principal("write" if role == "write" else "read", "function key", nonce, can_sign_out=True)


def _principal(header: str, settings: Settings) -> Principal | None:
    """Somebody signed in by App Service, which removes this header from what comes from outside."""
    try:
        principal = json.loads(base64.b64decode(header, validate=True))
        claims = [(str(each["typ"]), str(each["val"])) for each in principal["claims"]]
        kinds = ROLE_CLAIMS | {str(principal.get("role_typ"))}
        naming = str(principal.get("name_typ"))
    except (binascii.Error, ValueError, TypeError, KeyError, AttributeError):
        return None
    roles = {value for kind, value in claims if kind in kinds}
    name = next((value for kind, value in claims if kind in (naming, "preferred_username", "name")), "signed in")
    # The one who signs in again gets the same number, so that a form outlives a renewed sign-in.
    nonce = hashlib.sha256(name.encode()).hexdigest()[:16]
    if settings.console_writer_role in roles:
        return Principal("write", name, nonce)
    return Principal("read", name, nonce) if settings.console_reader_role in roles else None


def _seal(secret: bytes, purpose: str, text: str) -> str:
    return hmac.new(secret, f"{purpose}:{text}".encode(), hashlib.sha256).hexdigest()
