"""The storage SDK's clients, as far as the pipeline uses them, over any way of carrying an operation out.

They turn calls into operations of `store`, and answers into the SDK's own values and errors. A call that the pipeline
makes and that is not here fails loudly: then the model is to learn it.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import (
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
    ServiceResponseError,
)
from azure.data.tables import TableTransactionError

from tests.model.store import MISSING, NONE, Answer, Blob, Items, Op

Ask = Callable[[Op], Awaitable[Answer]]
# What the service was told, and nobody heard its answer, however often they asked.
SILENT = 0
_ERRORS = {404: ResourceNotFoundError, 409: ResourceExistsError, 412: ResourceModifiedError}


class Clients:
    """In the place of `pipeline.storage.account.Account`."""

    def __init__(self, ask: Ask, token: Callable[[], str] = lambda: secrets.token_hex(8)) -> None:
        self._ask, self._token = ask, token

    def container(self, name: str) -> Container:
        """A container's client."""
        return Container(self._ask, name, self._token)

    def table(self, name: str) -> Table:
        """The table's client: there is one table."""
        return Table(self._ask)

    def queue(self, name: str) -> Queue:
        """The queue's client: there is one queue."""
        return Queue(self._ask)


async def _value(ask: Ask, op: Op) -> Any:
    answer = await ask(op)
    if answer.status == SILENT:
        raise ServiceResponseError("the connection broke off")
    if answer.status != 200:
        lease = answer.status == 412 and answer.code.startswith("Lease")
        error = HttpResponseError(answer.code) if lease else _ERRORS.get(answer.status, HttpResponseError)(answer.code)
        error.status_code, error.error_code = answer.status, answer.code  # type: ignore[attr-defined]
        error.response = answer.value
        raise error
    return answer.value


class Entity(dict[str, Any]):
    """As the tables' SDK gives them out."""

    metadata: dict[str, Any]


class Table:
    """TableClient."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def get_entity(self, recipe: str, key: str) -> Entity:
        items, etag = await _value(self._ask, ("row.get", recipe, key))
        entity = Entity(items)
        entity.metadata = {"etag": etag, "timestamp": None}
        return entity

    async def create_entity(self, entity: dict[str, Any]) -> dict[str, str]:
        return {"etag": await _value(self._ask, ("row.create", tuple(entity.items())))}

    async def update_entity(
        self, entity: dict[str, Any], mode: Any, etag: str, match_condition: MatchConditions
    ) -> dict[str, str]:
        assert match_condition is MatchConditions.IfNotModified
        return {"etag": await _value(self._ask, ("row.update", tuple(entity.items()), etag))}

    async def submit_transaction(self, changes: list[tuple[Any, ...]]) -> list[dict[str, str]]:
        asked = tuple(
            (verb, tuple(row.items()), (more[0] if more else {}).get("etag", "")) for verb, row, *more in changes
        )
        try:
            return [{"etag": etag} for etag in await _value(self._ask, ("rows", asked))]
        except HttpResponseError as error:
            refused = TableTransactionError(message=f"{error.response}:{error}")
            refused.status_code, refused.error_code = error.status_code, error.error_code  # type: ignore[attr-defined]
            raise refused from error


class Queue:
    """QueueClient."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def send_message(self, content: bytes, visibility_timeout: int, time_to_live: int) -> None:
        assert time_to_live == -1
        await _value(self._ask, ("queue.send", content, visibility_timeout))


class Container:
    """ContainerClient."""

    def __init__(self, ask: Ask, name: str, token: Callable[[], str]) -> None:
        self._ask, self._name, self._token = ask, name, token

    def get_blob_client(self, name: str) -> BlobClient:
        return BlobClient(self._ask, self._name, name, self._token)

    async def upload_blob(self, name: str, data: bytes, **options: Any) -> dict[str, str]:
        return await self.get_blob_client(name).upload_blob(data, **options)

    async def list_blobs(self, name_starts_with: str) -> AsyncIterator[Any]:
        for path, held in await _value(self._ask, ("blob.list", f"{self._name}/{name_starts_with}")):
            lease = SimpleNamespace(status="locked" if held else "unlocked")
            yield SimpleNamespace(name=path.split("/", 1)[1], lease=lease)


class BlobClient:
    """BlobClient."""

    def __init__(self, ask: Ask, container: str, name: str, token: Callable[[], str]) -> None:
        self._ask, self.blob_name, self._path, self._token = ask, name, f"{container}/{name}", token

    async def download_blob(self, **condition: Any) -> Download:
        return Download(await _value(self._ask, ("blob.get", self._path, _condition(condition))))

    async def get_blob_properties(self) -> Any:
        return _properties(await _value(self._ask, ("blob.head", self._path)))

    async def upload_blob(
        self,
        data: bytes,
        overwrite: bool = False,
        metadata: dict[str, str] | None = None,
        content_settings: Any = None,
        lease: Lease | None = None,
        **condition: Any,
    ) -> dict[str, str]:
        asked = _condition(condition)
        # The SDK's own default: without a condition and without `overwrite`, only where nothing is.
        asked = MISSING if asked == NONE and not overwrite else asked
        op = ("blob.put", self._path, data, _items(metadata), asked, lease.id if lease else "")
        try:
            return {"etag": await _value(self._ask, op)}
        except ResourceModifiedError as error:
            if overwrite:
                raise
            # So does the SDK, whatever the condition was.
            existing = ResourceExistsError("BlobAlreadyExists")
            existing.status_code, existing.error_code = error.status_code, "BlobAlreadyExists"  # type: ignore[attr-defined]
            raise existing from error

    async def stage_block(self, name: str, data: bytes) -> None:
        await _value(self._ask, ("blob.block", self._path, name, data))

    async def commit_block_list(
        self, blocks: list[Any], metadata: dict[str, str], content_settings: Any = None, **condition: Any
    ) -> None:
        names = tuple(block.id for block in blocks)
        await _value(self._ask, ("blob.commit", self._path, names, _items(metadata), _condition(condition)))

    async def acquire_lease(self, seconds: int) -> Lease:
        # The client proposes the id, so that asking twice is asking once.
        lease = await _value(self._ask, ("lease.take", self._path, self._token(), seconds))
        return Lease(self._ask, self._path, lease, seconds)


class Lease:
    """BlobLeaseClient."""

    def __init__(self, ask: Ask, path: str, lease_id: str, seconds: int) -> None:
        self._ask, self._path, self._seconds, self.id = ask, path, seconds, lease_id

    async def renew(self) -> None:
        await _value(self._ask, ("lease.renew", self._path, self.id, self._seconds))

    async def release(self) -> None:
        await _value(self._ask, ("lease.release", self._path, self.id))


class Download:
    """StorageStreamDownloader: small blobs come with the first call."""

    def __init__(self, blob: Blob) -> None:
        self._blob, self.properties, self.size = blob, _properties(blob), len(blob.data or b"")

    async def readall(self) -> bytes:
        return self._blob.data or b""

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self._blob.data or b""


def _properties(blob: Blob) -> Any:
    return SimpleNamespace(
        name="",
        etag=blob.etag,
        size=len(blob.data or b""),
        content_settings=SimpleNamespace(content_type="image/jpeg"),
        metadata=dict(blob.metadata),
        last_modified=None,
    )


def _items(metadata: dict[str, str] | None) -> Items:
    return tuple(sorted((metadata or {}).items()))


def _condition(options: dict[str, Any]) -> Op:
    match = options.get("match_condition")
    if match is MatchConditions.IfMissing:
        return MISSING
    if match is MatchConditions.IfNotModified:
        return ("match", options["etag"])
    assert match is None, match
    return NONE
