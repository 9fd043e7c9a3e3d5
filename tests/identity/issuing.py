"""The token endpoint, in this process, as the app's environment names it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from devstack.identity.endpoint import Endpoint
from devstack.identity.tokens import Issuer
from devstack.serving import serving

STORAGE = "https://storage.azure.com/.default"
HEADER = "known to the app alone"
# An identity service that does not answer: nobody listens on the port for discarding.
NOBODY = {"IDENTITY_ENDPOINT": "http://127.0.0.1:9/msi/token", "IDENTITY_HEADER": HEADER}


@contextlib.asynccontextmanager
async def issuing(issuer: Issuer, monkeypatch: pytest.MonkeyPatch | None = None) -> AsyncIterator[dict[str, str]]:
    """Serve it; the variables that lead to it, which `monkeypatch` puts into the environment."""
    async with serving(Endpoint(issuer, HEADER), 0, grace=1) as address:
        variables = {"IDENTITY_ENDPOINT": f"{address}/msi/token", "IDENTITY_HEADER": HEADER}
        for name, value in variables.items() if monkeypatch else ():
            monkeypatch.setenv(name, value)
        yield variables
