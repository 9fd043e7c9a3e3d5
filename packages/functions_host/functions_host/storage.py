"""The storage accounts behind the connections of an app."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from azure.core.exceptions import AzureError, ResourceExistsError
from azure.identity import ManagedIdentityCredential, aio
from azure.storage.blob import BlobServiceClient
from azure.storage.blob.aio import BlobClient
from azure.storage.blob.aio import BlobServiceClient as AsyncBlobServiceClient
from azure.storage.queue.aio import QueueServiceClient

from devstack.errors import HostError
from devstack.host.settings import HOST_STORAGE, connection

Client = TypeVar("Client")
# The SDK's own policy waits 15 seconds before its first retry: no emulator needs that.
RETRY: dict[str, Any] = {"initial_backoff": 0.1, "increment_base": 1, "random_jitter_range": 0.1, "retry_total": 3}
PATIENCE = {"connection_timeout": 3, "read_timeout": 10, "retry_total": 2}
HOST_CONTAINER = "azure-webjobs-hosts"


class Accounts:
    """Clients by the name of a connection, each made once and open until `close`."""

    def __init__(self) -> None:
        self._made: dict[tuple[Any, ...], Any] = {}

    def blobs(self, connection: str) -> AsyncBlobServiceClient:
        """Blobs, for this host's own use."""
        return self._client(AsyncBlobServiceClient, connection, "blob", aio.ManagedIdentityCredential)

    def sync_blobs(self, connection: str) -> BlobServiceClient:
        """Blobs, for functions (which are handed synchronous clients) and for threads."""
        return self._client(BlobServiceClient, connection, "blob", ManagedIdentityCredential)

    def queues(self, connection: str) -> QueueServiceClient:
        """Queues."""
        return self._client(QueueServiceClient, connection, "queue", aio.ManagedIdentityCredential)

    def _client(self, kind: type[Client], connection: str, service: str, identity: Callable[..., Any]) -> Client:
        key = (kind, connection)
        if key not in self._made:
            self._made[key] = self._make(kind, connection, service, identity)
        return self._made[key]  # type: ignore[no-any-return]

    def _make(self, kind: Any, name: str, service: str, identity: Callable[..., Any]) -> object:  # noqa: ANN401 - a class
        found = connection(name, service)
        try:
            if isinstance(found, str):
                return kind.from_connection_string(found, **RETRY)
            credential = self._made[identity, name, service] = identity(client_id=found.client_id, **PATIENCE)
            return kind(found.uri, credential, **RETRY)
        except ValueError as error:
            raise HostError(f"the connection {name} is not a connection string, or not an endpoint: {error}") from None

    def state(self, path: str) -> BlobClient:
        """A blob that this host keeps to itself, in its own account."""
        return self.blobs(HOST_STORAGE).get_blob_client(HOST_CONTAINER, path)

    async def close(self) -> None:
        """Close every client."""
        for client in self._made.values():
            closed = client.close()
            if closed is not None:
                await closed


@asynccontextmanager
async def accounts() -> AsyncIterator[Accounts]:
    """Clients for as long as the block lasts."""
    opened = Accounts()
    try:
        yield opened
    finally:
        await opened.close()


async def prepare(accounts: Accounts, queue: str) -> None:
    """Make what this host needs for itself: a container and a queue.

    Raises:
        HostError: the account does not answer, or refuses.
    """
    try:
        with suppress(ResourceExistsError):
            await accounts.blobs(HOST_STORAGE).create_container(HOST_CONTAINER)
        await ensure_queue(accounts, HOST_STORAGE, queue)
    except AzureError as error:
        reason = str(error).partition("\n")[0]
        raise HostError(f"the storage account of {HOST_STORAGE} cannot be used (does it run?): {reason}") from None


async def ensure_queue(accounts: Accounts, connection: str, name: str) -> None:
    """Make a queue that may be there already."""
    with suppress(ResourceExistsError):
        await accounts.queues(connection).create_queue(name)
