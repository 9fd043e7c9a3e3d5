"""Clients of the storage account, created once per process, provisioning, and the mapping of errors to the pipeline's.

On Azure a managed identity signs in; for the emulator, the key in the connection string does.
"""

import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from types import TracebackType
from typing import Any, Self

from azure.core import MatchConditions
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.data.tables import TableTransactionError, UpdateMode
from azure.data.tables.aio import TableClient, TableServiceClient
from azure.storage.blob.aio import BlobServiceClient, ContainerClient
from azure.storage.queue import BinaryBase64DecodePolicy, BinaryBase64EncodePolicy
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from pipeline.errors import ConfigError, IdentityUnavailable, StorageUnavailable
from pipeline.identity import Identity
from pipeline.settings import CONNECTION, MIB, Settings, StorageAccount
from pipeline.storage.error_codes import MISSING_CODES, denied, error_from_code
from pipeline.storage.header_values import use_fast_header_values
from pipeline.storage.transactions import use_fast_transactions
from pipeline.storage.transport import Transport

# A read returns at most this much, so a transfer holds no more in memory. A smaller blob arrives with the first read.
READ_CHUNK_BYTES = 4 * MIB
# A blob that is read as a whole is held twice: in chunks, then joined.
READ_COPIES = 2
# Larger renditions are written in blocks of this size.
BLOCK_BYTES = 4 * MIB
_QUOTED_CODE = re.compile(r'"code"\s*:\s*"([A-Za-z]{1,80})"')
# The well-known account of the storage emulator; settings files abbreviate it as UseDevelopmentStorage=true.
EMULATOR_CONNECTION_STRING = (
    "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;"
    "AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;"
    "BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;QueueEndpoint=http://127.0.0.1:10001/devstoreaccount1;"
    "TableEndpoint=http://127.0.0.1:10002/devstoreaccount1;"
)


class Account:
    """Clients for the blobs, queues and tables of one storage account. Close it when the process ends."""

    def __init__(self, blobs: BlobServiceClient, queues: QueueServiceClient, tables: TableServiceClient) -> None:
        self._blobs, self._queues, self._tables = blobs, queues, tables
        use_fast_transactions()
        use_fast_header_values()

    @classmethod
    def open(cls, account: StorageAccount, identity: Identity | None) -> Self:
        """Create the clients; nothing is sent yet. Raises ConfigError if the connection string is invalid."""
        options: dict[str, Any] = {"max_single_get_size": READ_CHUNK_BYTES, "max_chunk_get_size": READ_CHUNK_BYTES}
        retries: dict[str, Any] = {"retry_total": 3, "transport": Transport()}
        # The SDK's default backoff starts with 15 seconds: a claim or a lease would expire meanwhile.
        backoff: dict[str, Any] = {"initial_backoff": 0.5, "increment_base": 1, "random_jitter_range": 0.5}
        if account.connection_string is None:
            return cls(
                BlobServiceClient(str(account.blob_uri), identity, **options, **retries, **backoff),
                QueueServiceClient(str(account.queue_uri), identity, **retries, **backoff),
                TableServiceClient(str(account.table_uri), credential=identity, **retries),
            )
        text = account.connection_string
        text = EMULATOR_CONNECTION_STRING if text.strip().lower().startswith("usedevelopmentstorage=true") else text
        try:
            return cls(
                BlobServiceClient.from_connection_string(text, **options, **retries, **backoff),
                QueueServiceClient.from_connection_string(text, **retries, **backoff),
                TableServiceClient.from_connection_string(text, **retries),
            )
        except ValueError:
            raise ConfigError(
                f"{CONNECTION} is not a connection string: expected AccountName=…;AccountKey=…;BlobEndpoint=…;"
                "QueueEndpoint=…;TableEndpoint=…, as `python -m devstack azurite` prints it"
            ) from None

    @property
    def url(self) -> str:
        """The URL of the blob service, without a key."""
        return str(self._blobs.url).partition("?")[0]

    def container(self, name: str) -> ContainerClient:
        """Return the client of a blob container."""
        return self._blobs.get_container_client(name)

    async def check_container(self, name: str) -> None:
        """Check that a blob container exists. Raises StorageUnavailable with the reason."""
        with map_errors(f"checking the container {name}"):
            await self.container(name).get_container_properties()

    def queue(self, name: str) -> QueueClient:
        """Return the client of a queue whose messages are base64, as the Functions host reads and writes them."""
        return self._queues.get_queue_client(
            name,
            message_encode_policy=BinaryBase64EncodePolicy(),
            message_decode_policy=BinaryBase64DecodePolicy(),
        )

    async def queue_names(self, prefix: str) -> list[str]:
        """Return the names of all queues that begin with a prefix."""
        with map_errors("listing the queues"):
            return [queue.name async for queue in self._queues.list_queues(name_starts_with=prefix)]

    def table(self, name: str) -> TableClient:
        """Return the client of a table."""
        return self._tables.get_table_client(name)

    async def close(self) -> None:
        """Close all connections."""
        for client in (self._blobs, self._queues, self._tables):
            await client.close()


