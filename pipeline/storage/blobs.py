"""Sources: blob names, streamed reads of a pinned version, and listings."""

import asyncio
import hashlib
import re
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from math import inf
from pathlib import PurePosixPath
from typing import Annotated
from urllib.parse import unquote

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceModifiedError, ResourceNotFoundError
from azure.storage.blob import BlobProperties, ContentSettings
from azure.storage.blob.aio import BlobClient, ContainerClient, StorageStreamDownloader
from pydantic import AfterValidator, Field, StringConstraints, TypeAdapter, ValidationError

from pipeline.errors import ConfigError, JobSuperseded, PermanentError, SourceChanged
from pipeline.settings import MIB
from pipeline.storage.account import READ_CHUNK_BYTES, Account, is_missing, map_errors, map_listing_errors
from pipeline.storage.fast_responses import TakenBlobs
from pipeline.storage.listed import Listed
from pipeline.storage.staging import Staged
from pipeline.telemetry import printable

MAX_FILE_NAME_CHARACTERS = 100
# Control characters, and those that XML cannot hold. Storage escapes such a name in listings; the emulator fails.
CONTROL_CHARACTERS = r"\x00-\x1f\x7f-\x9f\ufffe\uffff"
# Waiting jobs hold at most this much of their sources. The sources of further ones are read again, by one call more.
MAX_HELD_BYTES = 64 * MIB
# The SDK holds a part twice while it arrives. More reads at once would multiply that by the number of waiting jobs.
OPENED_AT_ONCE = 8
# Hashing this much takes less than a millisecond; more would delay the other jobs of the process.
HASHED_IN_LOOP_BYTES = 256 * 1024


def _within_container(name: str) -> str:
    """Reject URLs and path traversal: HTTP clients resolve `.` and `..`, encoded or not, to the URL of another blob."""
    if "://" in name:
        raise ValueError("a source is named by container and blob name, not by a URL")
    if name.startswith("/") or "\\" in name:
        raise ValueError("a blob name has no slash at its start and no backslash")
    if {".", ".."} & {unquote(part) for part in name.split("/")}:
        raise ValueError("no part of a blob name may be '.' or '..'")
    return name


BlobName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=1024, pattern=rf"^[^{CONTROL_CHARACTERS}]+$"),
    AfterValidator(_within_container),
    Field(description="Name of the blob in its container.", examples=["photos/a.jpg"]),
]
_BLOB_NAME = TypeAdapter(BlobName)


def is_blob_name(name: str) -> bool:
    """Tell if `name` names one blob in its own container, however HTTP clients normalize the URL."""
    try:
        _BLOB_NAME.validate_python(name)
    except ValidationError:
        return False
    return True


def safe_file_name(name: str) -> str:
    """Reduce a file name to its last part, with letters, digits and `-_.` only; `image` if nothing is left."""
    last = PurePosixPath(name.replace("\\", "/")).name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip(".-")[-MAX_FILE_NAME_CHARACTERS:] or "image"


# Accounts without index tags, such as those with a hierarchical namespace, respond with one of these.
TAGS_UNSUPPORTED_STATUSES = (400, 405, 409, 501)
# After a refusal, listings leave tags out for this long: it may have been a role that was not effective yet.
TAGS_REFUSED_SECONDS = 900.0


FOLDER_METADATA_KEY = "hdi_isfolder"
"""Metadata key of folder markers: azcopy, blobfuse and accounts with a hierarchical namespace write it."""


def unquoted(etag: str) -> str:
    """Return an ETag without quotation marks: a listing omits them, a read does not."""
    return etag.strip('"')


def is_folder_marker(name: str, size: int, metadata: Mapping[str, str] | None) -> bool:
    """Return True for an empty blob that stands for a folder, by its metadata or by a name that ends in a slash."""
    marked = {key.lower(): value.lower() for key, value in (metadata or {}).items()}
    return size == 0 and (name.endswith("/") or marked.get(FOLDER_METADATA_KEY) == "true")


class HeldBytes:
    """Budget of the bytes that all waiting jobs of a process hold of their sources."""

    def __init__(self, most: int = MAX_HELD_BYTES) -> None:
        self._left = most

    def take(self, size: int) -> bool:
        """Take bytes from the budget. Returns False if they exceed it."""
        if size > self._left:
            return False
        self._left -= size
        return True

    def give_back(self, size: int) -> None:
        """Return bytes to the budget."""
        self._left += size


