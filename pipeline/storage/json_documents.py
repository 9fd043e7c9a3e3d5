"""Small JSON documents that are written once and looked up by name: what a key stood for, a recipe of a request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import ResourceExistsError, ResourceModifiedError, ResourceNotFoundError

from pipeline.storage.account import Account, already_exists, map_errors


@dataclass(frozen=True)
class StoredDocument:
    """What was written, and when."""

    content: dict[str, Any]
    written: datetime
    etag: str


class DocumentStore:
    """The documents below a prefix of a container."""

    def __init__(self, account: Account, container: str, prefix: str) -> None:
        self._client = account.container(container)
        self._prefix = prefix

    async def add(self, name: str, content: Mapping[str, Any], replaces: StoredDocument | None = None) -> bool:
        """Write a document unless there is one, or in the place of exactly `instead_of`. False: somebody was faster."""
        condition: dict[str, Any] = {"overwrite": False}
        if replaces:
            condition = {
                "overwrite": True,
                "etag": replaces.etag,
                "match_condition": MatchConditions.IfNotModified,
            }
        with map_errors("writing a note"):
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
        """The document of that name, or None."""
        with map_errors("reading a note"):
            try:
                stream = await self._client.download_blob(self._prefix + name)
                content = json.loads(await stream.readall())
            except ResourceNotFoundError as error:
                if error.error_code == "ContainerNotFound":  # type: ignore[attr-defined]
                    raise
                return None
        return StoredDocument(content, stream.properties.last_modified, stream.properties.etag)

    async def delete_older(self, older: timedelta) -> int:
        """Delete what was written longer ago than that: how many there were."""
        limit, gone = datetime.now(UTC) - older, 0
        with map_errors("deleting old notes"):
            async for blob in self._client.list_blobs(name_starts_with=self._prefix):
                if blob.last_modified < limit:
                    try:
                        await self._client.delete_blob(
                            blob.name, etag=blob.etag, match_condition=MatchConditions.IfNotModified
                        )
                        gone += 1
                    except (ResourceNotFoundError, ResourceModifiedError):
                        continue
        return gone
