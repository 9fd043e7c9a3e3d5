"""Tokens of the managed identity: how the SDK gets them, when they are renewed, and how errors are classified."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from http import HTTPStatus

import httpx
import pytest
from azure.core.credentials import AccessToken
from starlette.datastructures import Headers
from starlette.responses import Response

from devstack.identity.endpoint import TokenIssuer
from functions_host.host import serving
from pipeline.errors import IdentityUnavailable, PoolUnavailable
from pipeline.identity import Identity
from pipeline.pool.auth import SCOPE, PoolToken
from session_pool_emulator.web.middleware import has_valid_token
from tests.identity.issuing import HEADER, STORAGE_SCOPE, UNREACHABLE_ENDPOINT, issuing
from tests.waiting import eventually


def accepted(token: AccessToken) -> bool:
    """Return whether the session pool accepts a request with the token."""
    return has_valid_token(Headers({"authorization": f"Bearer {token.token}"}))


def expires(header: str) -> float:
    """Return the expiry of the token in a header, as a Unix time."""
    claims = header.split(".")[1]
    return float(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["exp"])


async def test_the_sdk_gets_a_token_for_each_service(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        issuing(TokenIssuer(("one",)), monkeypatch) as variables,
        Identity.from_environment(variables, "one") as identity,
    ):
        pool, storage = await identity.get_token(SCOPE), await identity.get_token(STORAGE_SCOPE)
        assert accepted(pool)
        assert not accepted(storage)
        assert pool.expires_on > time.time() + 80_000
        assert (await identity.get_token(SCOPE)).token == pool.token, "the token is cached until it expires"


async def test_a_token_is_renewed_before_it_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        issuing(TokenIssuer(lifetime=2), monkeypatch) as variables,
        Identity.from_environment(variables, None) as identity,
    ):
        token = PoolToken(identity)
        headers: set[str] = set()

        async def is_renewed_twice() -> bool:
            requested = time.time()
            header = (await token.header())["Authorization"]
            assert expires(header) > requested
            headers.add(header)
            return len(headers) == 3

        await eventually(is_renewed_twice, timeout=30)


async def test_a_token_that_the_pool_rejects_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK caches tokens by the clock of this machine, which may be wrong, and does not learn of a rejection."""
    async with issuing(TokenIssuer(), monkeypatch) as variables, Identity.from_environment(variables, None) as identity:
        token = PoolToken(identity)
        first = await token.header()
        token.mark_refused(first["Authorization"])
        second = await token.header()
        assert second != first
        assert await token.header() == second
        assert {"Authorization": f"Bearer {(await identity.get_token(SCOPE)).token}"} == second


async def test_a_missing_identity_is_reported_with_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        issuing(TokenIssuer(("other",)), monkeypatch) as variables,
        Identity.from_environment(variables, "one") as identity,
    ):
        with pytest.raises(PoolUnavailable, match="IMAGES__clientId") as caught:
            await PoolToken(identity).header()
    assert caught.value.kind == "identity_denied"


async def assert_unavailable(identity: Identity) -> None:
    """Check that a request for a token raises IdentityUnavailable."""
    with pytest.raises(IdentityUnavailable, match="identity service does not respond") as caught:
        await identity.get_token(SCOPE)
    assert caught.value.kind == "identity_unavailable"


async def test_an_unreachable_identity_service_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in UNREACHABLE_ENDPOINT.items():
        monkeypatch.setenv(name, value)
    async with Identity.from_environment(UNREACHABLE_ENDPOINT, None) as identity:
        await assert_unavailable(identity)


async def test_a_failing_identity_service_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    failing = Response("{}", HTTPStatus.SERVICE_UNAVAILABLE, media_type="application/json")
    async with serving(failing, 0, grace=1) as url:
        monkeypatch.setenv("IDENTITY_ENDPOINT", url)
        monkeypatch.setenv("IDENTITY_HEADER", HEADER)
        async with Identity.from_environment({"IDENTITY_ENDPOINT": url}, None) as identity:
            await assert_unavailable(identity)


async def test_a_hanging_identity_service_is_unavailable() -> None:
    class Hanging:
        async def get_token(self, *_: str, **__: object) -> AccessToken:
            await asyncio.Event().wait()
            raise AssertionError

        async def close(self) -> None: ...

        async def __aenter__(self) -> Hanging:
            return self

        async def __aexit__(self, *_: object) -> None: ...

    await assert_unavailable(Identity(Hanging(), timeout=0.1))


async def test_the_endpoint_rejects_requests_that_azure_rejects() -> None:
    async with issuing(TokenIssuer()) as variables, httpx.AsyncClient() as client:
        query = {"resource": "https://storage.azure.com", "api-version": "2019-08-01"}

        async def status(parameters: dict[str, str], header: str = HEADER) -> int:
            headers = {"X-IDENTITY-HEADER": header}
            response = await client.get(variables["IDENTITY_ENDPOINT"], params=parameters, headers=headers)
            return response.status_code

        assert await status(query) == 200
        assert await status(query, "guessed") == 401
        assert await status({**query, "api-version": "2017-09-01"}) == 400
        assert await status({"api-version": "2019-08-01"}) == 400
