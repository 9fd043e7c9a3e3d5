"""Pictures and fonts that recipes use: small blobs, read once and looked at again now and then."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import ResourceModifiedError, ResourceNotFoundError, ResourceNotModifiedError

from pipeline.errors import RecipeError
from pipeline.settings import MIB
from pipeline.storage.account import Account, map_errors

MAX_ASSET_BYTES = 16 * MIB
# How long an asset is used before it is asked whether it has changed.
CACHE_SECONDS = 60.0
# What is kept of them in memory: so many, and so many bytes together. Those that nobody has used for longest go first.
MAX_CACHED_ASSETS, MAX_CACHED_BYTES = 256, 64 * MIB


@dataclass(frozen=True)
class Asset:
    """The content of an asset, and the name that its file gets in a session: of its content, never the blob's own."""

    file: str
    data: bytes
    etag: str
    checked: float


class Assets:
    """The container of assets."""

    def __init__(self, account: Account, container: str) -> None:
        self.container = container
        self._client = account.container(container)
        self._known: dict[str, Asset] = {}

    async def get(self, name: str) -> Asset:
        """An asset. RecipeError when there is none of that name, or when it is too large."""
        asset = self._known.get(name)
        if asset is None or time.monotonic() - asset.checked > CACHE_SECONDS:
            asset = await self._read(name, asset)
        self._keep(name, asset)
        return asset

    def _keep(self, name: str, asset: Asset) -> None:
        """Remember it as the one that was used last, and forget others where that is too much."""
        self._known.pop(name, None)
        self._known[name] = asset
        held = sum(len(each.data) for each in self._known.values())
        while len(self._known) > MAX_CACHED_ASSETS or held > MAX_CACHED_BYTES:
            held -= len(self._known.pop(next(iter(self._known))).data)

    async def _read(self, name: str, known: Asset | None) -> Asset:
        condition: dict[str, Any] = {"etag": known.etag, "match_condition": MatchConditions.IfModified} if known else {}
        with map_errors(f"reading {self.container}/{name}"):
            try:
                stream = await self._client.get_blob_client(name).download_blob(decompress=False, **condition)
            except (ResourceNotModifiedError, ResourceModifiedError):  # the SDK raises the second for a status of 304
                assert known is not None  # noqa: S101 - only then is there a condition
                return Asset(known.file, known.data, known.etag, time.monotonic())
            except ResourceNotFoundError as error:
                raise RecipeError(
                    f"the recipe needs {name!r}, which is not in the container {self.container!r}: upload it there",
                    kind="asset_missing",
                ) from error
            if stream.size > MAX_ASSET_BYTES:
                raise RecipeError(
                    f"{self.container}/{name} is larger than {MAX_ASSET_BYTES:,} bytes", kind="asset_too_large"
                )
            data = await stream.readall()
        suffix = "".join(char for char in PurePosixPath(name).suffix.lower() if char.isalnum() or char == ".")[:10]
        file = f"asset-{hashlib.sha256(data).hexdigest()[:16]}{suffix}"
        return Asset(file, data, stream.properties.etag, time.monotonic())
