"""Identity of the app: one credential, and its tokens, for storage and the session pool."""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Self

from azure.core.credentials import AccessToken
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError, ClientAuthenticationError

from pipeline.errors import IdentityUnavailable

# Timeout for one token, retries included. The SDK itself retries for an hour, minutes at a time.
TOKEN_TIMEOUT_SECONDS = 30.0
CONNECT_TIMEOUT_SECONDS = 3
READ_TIMEOUT_SECONDS = 10
MAX_RETRIES = 2
# Claims that make a caching credential request a new token; a managed identity's does not pass them on.
BYPASS_CACHE_CLAIMS = "{}"


class Identity:
    """Credential for the SDKs whose errors tell the operator what to do.

    It raises only IdentityUnavailable. That is no SDK error, so the SDKs do not apply the retry policy of their own
    service to it.
    """

    def __init__(
        self, credential: AsyncTokenCredential, timeout: float = TOKEN_TIMEOUT_SECONDS, *, caches_tokens: bool = False
    ) -> None:
        """Wrap a credential.

        Args:
            credential: Credential of the identity SDK.
            timeout: Seconds for one token.
            caches_tokens: Whether it returns the same token until this machine's clock says that it has expired.
        """
        self._credential, self._timeout, self._caches_tokens = credential, timeout, caches_tokens

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], client_id: str | None) -> Self:
        """Return the identity of a function app; elsewhere the machine's managed identity or the Azure CLI's user.

        A chained credential takes every error of its first member for a missing sign-in, so a function app gets no
        chain. DefaultAzureCredential would also read secrets from the environment.
        """
        # The emulator needs no identity: its processes do not load the SDK.
        from azure.identity.aio import AzureCliCredential, ChainedTokenCredential, ManagedIdentityCredential

        managed = ManagedIdentityCredential(
            client_id=client_id,
            connection_timeout=CONNECT_TIMEOUT_SECONDS,
            read_timeout=READ_TIMEOUT_SECONDS,
            retry_total=MAX_RETRIES,
        )
        if environ.get("IDENTITY_ENDPOINT"):
            return cls(managed, caches_tokens=True)
        return cls(ChainedTokenCredential(managed, AzureCliCredential()))

    async def get_token(
        self,
        *scopes: str,
        claims: str | None = None,
        tenant_id: str | None = None,
        enable_cae: bool = False,
        **options: object,
    ) -> AccessToken:
        """Return a token for `scopes`. Raises IdentityUnavailable when the identity service gives none."""
        try:
            async with asyncio.timeout(self._timeout):
                return await self._credential.get_token(
                    *scopes, claims=claims, tenant_id=tenant_id, enable_cae=enable_cae, **options
                )
        except ClientAuthenticationError as error:
            raise _refused(error) from error
        except (AzureError, TimeoutError) as error:
            raise _no_response(type(error).__name__) from error

    async def fresh_token(self, scope: str) -> AccessToken:
        """Return a token that bypasses the cache, because a service refused the cached one before its expiry.

        Raises IdentityUnavailable as `get_token` does.
        """
        return await self.get_token(scope, claims=BYPASS_CACHE_CLAIMS if self._caches_tokens else None)

    async def close(self) -> None:
        """Close all connections."""
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
    """Map a refusal. An outage of the identity service also comes as one, with its status."""
    status = error.status_code or 0
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _no_response(f"HTTP {status}")
    reason = str(error.message).partition("\n")[0].removeprefix("(None) ")[:200]
    return IdentityUnavailable(
        f"no token ({reason}): give the function app the managed identity that IMAGES__clientId names (its "
        "system-assigned one where that is not set), or sign in with `az login`",
        kind="identity_denied",
    )


def _no_response(reason: str) -> IdentityUnavailable:
    return IdentityUnavailable(f"no token: the identity service does not respond ({reason})")
