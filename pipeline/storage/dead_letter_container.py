"""Dead-letter container: the blobs in which Event Grid stores the events that it could not deliver."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import ResourceModifiedError, ResourceNotFoundError

from pipeline.storage.account import Account, IgnoreMissing, map_errors

# The metadata of a blob that stays, with the reason. Retention of the container deletes it.
KEPT = "pipeline_kept"
MAX_REASON_LENGTH = 200


@dataclass(frozen=True)
class DeadLetterBlob:
    """A blob of dead-lettered events. Event Grid writes it once, at the time `written`."""

    name: str
    size: int
    etag: str
    written: datetime

    def is_of(self, subscription: str) -> bool:
        """Return True for events of a subscription: `SUBSCRIPTION/year/month/day/hour/id.json`, in upper case."""
        return self.name.lower().startswith(f"{subscription.lower()}/")


class DeadLetterContainer:
    """The container of dead-lettered events."""

    def __init__(self, account: Account, container: str) -> None:
        self._client = account.container(container)

    async def pending(self) -> AsyncIterator[DeadLetterBlob]:
        """Yield the blobs that are not kept aside, oldest days first within a subscription.

        Raises StorageNotFound if the container does not exist.
        """
        with map_errors("listing the dead-lettered events"):
            async for blob in self._client.list_blobs(include=["metadata"]):
                if KEPT not in (blob.metadata or {}):
                    yield DeadLetterBlob(blob.name, blob.size, blob.etag, blob.last_modified)

    async def read(self, blob: DeadLetterBlob) -> bytes | None:
        """Return the content of a blob; None if another process has deleted it."""
        with map_errors("reading dead-lettered events"), IgnoreMissing():
            return bytes(await (await self._client.download_blob(blob.name)).readall())
        return None

    async def delete(self, blob: DeadLetterBlob) -> None:
        """Delete a blob whose events are queued, unless it has changed or is gone."""
        with map_errors("deleting dead-lettered events"):
            try:
                await self._client.delete_blob(blob.name, **_unchanged(blob))
            except (ResourceModifiedError, ResourceNotFoundError):
                return

    async def keep(self, blob: DeadLetterBlob, reason: str) -> None:
        """Keep a blob aside: mark it with a reason, so that it is not read again."""
        text = reason.encode("ascii", "replace").decode()[:MAX_REASON_LENGTH]
        with map_errors("keeping dead-lettered events"):
            try:
                client = self._client.get_blob_client(blob.name)
                await client.set_blob_metadata({KEPT: text.replace("\n", " ").strip()}, **_unchanged(blob))
            except (ResourceModifiedError, ResourceNotFoundError):
                return


def _unchanged(blob: DeadLetterBlob) -> dict[str, Any]:
    return {"etag": blob.etag, "match_condition": MatchConditions.IfNotModified}