class Source:
    """A blob pinned by its ETag, with its size in bytes, its metadata and its content in chunks of at most 4 MiB.

    The bytes of a blob of at most 4 MiB arrived when it was opened. Its job holds them while it waits, within the
    budget of the process; the bytes of a larger blob are read later. `content_md5` is the Content-MD5 that the blob
    declares, hexadecimal. `sha256` is the SHA-256 of the content, hexadecimal, known once it has been read to its end.
    """

    def __init__(
        self, container: str, blob: BlobClient, first: StorageStreamDownloader[bytes], held: HeldBytes
    ) -> None:
        properties = first.properties
        self.container, self.name = container, blob.blob_name
        self.etag = unquoted(properties.etag)
        self.size: int = properties.size
        self.content_type: str = properties.content_settings.content_type or ""
        self.content_md5 = _md5(properties.content_settings)
        self.metadata: dict[str, str] = dict(properties.metadata or {})
        self.sha256 = ""
        self._blob = blob
        self._tags: dict[str, str] | None = None
        is_held = self.size <= READ_CHUNK_BYTES and held.take(self.size)
        self._first: StorageStreamDownloader[bytes] | None = first if is_held else None
        # It also runs when a job ends without reading its source.
        self._give_back = weakref.finalize(self, held.give_back, self.size) if is_held else None

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes of exactly this version, read again on every call.

        Raises SourceChanged if the blob has another version by now, and JobSuperseded if it is gone.
        """
        with map_errors(f"reading {self.container}/{self.name}"):
            try:
                stream = self._take_first() or await self._reopen()
                digest = hashlib.sha256()
                async for chunk in stream.chunks():
                    if len(chunk) > HASHED_IN_LOOP_BYTES:
                        await asyncio.to_thread(digest.update, chunk)
                    else:
                        digest.update(chunk)
                    yield chunk
                self.sha256 = digest.hexdigest()
            except ResourceModifiedError as error:
                raise SourceChanged(f"{self.container}/{self.name} changed while it was read") from error
            except ResourceNotFoundError as error:
                if not is_missing(error):
                    raise
                raise self._gone() from error

    async def tags(self) -> dict[str, str]:
        """Return the index tags of the blob, read once; empty in an account without tags."""
        if self._tags is None:
            self._tags = await self._read_tags()
        return self._tags

    def _take_first(self) -> StorageStreamDownloader[bytes] | None:
        if self._give_back:
            self._give_back()
        first, self._first = self._first, None
        return first

    async def _reopen(self) -> StorageStreamDownloader[bytes]:
        return await self._blob.download_blob(
            etag=f'"{self.etag}"', match_condition=MatchConditions.IfNotModified, decompress=False
        )

    async def _read_tags(self) -> dict[str, str]:
        with map_errors(f"reading the tags of {self.container}/{self.name}"):
            try:
                return dict(await self._blob.get_blob_tags())
            except HttpResponseError as error:
                if is_missing(error):
                    raise self._gone() from error
                if error.status_code not in TAGS_UNSUPPORTED_STATUSES:
                    raise
                return {}

    def _gone(self) -> JobSuperseded:
        return JobSuperseded(f"{self.container}/{self.name} was deleted while it was read", kind="source_gone")


def _listed(blob: BlobProperties, *, tags: bool = False) -> Listed:
    return Listed(
        blob.name,
        unquoted(blob.etag),
        blob.size,
        blob.content_settings.content_type or "",
        blob.last_modified,
        _md5(blob.content_settings),
        dict(blob.metadata or {}),
        dict(blob.tags or {}) if tags else None,
    )


def _md5(settings: ContentSettings) -> str:
    return bytes(settings.content_md5 or b"").hex()


class Sources:
    """Containers from which jobs may read."""

    def __init__(
        self, account: Account, containers: tuple[str, ...], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Open containers of an account. `clock` returns seconds."""
        self._containers = {name: account.container(name) for name in containers}
        self._held = HeldBytes()
        self._opening = asyncio.Semaphore(OPENED_AT_ONCE)
        self._clock, self._tags_listed_from = clock, -inf

    async def open(self, container: str, name: str) -> Source:
        """Open a blob and pin its current version.

        Raises:
            JobSuperseded: The blob does not exist, or marks a folder.
            PermanentError: Of kind `bad_name`, if its name has a control character, which renditions would inherit.
        """
        if re.search(f"[{CONTROL_CHARACTERS}]", name):
            raise PermanentError(
                f"the name of the blob {container}/{printable(name)} has a control character: rename the blob",
                kind="bad_name",
            )
        blob = self._container(container).get_blob_client(name)
        with map_errors(f"reading {container}/{name}"), _must_exist(container, name):
            # Without decompression: the declared encoding may be wrong, and the size is that of the stored bytes.
            async with self._opening:
                stream = await blob.download_blob(decompress=False)
        source = Source(container, blob, stream, self._held)
        _refuse_folder(container, name, source.size, source.metadata)
        return source

    async def page(
        self,
        container: str,
        prefix: str = "",
        cursor: str = "",
        limit: int = 5000,
        *,
        tags: bool = False,
        start: str = "",
    ) -> tuple[list[Listed], str]:
        """Return a page of at most `limit` sources below a prefix, and the next page's cursor, empty at the end.

        With `start`, the listing begins at the first name at or behind it.

        Folder markers are left out. With `tags`, the sources have their index tags, unless storage refuses to list
        them: the account has none, or the app may not read them. They are then left out for some minutes.
        """
        tags = tags and self._clock() >= self._tags_listed_from
        with map_listing_errors(container):
            try:
                return await self._page(container, prefix, cursor, limit, start, tags=tags)
            except HttpResponseError as error:
                if not (tags and error.status_code in (403, *TAGS_UNSUPPORTED_STATUSES)):
                    raise
                page = await self._page(container, prefix, cursor, limit, start, tags=False)
                self._tags_listed_from = self._clock() + TAGS_REFUSED_SECONDS
                return page

    async def _page(
        self, container: str, prefix: str, cursor: str, limit: int, start: str, *, tags: bool
    ) -> tuple[list[Listed], str]:
        listing = self._container(container).list_blobs(
            name_starts_with=prefix or None,
            start_from=start or None,
            include=["metadata", "tags"] if tags else ["metadata"],
            results_per_page=limit,
            raw_response_hook=(taken := TakenBlobs(tags=tags)),
        )
        pages = listing.by_page(cursor or None)
        try:
            found = [_listed(blob, tags=tags) async for blob in await anext(pages)]
        except StopAsyncIteration:
            found = []
        listed = found if taken.blobs is None else taken.blobs
        page = [one for one in listed if not is_folder_marker(one.name, one.size, one.metadata)]
        return page, getattr(pages, "continuation_token", None) or ""

    async def first_name(self, container: str, prefix: str, start: str) -> str:
        """Return the name of the first blob below a prefix at or behind `start`; empty if there is none."""
        with map_listing_errors(container):
            names = self._container(container).list_blobs(
                name_starts_with=prefix or None, start_from=start, results_per_page=1
            )
            async for blob in names:
                return str(blob.name)
        return ""

    async def stat(self, container: str, name: str) -> Listed:
        """Return the current properties of a blob. Raises JobSuperseded if it does not exist, or marks a folder."""
        with map_errors(f"reading the properties of {container}/{name}"), _must_exist(container, name):
            blob = await self._container(container).get_blob_client(name).get_blob_properties()
        _refuse_folder(container, name, blob.size, blob.metadata)
        return _listed(blob)

    async def find(self, container: str, name: str) -> Listed:
        """Return a blob's properties from a listing: storage lists a blob that it refuses to read.

        Raises JobSuperseded if it is not listed.
        """
        # The first name with this prefix is the name itself.
        listed, _ = await self.page(container, name, limit=1)
        if not listed or listed[0].name != name:
            raise JobSuperseded(f"the blob {container}/{name} does not exist", kind="source_gone")
        return listed[0]

    async def is_current(self, container: str, name: str, etag: str) -> bool:
        """Return True if the blob still has this ETag."""
        try:
            return (await self.stat(container, name)).etag == etag
        except JobSuperseded:
            return False

    async def put(
        self,
        container: str,
        name: str,
        data: bytes | memoryview,
        content_type: str,
        metadata: dict[str, str] | None = None,
    ) -> None:
        """Store an image of a request. An existing blob of that name is the same image: such names are never reused.

        A large image is written in blocks: the client would copy it for a single request.
        """
        staged = Staged(self._container(container).get_blob_client(name))
        settings = ContentSettings(content_type=content_type)
        with map_errors(f"storing {container}/{name}"), memoryview(data) as view:
            for start in range(0, len(view), MIB):
                await staged.add(view[start : start + MIB])
            await staged.commit(
                metadata=metadata or {}, content_settings=settings, match_condition=MatchConditions.IfMissing
            )

    def _container(self, name: str) -> ContainerClient:
        try:
            return self._containers[name]
        except KeyError:
            raise ConfigError(
                f"jobs do not read from the container {name!r}, only from {', '.join(sorted(self._containers))}"
            ) from None


@contextmanager
def _must_exist(container: str, name: str) -> Iterator[None]:
    """Raise JobSuperseded if the blob does not exist; not for any other 404 (see `is_missing`)."""
    try:
        yield
    except ResourceNotFoundError as error:
        if not is_missing(error):
            raise
        raise JobSuperseded(f"the blob {container}/{name} does not exist", kind="source_gone") from error


def _refuse_folder(container: str, name: str, size: int, metadata: Mapping[str, str] | None) -> None:
    """Raise JobSuperseded if the blob is a folder marker: nothing is to be done about it."""
    if is_folder_marker(name, size, metadata):
        raise JobSuperseded(f"the blob {container}/{name} is a folder marker, not an image", kind="folder_marker")
