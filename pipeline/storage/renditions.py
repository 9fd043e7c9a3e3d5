"""Renditions: conditional commits to the output container, fenced by the generation."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import ResourceModifiedError, ResourceNotFoundError
from azure.storage.blob import BlobProperties, ContentSettings

from pipeline.errors import BlobUnavailable, JobSuperseded, OutdatedDeployment, OutputError, PermanentError
from pipeline.storage.account import Account, is_missing, map_errors, map_listing_errors
from pipeline.storage.blobs import unquoted
from pipeline.storage.deployment import is_older
from pipeline.storage.rendition_mark import MARK_PREFIX, MarkedBlob, RenditionMark
from pipeline.storage.staging import Staged


@dataclass(frozen=True)
class RenditionBlob:
    """Path, headers and metadata of a rendition."""

    path: str
    content_type: str
    cache_control: str | None
    metadata: dict[str, str]


class Renditions:
    """Renditions in the output container. Commits are conditional: an older job never overwrites a newer result."""

    def __init__(self, account: Account, container: str) -> None:
        self.container = container
        self._client = account.container(container)

    async def stage(self, path: str, chunks: AsyncIterator[bytes]) -> Staged:
        """Stage a rendition, not yet visible: up to 4 MiB in memory, a larger one as uncommitted blocks."""
        staged = Staged(self._client.get_blob_client(path))
        with map_errors(f"writing {self.container}/{path}"):
            async for chunk in chunks:
                await staged.add(chunk)
        return staged

    async def commit(self, staged: Staged, blob: RenditionBlob, mark: RenditionMark, replaced: str = "") -> str:
        """Commit a staged rendition: make it visible, in place of an older generation's. Returns its ETag.

        `replaced` is the ETag that an older generation of this job has recorded for the path. If the blob still has it,
        one call replaces the blob; otherwise the blob is read first.

        Raises:
            OutputError: The path holds a rendition of another job, or a blob that is not the pipeline's.
            JobSuperseded: A newer generation of this job has committed it.
            OutdatedDeployment: A newer deployment has committed it with another recipe version.
            BlobUnavailable: Another writer was faster, or another program leases the blob.
        """
        with map_errors(f"committing {self.container}/{blob.path}"):
            condition = _if_unchanged(replaced) if replaced else {"match_condition": MatchConditions.IfMissing}
            headers = ContentSettings(content_type=blob.content_type, cache_control=blob.cache_control)
            # Part of the metadata comes from a session, which must not complete a mark.
            own = {name: text for name, text in blob.metadata.items() if not name.lower().startswith(MARK_PREFIX)}
            metadata = {**own, **mark.metadata()}
            for _ in range(5):
                etag = await staged.commit(content_settings=headers, metadata=metadata, **condition)
                if etag is not None:
                    return unquoted(etag)
                condition = await self._may_replace(blob.path, mark)
        raise BlobUnavailable(
            f"{self.container}/{blob.path} was changed by other writers five times", kind="overwritten"
        )

    async def read(self, path: str, max_bytes: int | None = None) -> tuple[bytes, str]:
        """Return the bytes and the content type of a rendition.

        Raises:
            JobSuperseded: It does not exist.
            PermanentError: Of kind `response_too_large`, if it has more than `max_bytes`.
        """
        with map_errors(f"reading {self.container}/{path}"):
            try:
                stream = await self._client.get_blob_client(path).download_blob(decompress=False)
                if max_bytes is not None and stream.size > max_bytes:
                    raise PermanentError(
                        f"{self.container}/{path} has {stream.size:,} bytes, more than {max_bytes:,}: read it there",
                        kind="response_too_large",
                    )
                return (
                    await stream.readall(),
                    stream.properties.content_settings.content_type or "application/octet-stream",
                )
            except ResourceNotFoundError as error:
                if not is_missing(error):
                    raise
                raise JobSuperseded(f"the rendition {path} does not exist", kind="rendition_gone") from error

    async def exist(self, paths: list[str]) -> bool:
        """Return True if every one of these paths holds a blob."""
        with map_errors(f"checking renditions in {self.container}"):
            return all([await self._client.get_blob_client(path).exists() for path in paths])

    async def marked(self, prefix: str = "", cursor: str = "") -> tuple[list[MarkedBlob], str]:
        """Return a page of the blobs with the pipeline's metadata, and the next page's cursor, empty at the end."""
        listing = self._client.list_blobs(name_starts_with=prefix or None, include=["metadata"])
        pages = listing.by_page(cursor or None)
        with map_listing_errors(self.container):
            try:
                found = [(blob, RenditionMark.of(blob.metadata)) async for blob in await anext(pages)]
            except StopAsyncIteration:
                found = []
        return [_marked(blob, mark) for blob, mark in found if mark], getattr(pages, "continuation_token", None) or ""

    async def delete(self, path: str, etag: str) -> bool:
        """Delete the blob with this ETag. Returns False if it has another one by now, or is gone."""
        with map_errors(f"deleting {self.container}/{path}"):
            try:
                client = self._client.get_blob_client(path)
                await client.delete_blob(**_if_unchanged(etag))
            except ResourceModifiedError:
                return False
            except ResourceNotFoundError as error:
                if not is_missing(error):
                    raise
                return False
        return True

    async def _may_replace(self, path: str, mark: RenditionMark) -> dict[str, Any]:
        try:
            existing = await self._client.get_blob_client(path).get_blob_properties()
        except ResourceNotFoundError as error:
            if not is_missing(error):
                raise
            return {"match_condition": MatchConditions.IfMissing}
        there = RenditionMark.of(existing.metadata)
        if there is None or there.job != mark.job:
            other_owner = f"job {there.job}" if there else "another program"
            raise OutputError(
                f"{self.container}/{path} exists already and belongs to {other_owner}; it is kept. "
                "Change the recipe's path so that no two sources share one, or delete that blob"
            )
        if there.generation > mark.generation:
            raise JobSuperseded(f"a newer generation of {path} has been committed")
        if is_older(mark.deployment, there.deployment) and there.recipe_version != mark.recipe_version:
            raise OutdatedDeployment(
                f"{self.container}/{path} is of the newer deployment {there.deployment}, with another recipe version; "
                f"this process belongs to the deployment {mark.deployment}"
            )
        return _if_unchanged(existing.etag)


def _if_unchanged(etag: str) -> dict[str, Any]:
    """Return the condition that the blob has this ETag."""
    return {"etag": f'"{unquoted(etag)}"', "match_condition": MatchConditions.IfNotModified}


def _marked(blob: BlobProperties, mark: RenditionMark) -> MarkedBlob:
    return MarkedBlob(blob.name, unquoted(blob.etag), blob.size, mark, blob.last_modified)
