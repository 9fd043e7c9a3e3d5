"""In-memory clients of storage: the part of the Azure SDK that the pipeline uses, over any way to run operations.

They turn calls into operations of `store`, and responses into the SDK's values and errors. A call that is missing here
fails with an AttributeError or a TypeError: add it, and add it to the contract tests.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from types import MappingProxyType, SimpleNamespace
from typing import Any

from azure.core import MatchConditions
from azure.core.async_paging import AsyncItemPaged
from azure.core.exceptions import (
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
    ServiceResponseError,
)
from azure.data.tables import TableTransactionError, UpdateMode

from pipeline.storage import READ_CHUNK_BYTES
from pipeline.testing.blob_properties import headers_of, properties_of
from pipeline.testing.operations import MAX_PAGE_ROWS
from pipeline.testing.queue_client import Queue, ServiceClient, cursor_and_items, items_of
from pipeline.testing.store import MISSING, NONE, Blob, Op, Response, Row

Send = Callable[[Op], Awaitable[Response]]
LONGEST_LEASE = 60
NO_RESPONSE = 0
"""Status of a response that never arrived, although the service may have carried the operation out."""
_ERRORS = {304: ResourceModifiedError, 404: ResourceNotFoundError, 409: ResourceExistsError, 412: ResourceModifiedError}


class Clients:
    """Clients of one account. `send` runs an operation; `token` gives the ids of leases."""

    def __init__(self, send: Send, token: Callable[[], str] = lambda: secrets.token_hex(8)) -> None:
        self._send, self.new_token = send, token

    def container(self, name: str) -> Any:
        """Return the client of a container."""
        return Container(self, name)

    def table(self, name: str) -> Any:
        """Return the client of a table."""
        return Table(self, name)

    def queue(self, name: str) -> Any:
        """Return the client of a queue."""
        return Queue(self, name)

    async def queue_names(self, prefix: str) -> list[str]:
        """Return the names of all queues that begin so."""
        return list(await self.call(("place.list", "", "Queue", prefix)))

    async def call(self, op: Op) -> Any:
        """Run an operation: return the value of its response, or raise the SDK's error."""
        response = await self._send(op)
        if response.status == NO_RESPONSE:
            raise ServiceResponseError("the connection broke off")
        if response.status != 200:
            lease = response.status == 412 and response.code.startswith("Lease")
            cls = HttpResponseError if lease else _ERRORS.get(response.status, HttpResponseError)
            raise _error(cls, response.status, response.code, response.value)
        return response.value


def _error(cls: type[HttpResponseError], status: int, code: str, response: Any = None) -> HttpResponseError:
    error = cls(code)
    vars(error).update(status_code=status, error_code=code, response=response)
    return error


class Entity(dict[str, Any]):
    """Row as the SDK returns it: a mapping with metadata."""

    def __init__(self, row: Row, select: list[str] | None = None) -> None:
        values = dict(row.items)
        super().__init__({name: values.get(name) for name in select} if select else values)
        self.metadata = {"etag": row.etag, "timestamp": datetime.fromtimestamp(row.modified, UTC)}


class Table(ServiceClient):
    """In-memory TableClient."""

    async def create_table(self) -> None:
        """Create the table."""
        await self._call("place.create", "Table")

    async def get_entity(self, partition: str, key: str) -> Entity:
        """Return a row, or raise ResourceNotFoundError."""
        return Entity(await self._call("row.get", partition, key))

    async def create_entity(self, entity: dict[str, Any]) -> dict[str, str]:
        """Create a row; return its ETag."""
        return {"etag": await self._call("row.create", tuple(entity.items()))}

    async def update_entity(
        self, entity: dict[str, Any], mode: Any, etag: str, match_condition: MatchConditions
    ) -> dict[str, str]:
        """Replace a row with this ETag, or merge columns into it; return the new ETag."""
        operation = "row.merge" if mode is UpdateMode.MERGE else "row.update"
        return {"etag": await self._call(operation, tuple(entity.items()), etag)}

    async def delete_entity(self, partition: str, key: str) -> None:
        """Delete a row, if it exists."""
        with suppress(ResourceNotFoundError):
            keys = (("PartitionKey", partition), ("RowKey", key))
            await self._call("row.delete", keys, "")

    async def submit_transaction(self, changes: list[tuple[Any, ...]]) -> list[dict[str, str]]:
        """Carry out changes of one partition, all or none; return their ETags."""
        ops = tuple(
            (_verb(verb, *more), tuple(row.items()), more[0].get("etag", "") if more else "")
            for verb, row, *more in changes
        )
        try:
            return [{"etag": etag} for etag in await self._call("rows", ops)]
        except HttpResponseError as error:
            refused = TableTransactionError(message=f"{error.response}:{error}")
            vars(refused).update(status_code=error.status_code, error_code=vars(error)["error_code"])
            raise refused from error

    def query_entities(
        self,
        query: str,
        parameters: dict[str, Any],
        select: list[str] | None = None,
        results_per_page: int = MAX_PAGE_ROWS,
        raw_response_hook: object = None,
    ) -> AsyncItemPaged[Entity]:
        """Query with comparisons such as `RowKey ge @first`, joined by `and`. There is no response for a hook."""
        compared = re.findall(r"(\w+) (\w\w) @(\w+)", query)
        wanted = tuple((column, op, parameters[name]) for column, op, name in compared)

        async def page(token: dict[str, str] | None) -> tuple[Any, list[Entity]]:
            start = (token["PartitionKey"], token["RowKey"]) if token else ("", "")
            rows, key = await self._call("row.query", wanted, results_per_page, start)
            following = {"PartitionKey": key[0], "RowKey": key[1]} if key else None
            return following, [Entity(row, select) for row in rows]

        return AsyncItemPaged(page, cursor_and_items)


