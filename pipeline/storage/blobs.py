"""Sources and renditions: reading the one and committing the other, streamed and conditional."""

from __future__ import annotations

import base64
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceModifiedError, ResourceNotFoundError
from azure.storage.blob import BlobBlock, BlobProperties, ContentSettings
from azure.storage.blob.aio import BlobClient, ContainerClient, StorageStreamDownloader

from pipeline.errors import ConfigError, JobSuperseded, OutputError, StorageUnavailable
from pipeline.storage.account import BLOCK_BYTES, READ_CHUNK_BYTES, Account, already_exists, ignore_existing, map_errors

# Metadata on every rendition: the second guard against loops, and what a conditional commit decides by.
JOB_METADATA_KEY = "pipeline_job"
GENERATION_METADATA_KEY = "pipeline_generation"


# How accounts without tags, such as those with a hierarchical namespace, answer to being asked for them.
TAGS_UNSUPPORTED_STATUSES = (400, 405, 409, 501)


def unquoted(etag: str) -> str:
    """An ETag without its quotation marks: a listing leaves them out, a read does not."""
    return etag.strip('"')


class Source:
    """A blob pinned by its ETag: `size` in bytes, `metadata`, and its bytes in chunks of at most 1 MiB.

    Of a small one all bytes have been fetched when it is made. Of a larger one none are kept: many may wait at once.
    """

    def __init__(self, container: str, blob: BlobClient, first: StorageStreamDownloader[bytes]) -> None:
        facts = first.properties
        self.container, self.name = container, blob.blob_name
        self.etag = unquoted(facts.etag)
        self.size: int = facts.size
        self.content_type: str = facts.content_settings.content_type or ""
        self.metadata: dict[str, str] = dict(facts.metadata or {})
        self._blob = blob
        self._first: StorageStreamDownloader[bytes] | None = first if self.size <= READ_CHUNK_BYTES else None

    async def chunks(self) -> AsyncIterator[bytes]:
        """The bytes of exactly this version, from storage anew each time. JobSuperseded when it has changed or gone."""
        with map_errors(f"reading {self.container}/{self.name}"):
            try:
                stream, self._first = self._first or await self._again(), None
                async for chunk in stream.chunks():
                    yield chunk
            except (ResourceModifiedError, ResourceNotFoundError) as error:
                raise JobSuperseded(f"{self.container}/{self.name} changed or went while it was read") from error

    async def _again(self) -> StorageStreamDownloader[bytes]:
        return await self._blob.download_blob(
            etag=f'"{self.etag}"', match_condition=MatchConditions.IfNotModified, decompress=False
        )

    async def tags(self) -> dict[str, str]:
        """The blob's index tags."""
        with map_errors(f"reading the tags of {self.container}/{self.name}"):
            try:
                return dict(await self._blob.get_blob_tags())
            except ResourceNotFoundError as error:
                raise JobSuperseded(f"{self.container}/{self.name} went while it was looked at") from error
            except HttpResponseError as error:
                if error.status_code not in TAGS_UNSUPPORTED_STATUSES:
                    raise
                return {}


@dataclass(frozen=True)
class Listed:
    """A source as a listing shows it."""

    name: str
    etag: str
    size: int
    content_type: str
    modified: datetime


def _listed(blob: BlobProperties) -> Listed:
    content_type = blob.content_settings.content_type or ""
    return Listed(blob.name, unquoted(blob.etag), blob.size, content_type, blob.last_modified)