@contextmanager
def map_errors(operation: str) -> Iterator[None]:
    """Map the storage SDK's errors to the pipeline's. `operation` begins the message, such as "reading a/b".

    Catch errors that the caller handles (missing, condition not met, conflict) inside this context.
    """
    try:
        yield
    except IdentityUnavailable as error:
        raise StorageUnavailable(
            f"{operation}: {error.message}", kind=error.kind, dependency=error.dependency
        ) from error
    except (ServiceRequestError, ServiceResponseError) as error:
        raise StorageUnavailable(
            f"{operation}: the storage account does not respond ({_short(error)}); check the connection setting "
            f"{CONNECTION} and the network"
        ) from error
    except ClientAuthenticationError as error:
        raise denied(operation, error.status_code or 0, error_code(error)) from error
    except HttpResponseError as error:
        headers = getattr(error.response, "headers", None) or {}
        raise error_from_code(
            operation, error.status_code or 0, error_code(error), headers.get("Retry-After", "")
        ) from error
    except AzureError as error:
        raise StorageUnavailable(f"{operation}: {_short(error)}") from error
    except HTTPException as error:
        # The SDK cannot parse the response to a transaction. The transaction may have been carried out.
        raise StorageUnavailable(f"{operation}: malformed response of storage ({type(error).__name__})") from error


@contextmanager
def map_listing_errors(container: str) -> Iterator[None]:
    """Map the errors of a container's listing. The emulator's own error does not name the cause."""
    try:
        with map_errors(f"listing {container}"):
            yield
    except StorageUnavailable as error:
        cause = error.__cause__
        # Azure always sends a code.
        if isinstance(cause, HttpResponseError) and cause.status_code == 500 and not error_code(cause):
            raise StorageUnavailable(
                f"{error.message}. Azurite cannot list a container in which the name of a blob has a control "
                f"character: if {container} has such a blob, delete it by its name, or delete the container",
                kind=error.kind,
            ) from cause
        raise


def if_unchanged(etag: str) -> dict[str, Any]:
    """Return the options that replace a row only if it still has this ETag (optimistic concurrency)."""
    return {"mode": UpdateMode.REPLACE, "etag": etag, "match_condition": MatchConditions.IfNotModified}


async def delete_rows(table: TableClient, query: str, values: dict[str, str], most: int) -> int:
    """Delete at most `most` rows that match a query, also if another process deletes them at the same time.

    Returns:
        The number of rows; a number below `most` means that none are left.
    """
    rows: list[dict[str, str]] = []
    count = 0

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
        if count == most:
            break
        rows.append({key: row[key] for key in keys})
        count += 1
    if rows:
        await delete()
    return count


def already_exists(error: HttpResponseError) -> bool:
    """Return True for a resource that exists already. The SDK raises the same class for every other conflict."""
    return error_code(error) in (
        "BlobAlreadyExists", "ContainerAlreadyExists", "QueueAlreadyExists", "TableAlreadyExists", "EntityAlreadyExists"
    )  # fmt: skip


def is_missing(error: HttpResponseError) -> bool:
    """Return True for a blob, row or message that does not exist.

    A 404 about a missing container or table is an error, and so is one without a code: a proxy may have sent it.
    """
    return error.status_code == 404 and error_code(error) in MISSING_CODES


@contextmanager
def ignore_existing() -> Iterator[None]:
    """Ignore the error of a resource that exists already."""
    try:
        yield
    except HttpResponseError as error:
        if not already_exists(error):
            raise


class IgnoreMissing:
    """Context that suppresses the error for a missing blob or row (see `is_missing`)."""

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """Return True for the error to suppress."""
        return isinstance(error, HttpResponseError) and is_missing(error)


def error_code(error: HttpResponseError) -> str:
    """Return the service's error code, such as `BlobNotFound`; empty if the response had none."""
    code = getattr(error, "error_code", None)
    if code:
        return str(getattr(code, "value", code))
    # The SDK for tables leaves the code of a refused `create_entity` in the body, which its text quotes.
    quoted = _QUOTED_CODE.search(str(error))
    return quoted[1] if quoted else ""


def _short(error: Exception) -> str:
    return str(error).split("\n", 1)[0][:200]


async def create_all(account: Account, settings: Settings) -> list[str]:
    """Create missing containers, queues and tables. Returns their names, such as `queue jobs`."""
    containers = {
        settings.input_container,
        settings.output_container,
        settings.upload_container,
        settings.asset_container,
        settings.state_container,
        settings.dead_letter_container,
    }
    creators: list[tuple[str, Callable[[], Awaitable[object]]]] = [
        *((f"container {name}", account.container(name).create_container) for name in sorted(containers)),
        *((f"queue {name}", account.queue(name).create_queue) for name in (settings.job_queue, settings.run_queue)),
        *((f"table {name}", account.table(name).create_table) for name in (settings.ledger_table, settings.run_table)),
    ]
    created = []
    for resource, create in creators:
        with map_errors(f"creating the {resource}"), ignore_existing():
            await create()
            created.append(resource)
    return created
