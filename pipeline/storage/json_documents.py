"""Store of small JSON documents that are read by name: idempotency keys and ad-hoc recipes."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
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


@dataclass(frozen=True)
class DocumentName:
    """The name of a stored document, the time of its last write and its ETag."""

    name: str
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

    async def page(self, cursor: str = "", limit: int = 1000) -> tuple[list[DocumentName], str]:
        """Return a page of the names of the documents, and the next page's cursor, empty at the end."""
        pages = self._client.list_blobs(name_starts_with=self._prefix, results_per_page=limit).by_page(cursor or None)
        with map_errors("listing documents"):
            try:
                found = [blob async for blob in await anext(pages)]
            except StopAsyncIteration:
                found = []
        names = [DocumentName(blob.name.removeprefix(self._prefix), blob.last_modified, blob.etag) for blob in found]
        return names, getattr(pages, "continuation_token", None) or ""

    async def delete(self, document: DocumentName) -> bool:
        """Delete a document. Returns False if it has been written since it was listed, or is gone."""
        name, unchanged = self._prefix + document.name, MatchConditions.IfNotModified
        with map_errors("deleting a document"), suppress(ResourceModifiedError), IgnoreMissing():
            await self._client.delete_blob(name, etag=document.etag, match_condition=unchanged)
            return True
        return False