class Sources:
    """The containers that jobs may read from."""

    def __init__(self, account: Account, containers: tuple[str, ...]) -> None:
        self._containers = {name: account.container(name) for name in containers}

    async def open(self, container: str, name: str) -> Source:
        """Pin the current version of a blob. JobSuperseded when there is none (any more)."""
        blob = self._container(container).get_blob_client(name)
        with map_errors(f"reading {container}/{name}"), _there(container, name):
            # As it is stored: a blob that is said to be compressed may not be, and has its stored size anyway.
            stream = await blob.download_blob(decompress=False)
        return Source(container, blob, stream)

    async def page(
        self, container: str, prefix: str = "", cursor: str = "", limit: int = 5000
    ) -> tuple[list[Listed], str]:
        """At most `size` sources below `prefix` from `marker` on, and the marker of what follows: empty at the end."""
        listing = self._container(container).list_blobs(name_starts_with=prefix or None, results_per_page=limit)
        pages = listing.by_page(cursor or None)
        with map_errors(f"listing {container}"):
            try:
                page = [_listed(blob) async for blob in await anext(pages)]
            except StopAsyncIteration:
                page = []
        return page, getattr(pages, "continuation_token", None) or ""

    async def stat(self, container: str, name: str) -> Listed:
        """What a blob is now, without reading it. JobSuperseded when there is none."""
        with map_errors(f"looking for {container}/{name}"), _there(container, name):
            return _listed(await self._container(container).get_blob_client(name).get_blob_properties())

    async def is_current(self, container: str, name: str, etag: str) -> bool:
        """Whether a blob still is that version."""
        try:
            return (await self.stat(container, name)).etag == etag
        except JobSuperseded:
            return False

    async def put(self, container: str, name: str, data: bytes, content_type: str) -> None:
        """Store an image that came with a request; fine when it is there already, since such names are never reused."""
        blob, settings = self._container(container).get_blob_client(name), ContentSettings(content_type=content_type)
        with map_errors(f"storing {container}/{name}"), ignore_existing():
            await blob.upload_blob(data, overwrite=False, content_settings=settings)

    def _container(self, name: str) -> ContainerClient:
        try:
            return self._containers[name]
        except KeyError:
            raise ConfigError(
                f"container {name!r} is not one that jobs read from: {sorted(self._containers)}"
            ) from None


@contextmanager
def _there(container: str, name: str) -> Iterator[None]:
    """JobSuperseded when the blob is not there. That its container is not is another matter."""
    try:
        yield
    except ResourceNotFoundError as error:
        if error.error_code == "ContainerNotFound":  # type: ignore[attr-defined]
            raise
        raise JobSuperseded(f"there is no blob {container}/{name}", kind="source_gone") from error


@dataclass(frozen=True)
class Ownership:
    """Which job a rendition belongs to, and in which generation: the later one wins."""

    job: str
    generation: int

    def metadata(self) -> dict[str, str]:
        """The mark that the rendition carries."""
        return {JOB_METADATA_KEY: self.job, GENERATION_METADATA_KEY: str(self.generation)}


@dataclass(frozen=True)
class RenditionBlob:
    """Where a rendition goes and how it is served."""

    path: str
    content_type: str
    cache_control: str | None
    metadata: dict[str, str]


@dataclass(frozen=True)
class MarkedBlob:
    """A blob of the output container that a job of the pipeline has committed."""

    path: str
    etag: str
    size: int
    job: str


