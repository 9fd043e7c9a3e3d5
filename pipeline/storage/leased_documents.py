"""Small JSON documents in blobs, each held by one process at a time through its blob lease.

A lease that is not renewed ends by itself within 60 s, so a process that dies holds nothing for longer.
"""

from __future__ import annotations

import json
import secrets
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import BlobProperties
from azure.storage.blob.aio import BlobClient, BlobLeaseClient, ContainerClient

from pipeline.errors import PipelineError, StorageUnavailable
from pipeline.storage.account import Account, ignore_existing, map_errors

LEASE_LOST_STATUSES = (404, 409, 412)
# Beside the documents, so that no listing of those shows them.
DEMAND_PREFIX = "wishes/"
# A wish that is not repeated for so long is that of a process which died. Clocks may differ by some of it.
DEMAND_TTL = timedelta(seconds=60)
# After that it is removed, by whoever sees it.
DEMAND_RETENTION = timedelta(hours=1)
# What of a document a listing may show, as metadata. A session's identifier is a secret, and stays in the content.
METADATA_FIELDS = ("state", "generation", "used", "born", "last", "until", "counted", "hours", "holder")


class LeaseLost(StorageUnavailable):
    """The lease ended or another process took it."""

    default_kind = "lease_lost"


class LeasedDocument:
    """One document, held. `content` is what it said when it was taken, or what was written since."""

    def __init__(self, blob: BlobClient, lease: BlobLeaseClient, content: dict[str, Any]) -> None:
        self._blob, self._lease = blob, lease
        self.content = content

    async def write(self, content: dict[str, Any]) -> None:
        """Replace the content. LeaseLost when the document is not ours any more."""
        data, shown = (
            json.dumps(content).encode(),
            {name: str(content[name]) for name in METADATA_FIELDS if content.get(name)},
        )
        with map_errors("writing a slot"):
            try:
                await self._blob.upload_blob(data, overwrite=True, lease=self._lease, metadata=shown)
            except HttpResponseError as error:
                raise _lost(error) from error
        self.content = content

    async def renew(self) -> None:
        """Start the lease's time anew. LeaseLost when the document is not ours any more."""
        with map_errors("renewing a slot"):
            try:
                await self._lease.renew()
            except HttpResponseError as error:
                raise _lost(error) from error

    async def release(self) -> None:
        """Give the document back; fine when it was lost."""
        with map_errors("giving a slot back"):
            try:
                await self._lease.release()
            except HttpResponseError as error:
                if error.status_code not in LEASE_LOST_STATUSES:
                    raise


@dataclass(frozen=True)
class DocumentSummary:
    """A document as a listing shows it: whether somebody holds it, and its SHOWN values as text."""

    name: str
    held: bool
    fields: dict[str, str]

    @classmethod
    def of(cls, blob: BlobProperties) -> Self:
        """A line of a listing."""
        return cls(blob.name, blob.lease.status == "locked", dict(blob.metadata or {}))


class LeasedDocuments:
    """The documents below a prefix of a container."""

    def __init__(self, account: Account, container: str, prefix: str, lease_seconds: int) -> None:
        self._container: ContainerClient = account.container(container)
        self._prefix, self._seconds = prefix, lease_seconds
        self._wish = f"{DEMAND_PREFIX}{secrets.token_hex(8)}"

    async def list_free(self, count: int) -> list[str]:
        """The names of those of the first `count` documents that nobody holds; missing ones are made."""
        wanted = [self.name(number) for number in range(count)]
        with map_errors("listing the slots"):
            listing = self._container.list_blobs(name_starts_with=self._prefix)
            leased = {blob.name: blob.lease.status == "locked" async for blob in listing}
            for name in wanted:
                if name not in leased:
                    await self._make(name)
        return [name for name in wanted if not leased.get(name)]

    async def summaries(self) -> list[DocumentSummary]:
        """All documents that there are, without reading or holding any."""
        with map_errors("listing the slots"):
            listing = self._container.list_blobs(name_starts_with=self._prefix, include=["metadata"])
            return [DocumentSummary.of(blob) async for blob in listing]

    def name(self, number: int) -> str:
        """The name of a document by its number."""
        return f"{self._prefix}{number:03d}.json"

    async def break_lease(self, name: str) -> None:
        """Let the lease of whoever holds a document run out: it cannot be renewed any more."""
        with map_errors("ending the lease of a slot"):
            try:
                await BlobLeaseClient(self._container.get_blob_client(name)).break_lease()
            except HttpResponseError as error:
                if error.status_code not in LEASE_LOST_STATUSES:
                    raise

    async def acquire(self, name: str) -> LeasedDocument | None:
        """Hold a document; None when another process holds it."""
        blob = self._container.get_blob_client(name)
        with map_errors("leasing a slot"):
            try:
                lease = await blob.acquire_lease(self._seconds)
            except (ResourceExistsError, ResourceNotFoundError):
                return None
            document = LeasedDocument(blob, lease, {})
            try:
                document.content = _read(await (await blob.download_blob()).readall())
            except BaseException:
                with suppress(PipelineError):
                    await document.release()
                raise
        return document

    async def publish_demand(self, held: int, *, more: bool) -> None:
        """Let other processes know how many documents this one holds, and whether it has work for more."""
        said = {"held": str(held), "more": str(int(more))}
        with map_errors("asking for slots"):
            await self._container.upload_blob(self._wish, b"", overwrite=True, metadata=said)

    async def withdraw_demand(self) -> None:
        """Take the wish back."""
        with map_errors("asking for slots"):
            await self._remove(self._wish)

    async def demands(self) -> list[tuple[int, bool]]:
        """How many documents each other process holds that says so, and whether it has work for more."""
        now = datetime.now(UTC)
        with map_errors("looking who asks for slots"):
            listing = self._container.list_blobs(name_starts_with=DEMAND_PREFIX, include=["metadata"])
            others = [blob async for blob in listing if blob.name != self._wish]
            for blob in others:
                if blob.last_modified < now - DEMAND_RETENTION:
                    await self._remove(blob.name)
        return [_wished(blob.metadata or {}) for blob in others if blob.last_modified > now - DEMAND_TTL]

    async def _remove(self, name: str) -> None:
        with suppress(ResourceNotFoundError):
            await self._container.delete_blob(name)

    async def _make(self, name: str) -> None:
        with ignore_existing():
            await self._container.upload_blob(name, b"{}", overwrite=False)


def _wished(said: dict[str, str]) -> tuple[int, bool]:
    held = said.get("held", "")
    return int(held) if held.isdigit() else 0, said.get("more") == "1"


def _read(text: bytes) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _lost(error: HttpResponseError) -> Exception:
    return (
        LeaseLost("this process does not hold the slot any more") if error.status_code in LEASE_LOST_STATUSES else error
    )