def _verb(verb: str, options: Mapping[str, Any] = MappingProxyType({})) -> str:
    """Return the operation of a change: an update or an upsert may also merge."""
    if options.get("mode") is not UpdateMode.MERGE:
        return verb
    return {"update": "merge", "upsert": "upsert_merge"}[verb]


class Lease(ServiceClient):
    """In-memory BlobLeaseClient."""

    def __init__(self, clients: Clients, name: str, lease_id: str, seconds: int) -> None:
        super().__init__(clients, name)
        self.id, self._seconds = lease_id, seconds

    async def renew(self) -> None:
        """Renew the lease."""
        await self._call("lease.renew", self.id, self._seconds)

    async def release(self) -> None:
        """Release the lease."""
        await self._call("lease.release", self.id)
        self.id = ""  # as the SDK does


class Download(ServiceClient):
    """In-memory StorageStreamDownloader: the first part comes with the first call, each other part with one of its own.

    A blob that changes between two parts raises ResourceModifiedError.
    """

    def __init__(self, clients: Clients, name: str, blob: Blob) -> None:
        super().__init__(clients, name)
        self.properties, self._data = properties_of(name, blob), blob.data or b""
        self.size = self.properties.size

    async def readall(self) -> bytes:
        """Return the whole content."""
        return b"".join([chunk async for chunk in self.chunks()])

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the content in parts of at most 4 MiB."""
        for start in range(0, self.size, READ_CHUNK_BYTES):
            if start:
                await self._call("blob.get", ("match", self.properties.etag))
            yield self._data[start : start + READ_CHUNK_BYTES]


class BlobClient(ServiceClient):
    """In-memory BlobClient; `_name` is `container/name`."""

    def __init__(self, clients: Clients, name: str) -> None:
        super().__init__(clients, name)
        self.blob_name = name.partition("/")[2]
        self._client = SimpleNamespace(blob=self)  # where the SDK's BlobLeaseClient finds `break_lease`

    async def download_blob(self, decompress: bool = True, **condition: Any) -> Download:
        """Download a blob, under a condition if given."""
        blob = await self._call("blob.get", _condition(condition))
        return Download(self._clients, self._name, blob)

    async def get_blob_properties(self) -> Any:
        """Return ETag, size, headers and metadata."""
        return properties_of(self._name, await self._call("blob.head"))

    async def exists(self) -> bool:
        """Return True if the blob exists."""
        try:
            return bool(await self.get_blob_properties())
        except ResourceNotFoundError:
            return False

    async def get_blob_tags(self) -> dict[str, str]:
        """Return the index tags."""
        return dict((await self._call("blob.head")).tags)

    async def set_blob_tags(self, tags: dict[str, str]) -> None:
        """Replace the index tags."""
        await self._call("blob.tags", items_of(tags))

    async def set_blob_metadata(self, metadata: dict[str, str], **condition: Any) -> dict[str, str]:
        """Replace the metadata, under a condition if given."""
        return {"etag": await self._call("blob.metadata", items_of(metadata), _condition(condition))}

    async def upload_blob(
        self,
        data: bytes,
        overwrite: bool = False,
        metadata: dict[str, str] | None = None,
        content_settings: Any = None,
        lease: Lease | None = None,
        **condition: Any,
    ) -> dict[str, str]:
        """Write a whole blob, under a condition or a lease if given."""
        asked = _condition(condition)
        # The SDK's default: without a condition and without `overwrite`, write only where there is no blob.
        asked = MISSING if asked == NONE and not overwrite else asked
        lease_id, headers = lease.id if lease else "", headers_of(content_settings)
        try:
            return {"etag": await self._call("blob.put", data, items_of(metadata), asked, lease_id, headers)}
        except ResourceModifiedError as error:
            if overwrite:
                raise
            # The SDK does so for every condition.
            raise _error(ResourceExistsError, error.status_code or 0, "BlobAlreadyExists") from error

    async def delete_blob(self, **condition: Any) -> None:
        """Delete a blob, under a condition if given."""
        await self._call("blob.delete", _condition(condition))

    async def stage_block(self, name: str, data: bytes) -> None:
        """Stage a block, not yet visible."""
        await self._call("blob.block", name, data)

    async def commit_block_list(
        self, blocks: list[Any], metadata: dict[str, str], content_settings: Any = None, **condition: Any
    ) -> dict[str, str]:
        """Commit staged blocks as the content of the blob."""
        names = tuple(block.id for block in blocks)
        headers = headers_of(content_settings)
        return {"etag": await self._call("blob.commit", names, items_of(metadata), _condition(condition), headers)}

    async def acquire_lease(self, seconds: int) -> Lease:
        """Lease the blob for some seconds."""
        # The client proposes the id, so that a repeated call has the same outcome.
        lease = await self._call("lease.take", self._clients.new_token(), seconds)
        return Lease(self._clients, self._name, lease, seconds)

    async def break_lease(self, break_period: int | None, **_: Any) -> dict[str, Any]:
        """Break the lease: it stays until its end and cannot be renewed."""
        period = LONGEST_LEASE if break_period is None else break_period
        await self._call("lease.break", period)
        return {}


class Container(ServiceClient):
    """In-memory ContainerClient."""

    async def create_container(self) -> None:
        """Create the container."""
        await self._call("place.create", "Container")

    async def delete_container(self) -> None:
        """Delete the container with its blobs."""
        await self._call("place.delete", "Container")

    async def get_container_properties(self) -> Any:
        """Check that the container exists."""
        await self._clients.call(("blob.list", f"{self._name}/", 1))
        return SimpleNamespace(name=self._name)

    def get_blob_client(self, name: str) -> BlobClient:
        """Return the client of a blob."""
        return BlobClient(self._clients, f"{self._name}/{name}")

    async def upload_blob(self, name: str, data: bytes, **options: Any) -> BlobClient:
        """Write a whole blob, under a condition or a lease if given."""
        blob = self.get_blob_client(name)
        await blob.upload_blob(data, **options)
        return blob

    async def download_blob(self, name: str, **options: Any) -> Download:
        """Download a blob, under a condition if given."""
        return await self.get_blob_client(name).download_blob(**options)

    async def delete_blob(self, name: str, **condition: Any) -> None:
        """Delete a blob, under a condition if given."""
        await self.get_blob_client(name).delete_blob(**condition)

    def list_blobs(
        self,
        name_starts_with: str | None = None,
        include: list[str] | None = None,
        results_per_page: int = 5000,
        start_from: str | None = None,
        raw_response_hook: object = None,
    ) -> AsyncItemPaged[Any]:
        """List blobs in order, in pages. There is no response for a hook."""
        first = f"{self._name}/{start_from}" if start_from else ""

        async def page(token: str | None) -> tuple[str | None, list[Any]]:
            op = ("blob.list", f"{self._name}/{name_starts_with or ''}", results_per_page, token or first)
            found, start = await self._clients.call(op)
            return start, [self._listed(path, blob, leased, include or []) for path, blob, leased in found]

        return AsyncItemPaged(page, cursor_and_items)

    def _listed(self, path: str, blob: Blob, leased: bool, include: list[str]) -> Any:
        facts = properties_of(path, blob)
        facts.etag, facts.lease = blob.etag.strip('"'), SimpleNamespace(status="locked" if leased else "unlocked")
        facts.metadata = facts.metadata if "metadata" in include else {}
        facts.tags = dict(blob.tags) if "tags" in include and blob.tags else None
        return facts


def _condition(options: dict[str, Any]) -> Op:
    match = options.get("match_condition")
    if match is MatchConditions.IfMissing:
        return MISSING
    name = {MatchConditions.IfNotModified: "match", MatchConditions.IfModified: "modified"}
    return (name[match], f'"{options["etag"].strip(chr(34))}"') if match else NONE
