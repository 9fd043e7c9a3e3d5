"""JSON documents in blobs, each held by one process at a time through a blob lease.

A lease that its holder does not renew expires within 60 s, so a dead process blocks no document for longer.
"""

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobProperties
from azure.storage.blob.aio import BlobClient, BlobLeaseClient, ContainerClient

from pipeline.errors import PipelineError, TransientError
from pipeline.storage.account import Account, IgnoreMissing, error_code, ignore_existing, map_errors

LEASE_LOST_STATUSES = (404, 409, 412)
# Another process holds the document, or has created none yet.
NOT_LEASABLE_CODES = ("LeaseAlreadyPresent", "LeaseIsBreakingAndCannotBeAcquired", "BlobNotFound")
# Prefix of the demands of processes, outside the prefix of the documents.
DEMAND_PREFIX = "demands/"
# A demand that its process has not repeated for this long is ignored: the process is dead. It tolerates clock skew.
DEMAND_TTL = timedelta(seconds=60)
# Any process deletes demands older than this.
DEMAND_RETENTION = timedelta(hours=1)
# Fields that a listing shows, stored as metadata. The identifier of a session is a secret and stays in the content.
METADATA_FIELDS = ("state", "generation", "used", "born", "last", "until", "counted", "hours", "holder")


class LeaseLost(TransientError, kind="lease_lost"):  # noqa: N818 - a state of the lease
    """The lease has expired, or another process holds it."""


@contextmanager
def _map_lease_errors(operation: str) -> Iterator[None]:
    """Raise LeaseLost if the service refuses the lease; map all other errors of storage."""
    with map_errors(operation):
        try:
            yield
        except HttpResponseError as error:
            if error.status_code not in LEASE_LOST_STATUSES or not error_code(error):
                raise
            raise LeaseLost("this process no longer holds the slot") from error


class LeasedDocument:
    """A document held by this process, with its content as last read or written."""

    def __init__(self, blob: BlobClient, lease: BlobLeaseClient, content: dict[str, Any]) -> None:
        self._blob, self._lease = blob, lease
        self.content = content

    async def write(self, content: dict[str, Any]) -> None:
        """Replace the content. Raises LeaseLost if this process no longer holds the document."""
        data = json.dumps(content).encode()
        metadata = {name: str(content[name]) for name in METADATA_FIELDS if content.get(name)}
        with _map_lease_errors("writing a slot"):
            await self._blob.upload_blob(data, overwrite=True, lease=self._lease, metadata=metadata)
        self.content = content

    async def renew(self) -> None:
        """Renew the lease (heartbeat). Raises LeaseLost if this process no longer holds the document."""
        with _map_lease_errors("renewing a slot"):
            await self._lease.renew()

    async def release(self) -> None:
        """Release the lease, if this process still holds it."""
        with suppress(LeaseLost), _map_lease_errors("releasing a slot"):
            await self._lease.release()


@dataclass(frozen=True)
class DocumentSummary:
    """A listed document: whether a process holds it, and its METADATA_FIELDS as text."""

    name: str
    held: bool
    fields: dict[str, str]

    @classmethod
    def of(cls, blob: BlobProperties) -> Self:
        """Create from a blob of a listing."""
        return cls(blob.name, blob.lease.status == "locked", dict(blob.metadata or {}))


class LeasedDocuments:
    """Documents below a prefix of a container, and the demands of the processes that compete for them.

    Attributes:
        process: Name of this process among those that publish a demand.
    """

    def __init__(self, account: Account, container: str, prefix: str, lease_seconds: int) -> None:
        self._container: ContainerClient = account.container(container)
        self._prefix, self._lease_seconds = prefix, lease_seconds
        self.process = secrets.token_hex(8)

    async def list_free(self, count: int) -> list[str]:
        """Return the names of the unleased ones of the first `count` documents; create missing documents."""
        names = [self.name(number) for number in range(count)]
        with map_errors("listing the slots"):
            listing = self._container.list_blobs(name_starts_with=self._prefix)
            leased = {blob.name: blob.lease.status == "locked" async for blob in listing}
            for name in names:
                if name not in leased:
                    await self._create(name)
        return [name for name in names if not leased.get(name)]

    async def summaries(self) -> list[DocumentSummary]:
        """List all documents, without reading or leasing them."""
        with map_errors("listing the slots"):
            listing = self._container.list_blobs(name_starts_with=self._prefix, include=["metadata"])
            return [DocumentSummary.of(blob) async for blob in listing]

    def name(self, number: int) -> str:
        """Return the name of a document by its number."""
        return f"{self._prefix}{number:03d}.json"

    async def break_lease(self, name: str) -> None:
        """Break the lease of a document: its holder keeps it until it expires and cannot renew it."""
        with suppress(LeaseLost), _map_lease_errors("breaking the lease of a slot"):
            await BlobLeaseClient(self._container.get_blob_client(name)).break_lease()

    async def acquire(self, name: str) -> LeasedDocument | None:
        """Lease a document and read it; None if another process holds it."""
        blob = self._container.get_blob_client(name)
        with map_errors("leasing a slot"):
            try:
                lease = await blob.acquire_lease(self._lease_seconds)
            except HttpResponseError as error:
                if error_code(error) not in NOT_LEASABLE_CODES:
                    raise
                return None
            document = LeasedDocument(blob, lease, {})
            try:
                document.content = _read(await (await blob.download_blob()).readall())
            except BaseException:
                with suppress(PipelineError):
                    await document.release()
                raise
        return document

    async def publish_demand(self, demand: Mapping[str, int]) -> None:
        """Publish the demand of this process for documents: numbers by name."""
        metadata = {name: str(number) for name, number in demand.items()}
        with map_errors("publishing the demand for slots"):
            await self._container.upload_blob(DEMAND_PREFIX + self.process, b"", overwrite=True, metadata=metadata)

    async def withdraw_demand(self) -> None:
        """Delete the demand of this process."""
        with map_errors("publishing the demand for slots"):
            await self._remove(DEMAND_PREFIX + self.process)

    async def demands(self) -> dict[str, dict[str, int]]:
        """Return the demands of the other processes, by the name of the process: the fields that are numbers."""
        now = datetime.now(UTC)
        with map_errors("reading the demand for slots"):
            listing = self._container.list_blobs(name_starts_with=DEMAND_PREFIX, include=["metadata"])
            others = [blob async for blob in listing if blob.name != DEMAND_PREFIX + self.process]
            for blob in others:
                if blob.last_modified < now - DEMAND_RETENTION:
                    await self._remove(blob.name)
        return {
            blob.name.removeprefix(DEMAND_PREFIX): _parse_demand(blob.metadata or {})
            for blob in others
            if blob.last_modified > now - DEMAND_TTL
        }

    async def _remove(self, name: str) -> None:
        with IgnoreMissing():
            await self._container.delete_blob(name)

    async def _create(self, name: str) -> None:
        with ignore_existing():
            await self._container.upload_blob(name, b"{}", overwrite=False)


def _parse_demand(metadata: dict[str, str]) -> dict[str, int]:
    return {name: int(number) for name, number in metadata.items() if number.isdecimal()}


def _read(text: bytes) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
