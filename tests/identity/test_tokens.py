"""Tokens of the managed identity: the SDK gets them as on Azure, they are renewed, and trouble is told apart."""

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

from devstack.identity.tokens import Issuer
from devstack.serving import serving
from devstack.session_pool.web.tokens import is_valid
from pipeline.errors import IdentityUnavailable, PoolUnavailable
from pipeline.identity import Identity
from pipeline.pool.auth import SCOPE, PoolToken
from tests.identity.issuing import HEADER, NOBODY, STORAGE, issuing
from tests.waiting import eventually


def accepted(token: AccessToken) -> bool:
    """Whether the session pool lets a call with it in."""
    return is_valid(Headers({"authorization": f"Bearer {token.token}"}))


def expires(header: str) -> float:
    """When the token in a header ends."""
    claims = header.split(".")[1]
    return float(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["exp"])


async def test_the_sdk_gets_a_token_for_each_service_as_on_azure(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        issuing(Issuer(("one",)), monkeypatch) as variables,
        Identity.from_environment(variables, "one") as identity,
    ):
        pool, storage = await identity.get_token(SCOPE), await identity.get_token(STORAGE)
        assert accepted(pool)
        assert not accepted(storage)
        assert pool.expires_on > time.time() + 80_000
        assert (await identity.get_token(SCOPE)).token == pool.token, "one token serves until it is old"


async def test_a_short_lived_token_is_renewed_and_none_that_has_expired_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with (
        issuing(Issuer(lifetime=2), monkeypatch) as variables,
        Identity.from_environment(variables, None) as identity,
    ):
        token = PoolToken(identity)
        seen: set[str] = set()

        async def renewed() -> bool:
            asked = time.time()
            header = (await token.header())["Authorization"]
            assert expires(header) > asked
            seen.add(header)
            return len(seen) == 3

        await eventually(renewed, timeout=30)


async def test_a_token_that_the_pool_refuses_is_not_offered_again_by_the_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps tokens by the clock of this machine, which may be wrong, and knows of no refusal."""
    async with issuing(Issuer(), monkeypatch) as variables, Identity.from_environment(variables, None) as identity:
        token = PoolToken(identity)
        first = await token.header()
        token.mark_refused(first["Authorization"])
        second = await token.header()
        assert second != first
        assert await token.header() == second
        assert {"Authorization": f"Bearer {(await identity.get_token(SCOPE)).token}"} == second


async def test_an_identity_that_is_not_there_is_said_with_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        issuing(Issuer(("other",)), monkeypatch) as variables,
        Identity.from_environment(variables, "one") as identity,
    ):
        with pytest.raises(PoolUnavailable, match="IMAGES__clientId") as caught:
            await PoolToken(identity).header()
    assert caught.value.kind == "identity_denied"


async def unanswered(identity: Identity) -> None:
    with pytest.raises(IdentityUnavailable, match="identity service does not answer") as caught:
        await identity.get_token(SCOPE)
    assert caught.value.kind == "identity_unavailable"


async def test_an_identity_service_that_is_down_is_no_missing_sign_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in NOBODY.items():
        monkeypatch.setenv(name, value)
    async with Identity.from_environment(NOBODY, None) as identity:
        await unanswered(identity)


async def test_an_identity_service_that_fails_is_no_missing_sign_in(monkeypatch: pytest.MonkeyPatch) -> None:
    failing = Response("{}", HTTPStatus.SERVICE_UNAVAILABLE, media_type="application/json")
    async with serving(failing, 0, grace=1) as address:
        monkeypatch.setenv("IDENTITY_ENDPOINT", address)
        monkeypatch.setenv("IDENTITY_HEADER", HEADER)
        async with Identity.from_environment({"IDENTITY_ENDPOINT": address}, None) as identity:
            await unanswered(identity)


async def test_an_identity_service_that_hangs_does_not_hang_the_job() -> None:
    class Hanging:
        async def get_token(self, *_: str, **__: object) -> AccessToken:
            await asyncio.Event().wait()
            raise AssertionError

        async def close(self) -> None: ...

        async def __aenter__(self) -> Hanging:
            return self

        async def __aexit__(self, *_: object) -> None: ...

    await unanswered(Identity(Hanging(), timeout=0.1))


async def test_the_endpoint_refuses_what_the_platform_refuses() -> None:
    async with issuing(Issuer()) as variables, httpx.AsyncClient() as client:
        ask = {"resource": "https://storage.azure.com", "api-version": "2019-08-01"}

        async def status(parameters: dict[str, str], header: str = HEADER) -> int:
            headers = {"X-IDENTITY-HEADER": header}
            answer = await client.get(variables["IDENTITY_ENDPOINT"], params=parameters, headers=headers)
            return answer.status_code

        assert await status(ask) == 200
        assert await status(ask, "guessed") == 401
        assert await status({**ask, "api-version": "2017-09-01"}) == 400
        assert await status({"api-version": "2019-08-01"}) == 400
