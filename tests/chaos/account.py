"""The storage account as the test reaches it: past the proxies, with the key, whatever becomes of tokens."""

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
    """`trust` is the file with the certificate of the emulator."""

    connection: str
    trust: str

    def tables(self, **options: Any) -> TableServiceClient:
        """A client of the tables."""
        return TableServiceClient.from_connection_string(self.connection, connection_verify=self.trust, **options)

    def blobs(self) -> BlobServiceClient:
        """A client of the blobs."""
        return BlobServiceClient.from_connection_string(self.connection, connection_verify=self.trust)

    def queues(self) -> QueueServiceClient:
        """A client of the queues."""
        return QueueServiceClient.from_connection_string(self.connection, connection_verify=self.trust)

    def async_blobs(self) -> AsyncBlobServiceClient:
        """A client of the blobs."""
        return AsyncBlobServiceClient.from_connection_string(self.connection, connection_verify=self.trust)

    def async_queues(self) -> AsyncQueueServiceClient:
        """A client of the queues."""
        return AsyncQueueServiceClient.from_connection_string(self.connection, connection_verify=self.trust)
