"""Tokens of an identity that does not exist: the claims that Azure's have, and no signature."""

from __future__ import annotations

import base64
import json
import secrets
import time
import uuid
from dataclasses import dataclass, field

# Fixed: a run that is repeated tells the same story.
TENANT = "5ca1ab1e-0000-4000-8000-00000000007e"
SYSTEM_ASSIGNED = "5ca1ab1e-0000-4000-8000-000000000001"
NAMESPACE = uuid.UUID("5ca1ab1e-0000-4000-8000-000000000000")


class NoToken(Exception):  # noqa: N818 - an outcome
    """The identity gets no token; the message is what the platform says."""


@dataclass(frozen=True)
class Issuer:
    """Who gets tokens: `client_ids` (any, when there are none) and the system-assigned identity.

    `refused` are resources that nobody gets one for; `misdirected` tokens are for an audience that nobody is.
    """

    client_ids: tuple[str, ...] = ()
    lifetime: int = 86_400
    refused: tuple[str, ...] = ()
    misdirected: bool = False
    tenant: str = field(default=TENANT)

    def token(self, resource: str, client_id: str | None) -> tuple[str, int]:
        """A token for `resource`, and when it expires.

        Raises:
            NoToken: there is no such identity, or it is to get none.
        """
        if client_id and self.client_ids and client_id not in self.client_ids:
            raise NoToken("No User Assigned or Delegated Managed Identity found for specified ClientId")
        if resource.rstrip("/") in (each.rstrip("/") for each in self.refused):
            raise NoToken(f"The resource principal named {resource} was not found in the tenant")
        now = int(time.time())
        audience = "https://nobody.invalid" if self.misdirected else resource
        return _unsigned(self._claims(audience, client_id or SYSTEM_ASSIGNED, now)), now + self.lifetime

    def _claims(self, audience: str, client_id: str, now: int) -> dict[str, object]:
        principal = str(uuid.uuid5(NAMESPACE, client_id))
        times = {"iat": now, "nbf": now - 300, "exp": now + self.lifetime}
        who = {"appid": client_id, "oid": principal, "sub": principal, "tid": self.tenant, "idtyp": "app"}
        # No two tokens are the same, not even those of one second.
        unique = {"uti": secrets.token_urlsafe(16), "ver": "1.0"}
        return {"aud": audience, "iss": f"https://sts.windows.net/{self.tenant}/", **times, **who, **unique}


def _unsigned(claims: dict[str, object]) -> str:
    return f"{_part({'typ': 'JWT', 'alg': 'none'})}.{_part(claims)}."


def _part(document: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()
