"""Store of small JSON documents that are written once and read by name: idempotency keys and ad-hoc recipes."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import ResourceExistsError, ResourceModifiedError

from pipeline.storage.account import Account, IgnoreMissing, already_exists, map_errors


@dataclass(frozen=True)
class StoredDocument:
    """A stored document, the time of its write and its ETag."""

    content: dict[str, Any]
    written: datetime
    etag: str


class DocumentStore:
    """Documents below a prefix of a container."""

    def __init__(self, account: Account, container: str, prefix: str) -> None:
        self._client = account.container(container)
        self._prefix = prefix

    async def add(self, name: str, content: Mapping[str, Any], replaces: StoredDocument | None = None) -> bool:
        """Write a new document, or replace exactly the version `replaces`.

        Returns False if another process was faster.
        """
        condition: dict[str, Any] = {"overwrite": False}
        if replaces:
            condition = {
                "overwrite": True,
                "etag": replaces.etag,
                "match_condition": MatchConditions.IfNotModified,
            }
        with map_errors("writing a document"):
            try:
                await self._client.upload_blob(self._prefix + name, json.dumps(content).encode(), **condition)
            except ResourceModifiedError:
                return False
            except ResourceExistsError as error:
                if not already_exists(error):
                    raise
                return False
        return True

    async def get(self, name: str) -> StoredDocument | None:
        """Return the document of that name, or None."""
        with map_errors("reading a document"), IgnoreMissing():
            stream = await self._client.download_blob(self._prefix + name)
            content = json.loads(await stream.readall())
            return StoredDocument(content, stream.properties.last_modified, stream.properties.etag)
        return None

    async def delete_older(self, age: timedelta) -> int:
        """Delete the documents written longer ago than `age` (retention). Returns their number."""
        limit, deleted = datetime.now(UTC) - age, 0
        with map_errors("deleting old documents"):
            async for blob in self._client.list_blobs(name_starts_with=self._prefix):
                if blob.last_modified < limit:
                    with suppress(ResourceModifiedError), IgnoreMissing():
                        await self._client.delete_blob(
                            blob.name, etag=blob.etag, match_condition=MatchConditions.IfNotModified
                        )
                        deleted += 1
        return deleted
