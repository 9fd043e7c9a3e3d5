"""Cache of assets: images and fonts that recipes use, read from blobs and checked for changes once a minute."""

import hashlib
import time
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import ResourceModifiedError, ResourceNotFoundError, ResourceNotModifiedError

from pipeline.errors import RecipeError
from pipeline.settings import MIB
from pipeline.storage.account import Account, is_missing, map_errors

MAX_ASSET_BYTES = 16 * MIB
# An asset is used for this long before it is checked for changes.
CACHE_SECONDS = 60.0
# Limits of the cache. The least recently used assets are evicted first.
MAX_CACHED_ASSETS, MAX_CACHED_BYTES = 256, 64 * MIB


@dataclass(frozen=True)
class Asset:
    """An asset: its content, and its file name in a session, which comes from the content and not from the blob.

    `checked` is the monotonic time of the last check for changes.
    """

    file: str
    data: bytes
    etag: str
    checked: float


class Assets:
    """Assets of a container, cached in memory."""

    def __init__(self, account: Account, container: str) -> None:
        self.container = container
        self._client = account.container(container)
        self._cache: dict[str, Asset] = {}

    async def get(self, name: str) -> Asset:
        """Return an asset. Raises RecipeError if it does not exist or is larger than 16 MiB."""
        asset = self._cache.get(name)
        if asset is None or time.monotonic() - asset.checked > CACHE_SECONDS:
            asset = await self._read(name, asset)
        self._remember(name, asset)
        return asset

    def _remember(self, name: str, asset: Asset) -> None:
        """Cache an asset as the most recently used one, and evict others beyond the limits."""
        self._cache.pop(name, None)
        self._cache[name] = asset
        size = sum(len(each.data) for each in self._cache.values())
        while len(self._cache) > MAX_CACHED_ASSETS or size > MAX_CACHED_BYTES:
            size -= len(self._cache.pop(next(iter(self._cache))).data)

    async def _read(self, name: str, cached: Asset | None) -> Asset:
        condition: dict[str, Any] = (
            {"etag": cached.etag, "match_condition": MatchConditions.IfModified} if cached else {}
        )
        with map_errors(f"reading {self.container}/{name}"):
            try:
                stream = await self._client.get_blob_client(name).download_blob(decompress=False, **condition)
            except (ResourceNotModifiedError, ResourceModifiedError):  # the SDK raises the second for a status of 304
                assert cached is not None  # noqa: S101 - only then does the request have a condition
                return Asset(cached.file, cached.data, cached.etag, time.monotonic())
            except ResourceNotFoundError as error:
                if not is_missing(error):
                    raise
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
