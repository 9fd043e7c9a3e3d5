"""In-memory storage account as an immutable value: blobs, table rows and queue messages, with the service's rules.

`pipeline.testing.operations` carries out operations on it.
"""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self, cast

Op = tuple[Any, ...]
Items = tuple[tuple[str, Any], ...]
RowKey = tuple[str, str, str]
MISSING, NONE = ("missing",), ("none",)
Headers = tuple[str, str | None] | tuple[str, str | None, bytes]
DEFAULT_HEADERS = ("application/octet-stream", None)


@dataclass(frozen=True)
class Response:
    """Response of the service: a value, or an error with its HTTP status and error code."""

    value: Any = None
    status: int = 200
    code: str = ""


@dataclass(frozen=True)
class Blob:
    """A blob. A deleted one has `data` None and stays, so that its ETags are never used again.

    `until` is the end of the lease on the store's clock. `headers` are the content type, the cache
    control and, if the writer declared one, the Content-MD5.
    """

    version: int
    data: bytes | None
    metadata: Items = ()
    lease: str = ""
    until: float = 0
    blocks: tuple[tuple[str, bytes], ...] = ()
    committed: tuple[tuple[str, bytes], ...] = ()
    headers: Headers = DEFAULT_HEADERS
    modified: float = 0
    tags: Items = ()
    broken: bool = False

    @property
    def etag(self) -> str:
        """ETag as the service writes it."""
        return f'"{self.version}"'


@dataclass(frozen=True)
class Row:
    """An entity of a table. `items` hold its keys, too."""

    version: int
    items: Items
    modified: float = 0

    @property
    def etag(self) -> str:
        """ETag as the service writes it."""
        return f'W/"{self.version}"'


@dataclass(frozen=True, order=True)
class Message:
    """A message of a queue. `visible` is when it can be received, on the store's clock; 0 for at once."""

    visible: float
    number: int
    body: bytes
    queue: str
    inserted: float = 0
    receipt: str = ""
    deliveries: int = 0


@dataclass(frozen=True)
class Store:
    """State of an account at `clock` (seconds), which decides over leases and over messages that are hidden.

    `wall` (seconds since 1970) is the time that the service writes down, and `serial` counts operations, so that no
    ETag comes twice: a search leaves both at 0, so that equal states are equal. `places` are the containers, tables
    and queues that exist; None means all of them.
    """

    clock: float = 0
    rows: tuple[tuple[RowKey, Row], ...] = ()
    blobs: tuple[tuple[str, Blob], ...] = ()
    messages: tuple[Message, ...] = ()
    wall: float = 0
    serial: int = 0
    places: frozenset[tuple[str, str]] | None = None
    queue_metadata: tuple[tuple[str, Items], ...] = ()

    def __hash__(self) -> int:
        """Hash, computed once: a search needs it again and again."""
        known: int | None = self.__dict__.get("_hash")
        if known is None:
            known = hash((self.clock, self.rows, self.blobs, self.messages))
            object.__setattr__(self, "_hash", known)
        return known

    def row(self, *key: str) -> Row | None:
        """Return the row of a table, a partition key and a row key."""
        return cast("Row | None", _find(self.rows, key))

    def blob(self, path: str) -> Blob | None:
        """Return the blob at `container/name`."""
        blob = self.last(path)
        return blob if blob.data is not None else None

    def last(self, path: str) -> Blob:
        """Return the blob at `container/name`, also a deleted one, with `data` None."""
        return _find(self.blobs, path) or Blob(0, None)

    def later(self, seconds: float) -> Self:
        """Move the clock forward."""
        return replace(self, clock=self.clock + seconds)

    def put_blob(self, path: str, blob: Blob) -> Self:
        """Set a blob without any check."""
        return replace(self, blobs=with_value(self.blobs, path, blob))

    def put_row(self, key: RowKey, items: Items) -> tuple[Self, str]:
        """Set a row without any check. Returns the next state and the ETag."""
        there = self.row(*key)
        row = Row(self.next_version(there.version if there else 0), items, self.wall)
        return replace(self, rows=with_value(self.rows, key, row)), row.etag

    def next_version(self, version: int) -> int:
        """Return a version that nothing has had."""
        return max(version, self.serial) + 1

    def written(self, path: str, data: bytes | None, metadata: Mapping[str, str] | Items = ()) -> Self:
        """Overwrite a blob without any condition, or delete it when `data` is None."""
        version = self.next_version(self.last(path).version)
        return self.put_blob(path, Blob(version, data, tuple(sorted(dict(metadata).items())), modified=self.wall))

    def visible(self) -> list[Message]:
        """Return the messages that can be received now."""
        return [message for message in self.messages if message.visible <= self.clock]

    def metadata_of(self, queue: str) -> Items:
        """Return the metadata of a queue."""
        return cast("Items | None", _find(self.queue_metadata, queue)) or ()

    def without(self, message: Message) -> Self:
        """Delete a message."""
        index = self.messages.index(message)
        return replace(self, messages=self.messages[:index] + self.messages[index + 1 :])

    def sent(self, queue: str, body: bytes, delay: float = 0) -> Self:
        """Add a message. One that can be received at once counts as visible since 0, to keep equal states equal."""
        visible = self.clock + delay if delay else 0
        return self.with_message(Message(visible, self.serial, body, queue, self.wall))

    def with_message(self, message: Message) -> Self:
        """Add a message as it is."""
        return replace(self, messages=tuple(sorted([*self.messages, message])))


def utf16(key: str | tuple[str, ...]) -> Any:
    """Return the sort key of the service: UTF-16 code units."""
    return key.encode("utf-16-be", "surrogatepass") if isinstance(key, str) else tuple(map(utf16, key))


def find_index(pairs: tuple[tuple[Any, Any], ...], key: Any) -> int:
    """Return the index of the first pair whose key is not before `key`, in the order of the service."""
    return bisect_left(pairs, utf16(key), key=lambda pair: utf16(pair[0]))


def _find(pairs: tuple[tuple[Any, Any], ...], key: Any) -> Any:
    index = find_index(pairs, key)
    return pairs[index][1] if index < len(pairs) and pairs[index][0] == key else None


def with_value(pairs: tuple[tuple[Any, Any], ...], key: Any, value: Any) -> tuple[tuple[Any, Any], ...]:
    """Set the value of a key, or remove the key when the value is None."""
    index = find_index(pairs, key)
    rest = index + (index < len(pairs) and pairs[index][0] == key)
    return pairs[:index] + (((key, value),) if value is not None else ()) + pairs[rest:]
