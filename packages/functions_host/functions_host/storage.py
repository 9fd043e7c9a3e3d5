"""Open storage clients for the connections of an app."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from azure.core.exceptions import AzureError, ResourceExistsError
from azure.identity import ManagedIdentityCredential, aio
from azure.storage.blob import BlobServiceClient
from azure.storage.blob.aio import BlobClient
from azure.storage.blob.aio import BlobServiceClient as AsyncBlobServiceClient
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from functions_host.errors import HostError
from functions_host.settings import HOST_STORAGE, resolve_connection

Client = TypeVar("Client")
# The default policy of the SDK waits 15 seconds before the first retry, too long for an emulator.
RETRY_OPTIONS: dict[str, Any] = {
    "initial_backoff": 0.1,
    "increment_base": 1,
    "random_jitter_range": 0.1,
    "retry_total": 3,
}
IDENTITY_OPTIONS = {"connection_timeout": 3, "read_timeout": 10, "retry_total": 2}
HOST_CONTAINER = "azure-webjobs-hosts"


class StorageClients:
    """Storage clients by connection name. Each is created at first use and stays open until `aclose`."""

    def __init__(self) -> None:
        self._clients: dict[tuple[Any, ...], Any] = {}

    def blobs(self, connection: str) -> AsyncBlobServiceClient:
        """Return the asynchronous blob client, for the host itself."""
        return self._client(AsyncBlobServiceClient, connection, "blob", aio.ManagedIdentityCredential)

    def sync_blobs(self, connection: str) -> BlobServiceClient:
        """Return the synchronous blob client, for functions and threads."""
        return self._client(BlobServiceClient, connection, "blob", ManagedIdentityCredential)

    def queues(self, connection: str) -> QueueServiceClient:
        """Return the asynchronous queue client."""
        return self._client(QueueServiceClient, connection, "queue", aio.ManagedIdentityCredential)

    def _client(
        self, client_type: type[Client], connection: str, service: str, credential_type: Callable[..., Any]
    ) -> Client:
        key = (client_type, connection)
        if key not in self._clients:
            self._clients[key] = self._create(client_type, connection, service, credential_type)
        return self._clients[key]  # type: ignore[no-any-return]

    def _create(self, client_type: Any, name: str, service: str, credential_type: Callable[..., Any]) -> object:  # noqa: ANN401 - a class
        connection = resolve_connection(name, service)
        try:
            if isinstance(connection, str):
                return client_type.from_connection_string(connection, **RETRY_OPTIONS)
            credential = credential_type(client_id=connection.client_id, **IDENTITY_OPTIONS)
            self._clients[credential_type, name, service] = credential
            return client_type(connection.uri, credential, **RETRY_OPTIONS)
        except ValueError as error:
            raise HostError(f"the connection {name} is not a connection string or endpoint: {error}") from None

    def host_blob(self, path: str) -> BlobClient:
        """Return a blob in the host's own container: leases, checkpoints, timer status."""
        return self.blobs(HOST_STORAGE).get_blob_client(HOST_CONTAINER, path)

    async def aclose(self) -> None:
        """Close all clients."""
        for client in self._clients.values():
            closing = client.close()
            if closing is not None:
                await closing


async def create_host_resources(clients: StorageClients, queue: str) -> None:
    """Create the container and the queue that the host uses for itself.

    Raises:
        HostError: The storage account does not respond, or rejects the request.
    """
    try:
        with suppress(ResourceExistsError):
            await clients.blobs(HOST_STORAGE).create_container(HOST_CONTAINER)
        await ensure_queue(clients, HOST_STORAGE, queue)
    except AzureError as error:
        reason = str(error).partition("\n")[0]
        raise HostError(f"the storage account of {HOST_STORAGE} cannot be used (is it running?): {reason}") from None


async def ensure_queue(clients: StorageClients, connection: str, name: str) -> QueueClient:
    """Return the client of a queue; create the queue if it does not exist."""
    queue = clients.queues(connection).get_queue_client(name)
    with suppress(ResourceExistsError):
        await queue.create_queue()
    return queue
