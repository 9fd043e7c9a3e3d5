"""Access of the test to the storage account: by key, past the proxies, independent of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from azure.data.tables import TableServiceClient
from azure.storage.blob import BlobServiceClient
from azure.storage.blob.aio import BlobServiceClient as AsyncBlobServiceClient
from azure.storage.queue import QueueServiceClient
from azure.storage.queue.aio import QueueServiceClient as AsyncQueueServiceClient


@dataclass(frozen=True)
class Account:
    """Clients of the account. `trust` is the file with the emulator's certificate."""

    connection: str
    trust: str

    def tables(self, **options: Any) -> TableServiceClient:
        """Return a client of the tables."""
        return TableServiceClient.from_connection_string(self.connection, connection_verify=self.trust, **options)

    def blobs(self) -> BlobServiceClient:
        """Return a client of the blobs."""
        return BlobServiceClient.from_connection_string(self.connection, connection_verify=self.trust)

    def queues(self) -> QueueServiceClient:
        """Return a client of the queues."""
        return QueueServiceClient.from_connection_string(self.connection, connection_verify=self.trust)

    def async_blobs(self) -> AsyncBlobServiceClient:
        """Return an asynchronous client of the blobs."""
        return AsyncBlobServiceClient.from_connection_string(self.connection, connection_verify=self.trust)

    def async_queues(self) -> AsyncQueueServiceClient:
        """Return an asynchronous client of the queues."""
        return AsyncQueueServiceClient.from_connection_string(self.connection, connection_verify=self.trust)