class Renditions:
    """The output container. Every commit is conditional: a late loser never overwrites a newer result."""

    def __init__(self, account: Account, container: str) -> None:
        self.container = container
        self._client = account.container(container)

    async def stage(self, path: str, chunks: AsyncIterator[bytes]) -> Staged:
        """Take in a rendition without showing it: small ones in memory, larger ones as uncommitted blocks."""
        staged = Staged(self._client.get_blob_client(path))
        with map_errors(f"writing {self.container}/{path}"):
            async for chunk in chunks:
                await staged.add(chunk)
        return staged

    async def commit(self, staged: Staged, blob: RenditionBlob, owner: Ownership) -> None:
        """Make a staged rendition visible.

        OutputError when another job's rendition, or a blob that is not the pipeline's, is at that path;
        JobSuperseded when a newer generation of this job has written it.
        """
        with map_errors(f"committing {self.container}/{blob.path}"):
            condition: dict[str, Any] = {"match_condition": MatchConditions.IfMissing}
            for _ in range(5):
                if await staged.write(blob, owner, condition):
                    return
                condition = await self._may_replace(blob.path, owner)
        raise StorageUnavailable(f"{self.container}/{blob.path} keeps changing under this job", kind="overwritten")

    async def read(self, path: str) -> tuple[bytes, str]:
        """A rendition and its content type. JobSuperseded when it is not there."""
        with map_errors(f"reading {self.container}/{path}"):
            try:
                stream = await self._client.get_blob_client(path).download_blob(decompress=False)
                return (
                    await stream.readall(),
                    stream.properties.content_settings.content_type or "application/octet-stream",
                )
            except ResourceNotFoundError as error:
                raise JobSuperseded(f"there is no rendition {path}", kind="rendition_gone") from error

    async def exist(self, paths: list[str]) -> bool:
        """Whether there is a blob at each of these paths."""
        with map_errors(f"looking into {self.container}"):
            return all([await self._client.get_blob_client(path).exists() for path in paths])

    async def marked(self, prefix: str = "", cursor: str = "") -> tuple[list[MarkedBlob], str]:
        """A page of the blobs that carry the pipeline's mark, and the marker of what follows: empty at the end."""
        listing = self._client.list_blobs(name_starts_with=prefix or None, include=["metadata"])
        pages = listing.by_page(cursor or None)
        with map_errors(f"listing {self.container}"):
            try:
                found = [blob async for blob in await anext(pages) if JOB_METADATA_KEY in (blob.metadata or {})]
            except StopAsyncIteration:
                found = []
        marks = [MarkedBlob(blob.name, blob.etag, blob.size, blob.metadata[JOB_METADATA_KEY]) for blob in found]
        return marks, getattr(pages, "continuation_token", None) or ""

    async def delete(self, blob: MarkedBlob) -> bool:
        """Delete a blob as it was listed; False when it is gone, or is another one by now."""
        with map_errors(f"deleting {self.container}/{blob.path}"):
            try:
                client = self._client.get_blob_client(blob.path)
                await client.delete_blob(etag=f'"{unquoted(blob.etag)}"', match_condition=MatchConditions.IfNotModified)
            except (ResourceModifiedError, ResourceNotFoundError):
                return False
        return True

    async def _may_replace(self, path: str, owner: Ownership) -> dict[str, Any]:
        try:
            there = await self._client.get_blob_client(path).get_blob_properties()
        except ResourceNotFoundError:
            return {"match_condition": MatchConditions.IfMissing}
        marks = there.metadata or {}
        if marks.get(JOB_METADATA_KEY) != owner.job:
            whose = (
                f"job {marks[JOB_METADATA_KEY]}" if JOB_METADATA_KEY in marks else "something else than this pipeline"
            )
            raise OutputError(
                f"{self.container}/{path} is there already and was made by {whose}; it is left as it is. "
                "Change the recipe's path so that no two sources share one, or delete that blob"
            )
        if int(marks.get(GENERATION_METADATA_KEY, "0")) > owner.generation:
            raise JobSuperseded(f"a newer version of {path} has been committed")
        return {"etag": there.etag, "match_condition": MatchConditions.IfNotModified}


class Staged:
    """A rendition on its way: at most one block in memory, the rest in storage but not visible."""

    def __init__(self, blob: BlobClient) -> None:
        self._blob = blob
        self._buffer = bytearray()
        self._blocks: list[BlobBlock] = []
        self._writer = secrets.token_hex(8)

    async def add(self, chunk: bytes) -> None:
        """Append bytes."""
        self._buffer += chunk
        while len(self._buffer) > BLOCK_BYTES:
            await self._stage()

    async def write(self, blob: RenditionBlob, owner: Ownership, condition: dict[str, Any]) -> bool:
        """Commit under `condition`; False when it does not hold."""
        options = {
            "content_settings": ContentSettings(content_type=blob.content_type, cache_control=blob.cache_control),
            "metadata": {**blob.metadata, **owner.metadata()},
            **condition,
        }
        try:
            if not self._blocks:
                await self._blob.upload_blob(bytes(self._buffer), **options)
            else:
                if self._buffer:
                    await self._stage()
                await self._blob.commit_block_list(self._blocks, **options)
        except ResourceModifiedError:
            return False
        except HttpResponseError as error:
            if already_exists(error):
                return False
            if error.error_code == "InvalidBlockList":  # type: ignore[attr-defined]
                # It may be an older version of this job that was late: done again, the later one wins.
                raise StorageUnavailable(f"another writer committed {blob.path} first", kind="overwritten") from error
            raise
        return True

    async def _stage(self) -> None:
        # Block ids of one blob must be of equal length; the writer's part keeps two writers apart.
        name = base64.b64encode(f"{self._writer}{len(self._blocks):06d}".encode()).decode()
        await self._blob.stage_block(name, bytes(self._buffer[:BLOCK_BYTES]))
        self._blocks.append(BlobBlock(name))
        del self._buffer[:BLOCK_BYTES]
