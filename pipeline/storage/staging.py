"""Blobs that are written in blocks, and become visible with their commit."""

import base64
import secrets
from typing import Any

from azure.core.exceptions import HttpResponseError, ResourceModifiedError
from azure.storage.blob import BlobBlock
from azure.storage.blob.aio import BlobClient

from pipeline.storage.account import BLOCK_BYTES, already_exists


class Staged:
    """A staged blob: at most one block of 4 MiB in memory, the rest as uncommitted blocks in storage."""

    def __init__(self, blob: BlobClient) -> None:
        self._blob = blob
        self._buffer = bytearray()
        self._blocks: list[BlobBlock] = []
        self._writer = secrets.token_hex(8)

    async def add(self, chunk: bytes | memoryview) -> None:
        """Append bytes; store full blocks."""
        self._buffer += chunk
        while len(self._buffer) > BLOCK_BYTES:
            await self._stage()

    async def commit(self, **options: Any) -> str | None:  # noqa: ANN401 - options of the SDK
        """Commit under a condition. Returns the blob's new ETag in quotes; None if the condition does not hold."""
        try:
            if not self._blocks:
                written = await self._blob.upload_blob(bytes(self._buffer), **options)
            else:
                if self._buffer:
                    await self._stage()
                written = await self._blob.commit_block_list(self._blocks, **options)
        except ResourceModifiedError:
            return None
        except HttpResponseError as error:
            if already_exists(error):
                return None
            # After InvalidBlockList the other writer may be an older generation of this job. The retry decides by it.
            raise
        return str(written["etag"])

    async def _stage(self) -> None:
        # All block ids of a blob must have the same length. The random part separates concurrent writers.
        name = base64.b64encode(f"{self._writer}{len(self._blocks):06d}".encode()).decode()
        with memoryview(self._buffer) as view:
            block = bytes(view[:BLOCK_BYTES])
        await self._blob.stage_block(name, block)
        self._blocks.append(BlobBlock(name))
        del self._buffer[:BLOCK_BYTES]
