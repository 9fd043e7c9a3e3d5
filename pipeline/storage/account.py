"""The clients of the storage account, made once per process, and the one place that translates their errors.

On Azure an identity signs in; with a connection string (the emulator) the key in it does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from typing import Any, Self

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.data.tables import TableTransactionError
from azure.data.tables.aio import TableClient, TableServiceClient
from azure.storage.blob.aio import BlobServiceClient, ContainerClient
from azure.storage.queue import BinaryBase64DecodePolicy, BinaryBase64EncodePolicy
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from pipeline.errors import (
    ConfigError,
    IdentityUnavailable,
    OutputError,
    PermanentError,
    PipelineError,
    SourceError,
    StorageUnavailable,
)
from pipeline.identity import Identity
from pipeline.settings import CONNECTION, MIB, StorageAccount
from pipeline.storage.azure_patches import use_quick_policy
from pipeline.storage.transport import Transport

# The most that one read brings, and so what a transfer holds at once. Smaller blobs come whole with the first.
PART = MIB
# The size of the pieces in which larger renditions are written.
BLOCK = 4 * MIB
# The well-known account of the storage emulator, for the shorthand that local settings files use.
EMULATOR = (
    "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;"
    "AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;"
    "BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;QueueEndpoint=http://127.0.0.1:10001/devstoreaccount1;"
    "TableEndpoint=http://127.0.0.1:10002/devstoreaccount1;"
)


class Account:
    """Blob, queue and table clients of one storage account. Close it when the process ends."""

    def __init__(self, blobs: BlobServiceClient, queues: QueueServiceClient, tables: TableServiceClient) -> None:
        self._blobs, self._queues, self._tables = blobs, queues, tables
        use_quick_policy()

    @classmethod
    def open(cls, account: StorageAccount, identity: Identity | None) -> Self:
        """Make the clients; nothing is sent yet. ConfigError when the connection string cannot be read."""
        options: dict[str, Any] = {"max_single_get_size": PART, "max_chunk_get_size": PART}
        retries: dict[str, Any] = {"retry_total": 3, "transport": Transport()}
        # The SDK's own pause before the first retry is 15 seconds: a claim or a lease would be lost meanwhile.
        quick: dict[str, Any] = {"initial_backoff": 0.5, "increment_base": 1, "random_jitter_range": 0.5}
        if account.connection_string is None:
            return cls(
                BlobServiceClient(str(account.blob_uri), identity, **options, **retries, **quick),
                QueueServiceClient(str(account.queue_uri), identity, **retries, **quick),
                TableServiceClient(str(account.table_uri), credential=identity, **retries),
            )
        text = account.connection_string
        text = EMULATOR if text.strip().lower().startswith("usedevelopmentstorage=true") else text
        try:
            return cls(
                BlobServiceClient.from_connection_string(text, **options, **retries, **quick),
                QueueServiceClient.from_connection_string(text, **retries, **quick),
                TableServiceClient.from_connection_string(text, **retries),
            )
        except ValueError:
            raise ConfigError(
                f"{CONNECTION} is not a connection string: expected AccountName=…;AccountKey=…;BlobEndpoint=…;"
                "QueueEndpoint=…;TableEndpoint=…, as `python -m devstack azurite` prints it"
            ) from None

    @property
    def address(self) -> str:
        """Where the blobs are, without a key."""
        return str(self._blobs.url).partition("?")[0]

    def container(self, name: str) -> ContainerClient:
        """The client of a blob container."""
        return self._blobs.get_container_client(name)

    async def check_container(self, name: str) -> None:
        """See whether a blob container is there. ConfigError or StorageUnavailable says why not."""
        with map_errors(f"looking at the container {name}"):
            await self.container(name).get_container_properties()

    def queue(self, name: str) -> QueueClient:
        """The client of a queue whose messages are base64, as the Functions host writes and reads them."""
        return self._queues.get_queue_client(
            name,
            message_encode_policy=BinaryBase64EncodePolicy(),
            message_decode_policy=BinaryBase64DecodePolicy(),
        )

    def table(self, name: str) -> TableClient:
        """The client of a table."""
        return self._tables.get_table_client(name)

    async def close(self) -> None:
        """Close all connections."""
        for client in (self._blobs, self._queues, self._tables):
            await client.close()


@contextmanager
def map_errors(doing: str) -> Iterator[None]:
    """Turn the storage SDK's errors into the pipeline's. `doing` names the work, for the message.

    Errors that mean something to the caller (not found, condition not met, conflict) are to be caught inside.
    """
    try:
        yield
    except IdentityUnavailable as error:
        raise StorageUnavailable(f"{doing}: {error.message}", kind=error.kind) from error
    except (ServiceRequestError, ServiceResponseError) as error:
        raise StorageUnavailable(
            f"{doing}: the storage account does not answer ({_short(error)}); check {CONNECTION} and the network"
        ) from error
    except ClientAuthenticationError as error:
        raise _denied(doing, error) from error
    except HttpResponseError as error:
        raise _from_answer(doing, error) from error
    except AzureError as error:
        raise StorageUnavailable(f"{doing}: {_short(error)}") from error
    except HTTPException as error:
        # What the SDK makes of an answer to several changes at once that it does not understand; they may be made.
        raise StorageUnavailable(f"{doing}: storage's answer cannot be read ({type(error).__name__})") from error


async def delete_rows(table: TableClient, query: str, values: dict[str, str]) -> None:
    """Delete all rows that a query finds; fine when somebody else does so, too."""
    rows: list[dict[str, str]] = []

    async def delete() -> None:
        try:
            await table.submit_transaction([("delete", row) for row in rows])
        except TableTransactionError as error:
            if error.status_code != 404:
                raise
            for row in rows:
                await table.delete_entity(row["PartitionKey"], row["RowKey"])
        rows.clear()

    keys = ["PartitionKey", "RowKey"]
    async for row in table.query_entities(query, parameters=values, select=keys):
        if rows and (len(rows) == 100 or rows[0]["PartitionKey"] != row["PartitionKey"]):
            await delete()
        rows.append({key: row[key] for key in keys})
    if rows:
        await delete()


def is_there(error: HttpResponseError) -> bool:
    """Whether it says that there is something already. The SDK takes every conflict for that."""
    return _code(error) in ("BlobAlreadyExists", "ContainerAlreadyExists", "QueueAlreadyExists", "TableAlreadyExists")


@contextmanager
def unless_there() -> Iterator[None]:
    """Make something; fine when it is there already."""
    try:
        yield
    except HttpResponseError as error:
        if not is_there(error):
            raise


def _code(error: HttpResponseError) -> str:
    code = getattr(error, "error_code", None)
    return str(getattr(code, "value", code) or "")


def _from_answer(doing: str, error: HttpResponseError) -> PipelineError:
    code = _code(error)
    if code in ("ContainerNotFound", "QueueNotFound", "TableNotFound", "ResourceNotFound") and error.status_code == 404:
        return ConfigError(f"{doing}: {code}: it does not exist; make it with `image-pipeline init`")
    if code == "BlobArchived":
        return SourceError(f"{doing}: it is in the archive tier: rehydrate it, then retry", kind="archived")
    if code in ("BlobImmutableDueToPolicy", "BlobImmutableDueToLegalHold"):
        return OutputError(
            f"{doing}: a policy of its container keeps it from being replaced ({code})", kind="immutable"
        )
    if error.status_code in (401, 403):
        return _denied(doing, error)
    if error.status_code in (400, 404, 405, 413, 414):
        return PermanentError(f"{doing}: storage does not take it: {error.status_code} {code}", kind="storage_refused")
    after = getattr(error.response, "headers", {}).get("Retry-After")
    return StorageUnavailable(
        f"{doing}: storage answered {error.status_code} {code}".rstrip(),
        retry_after=float(after) if after and after.isdecimal() else None,
    )


def _denied(doing: str, error: HttpResponseError) -> StorageUnavailable:
    return StorageUnavailable(
        f"{doing}: storage refuses the sign-in (HTTP {error.status_code}); check the key in {CONNECTION}, or the "
        "identity's roles Storage Blob Data Owner, Queue Data Contributor and Table Data Contributor",
        kind="storage_denied",
    )


def _short(error: Exception) -> str:
    return str(error).split("\n", 1)[0][:200]
