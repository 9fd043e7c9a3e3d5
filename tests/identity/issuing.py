"""Run the token endpoint in the process of the test."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from devstack.identity.endpoint import TokenEndpoint, TokenIssuer
from functions_host.host import serving

STORAGE_SCOPE = "https://storage.azure.com/.default"
HEADER = "known to the app alone"
# An identity service that does not respond: no program listens on port 9.
UNREACHABLE_ENDPOINT = {"IDENTITY_ENDPOINT": "http://127.0.0.1:9/msi/token", "IDENTITY_HEADER": HEADER}


@contextlib.asynccontextmanager
async def issuing(issuer: TokenIssuer, monkeypatch: pytest.MonkeyPatch | None = None) -> AsyncIterator[dict[str, str]]:
    """Serve the endpoint, and yield its variables. `monkeypatch` also adds them to the environment."""
    async with serving(TokenEndpoint(issuer, HEADER), 0, grace=1) as url:
        variables = {"IDENTITY_ENDPOINT": f"{url}/msi/token", "IDENTITY_HEADER": HEADER}
        for name, value in variables.items() if monkeypatch else ():
            monkeypatch.setenv(name, value)
        yield variables
