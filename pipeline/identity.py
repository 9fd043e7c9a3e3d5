"""The identity that the app signs in with. Storage and the session pool share it, and its tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Self

from azure.core.credentials import AccessToken
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError, ClientAuthenticationError
from azure.identity.aio import AzureCliCredential, ChainedTokenCredential, ManagedIdentityCredential

from pipeline.errors import IdentityUnavailable

# Seconds for one token, tries included. The SDK's own patience is an hour of minutes-long tries.
PATIENCE = 30.0
CONNECT = 3
READ = 10
TRIES = 2
# Makes a credential that keeps tokens ask for a new one; a managed identity's does not pass it on.
NOT_THE_KEPT_ONE = "{}"


class Identity:
    """A credential for the SDKs whose errors say what to do.

    What it raises is none of the SDKs' errors, so that their own retries, which are for their service and not for the
    identity's, leave it alone.
    """

    def __init__(self, credential: AsyncTokenCredential, patience: float = PATIENCE, *, keeps: bool = False) -> None:
        """`keeps` says whether the credential gives the same token until that is old by this machine's clock."""
        self._credential, self._patience, self._keeps = credential, patience, keeps

    @classmethod
    def of(cls, environ: Mapping[str, str], client_id: str | None) -> Self:
        """The identity of a function app; elsewhere the machine's, or whoever is signed in to the Azure CLI.

        A chain takes every trouble of its first link for a missing sign-in, so there is none where the platform says
        that there is an identity. DefaultAzureCredential would also read secrets out of the environment, which nothing
        here is to depend on.
        """
        managed = ManagedIdentityCredential(
            client_id=client_id, connection_timeout=CONNECT, read_timeout=READ, retry_total=TRIES
        )
        if environ.get("IDENTITY_ENDPOINT"):
            return cls(managed, keeps=True)
        return cls(ChainedTokenCredential(managed, AzureCliCredential()))

    async def get_token(
        self,
        *scopes: str,
        claims: str | None = None,
        tenant_id: str | None = None,
        enable_cae: bool = False,
        **options: object,
    ) -> AccessToken:
        """A token for `scopes`. IdentityUnavailable when there is none to be had."""
        try:
            async with asyncio.timeout(self._patience):
                return await self._credential.get_token(
                    *scopes, claims=claims, tenant_id=tenant_id, enable_cae=enable_cae, **options
                )
        except ClientAuthenticationError as error:
            raise _refused(error) from error
        except (AzureError, TimeoutError) as error:
            raise _silent(type(error).__name__) from error

    async def renewed(self, scope: str) -> AccessToken:
        """A token from the service itself: the last one was refused, whatever it says of how long it is good.

        IdentityUnavailable when there is none to be had.
        """
        return await self.get_token(scope, claims=NOT_THE_KEPT_ONE if self._keeps else None)

    async def close(self) -> None:
        """Close the connections."""
        await self._credential.close()

    async def __aenter__(self) -> Self:
        """For the SDKs."""
        await self._credential.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        """For the SDKs."""
        await self._credential.__aexit__(exc_type, exc_value, traceback)


def _refused(error: ClientAuthenticationError) -> IdentityUnavailable:
    """No token. The service's own trouble comes as a refusal too, with the status that it answered."""
    status = error.status_code or 0
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _silent(f"HTTP {status}")
    told = str(error.message).partition("\n")[0].removeprefix("(None) ")[:200]
    return IdentityUnavailable(
        f"no token ({told}): give the function app the managed identity that IMAGES__clientId names (its "
        "system-assigned one where that is not set), or sign in with `az login`",
        kind="identity_denied",
    )


def _silent(why: str) -> IdentityUnavailable:
    return IdentityUnavailable(f"no token: the identity service does not answer ({why})")
