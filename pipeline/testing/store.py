"""In-memory storage account as an immutable value: blobs, table rows and queue messages, with the service's rules.

An operation is a tuple, so that a test can keep, compare, repeat or drop it. `apply` returns the next state and the
response. Conditions, leases and ETags follow the service: tests/testing makes the same calls on this and on Azurite.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

Op = tuple[Any, ...]
Items = tuple[tuple[str, Any], ...]
RowKey = tuple[str, str, str]
MISSING, NONE = ("missing",), ("none",)
DEFAULT_HEADERS = ("application/octet-stream", None)
MAX_TRANSACTION_ROWS, MAX_PAGE_ROWS = 100, 1000


@dataclass(frozen=True)
class Response:
    """Response of the service: a value, or an error with its HTTP status and error code."""

    value: Any = None
    status: int = 200
    code: str = ""


@dataclass(frozen=True)
class Blob:
    """A blob. A deleted one has `data` None and stays, so that its ETags are never used again.

    `until` is the end of the lease on the store's clock. `headers` are the content type and the cache control.
    """

    version: int
    data: bytes | None
    metadata: Items = ()
    lease: str = ""
    until: float = 0
    blocks: tuple[tuple[str, bytes], ...] = ()
    committed: tuple[tuple[str, bytes], ...] = ()
    headers: tuple[str, str | None] = DEFAULT_HEADERS
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

    def __hash__(self) -> int:
        """Hash, computed once: a search needs it again and again."""
        known: int | None = self.__dict__.get("_hash")
        if known is None:
            known = hash((self.clock, self.rows, self.blobs, self.messages))
            object.__setattr__(self, "_hash", known)
        return known

    def row(self, *key: str) -> Row | None:
        """Return the row of a table, a partition key and a row key."""
        found: Row | None = _find(self.rows, key)
        return found

    def blob(self, path: str) -> Blob | None:
        """Return the blob at `container/name`."""
        blob = self.last(path)
        return blob if blob.data is not None else None

    def last(self, path: str) -> Blob:
        """Return the blob at `container/name`, also a deleted one, with `data` None."""
        return _find(self.blobs, path) or Blob(0, None)

    def later(self, seconds: float) -> Store:
        """Move the clock forward."""
        return replace(self, clock=self.clock + seconds)

    def put_blob(self, path: str, blob: Blob) -> Store:
        """Set a blob without any check."""
        return replace(self, blobs=_with(self.blobs, path, blob))

    def put_row(self, key: RowKey, items: Items) -> tuple[Store, Response]:
        """Set a row without any check."""
        there = self.row(*key)
        row = Row(self.next_version(there.version if there else 0), items, self.wall)
        return replace(self, rows=_with(self.rows, key, row)), Response(row.etag)

    def next_version(self, version: int) -> int:
        """Return a version that nothing has had."""
        return max(version, self.serial) + 1

    def written(self, path: str, data: bytes | None, metadata: Mapping[str, str] | Items = ()) -> Store:
        """Overwrite a blob without any condition, or delete it when `data` is None."""
        version = self.next_version(self.last(path).version)
        return self.put_blob(path, Blob(version, data, tuple(sorted(dict(metadata).items())), modified=self.wall))

    def visible(self) -> list[Message]:
        """Return the messages that can be received now."""
        return [message for message in self.messages if message.visible <= self.clock]

    def without(self, message: Message) -> Store:
        """Delete a message."""
        left = list(self.messages)
        left.remove(message)
        return replace(self, messages=tuple(left))

    def sent(self, queue: str, body: bytes, delay: float = 0) -> Store:
        """Add a message. One that can be received at once counts as visible since 0, to keep equal states equal."""
        visible = self.clock + delay if delay else 0
        return self.with_message(Message(visible, self.serial, body, queue, self.wall))

    def with_message(self, message: Message) -> Store:
        """Add a message as it is."""
        return replace(self, messages=tuple(sorted([*self.messages, message])))


def utf16(key: str | tuple[str, ...]) -> Any:
    """Return the sort key of the service: UTF-16 code units."""
    return key.encode("utf-16-be", "surrogatepass") if isinstance(key, str) else tuple(map(utf16, key))


def _place(pairs: tuple[tuple[Any, Any], ...], key: Any) -> int:
    return bisect_left(pairs, utf16(key), key=lambda pair: utf16(pair[0]))


def _find(pairs: tuple[tuple[Any, Any], ...], key: Any) -> Any:
    place = _place(pairs, key)
    return pairs[place][1] if place < len(pairs) and pairs[place][0] == key else None


def _with(pairs: tuple[tuple[Any, Any], ...], key: Any, value: Any) -> tuple[tuple[Any, Any], ...]:
    """Set the value of a key, or remove the key when the value is None."""
    place = _place(pairs, key)
    rest = place + (place < len(pairs) and pairs[place][0] == key)
    return pairs[:place] + (((key, value),) if value is not None else ()) + pairs[rest:]


def apply(store: Store, op: Op) -> tuple[Store, Response]:
    """Carry out an operation: the next state of the store, and the response."""
    name, place, *_ = op
    kind = _KINDS[name.partition(".")[0]]
    exists = store.places is None or (kind, place.partition("/")[0]) in store.places
    if not exists and not name.startswith("place."):
        return store, Response(None, 404, f"{kind}NotFound")
    after: tuple[Store, Response] = _OPERATIONS[name](store, *op[1:])
    return after


def _create_place(store: Store, name: str, kind: str) -> tuple[Store, Response]:
    places = store.places or frozenset()
    if (kind, name) in places:
        return store, Response(None, 409, f"{kind}AlreadyExists")
    return replace(store, places=places | {(kind, name)}), Response()


def _delete_place(store: Store, name: str, kind: str) -> tuple[Store, Response]:
    gone = [pair for pair in store.blobs if kind != "Container" or not pair[0].startswith(f"{name}/")]
    return replace(store, places=(store.places or frozenset()) - {(kind, name)}, blobs=tuple(gone)), Response()


# -- tables ----------------------------------------------------------------------------------------------------------


def _row_get(store: Store, table: str, partition: str, key: str) -> tuple[Store, Response]:
    row = store.row(table, partition, key)
    return store, Response(row) if row else Response(None, 404, "ResourceNotFound")


def _row_create(store: Store, table: str, items: Items, _: str = "") -> tuple[Store, Response]:
    if store.row(*_key(table, items)):
        return store, Response(None, 409, "EntityAlreadyExists")
    return store.put_row(_key(table, items), items)


def _row_update(store: Store, table: str, items: Items, etag: str) -> tuple[Store, Response]:
    refused = _row_refused(store, table, items, etag)
    return (store, refused) if refused else store.put_row(_key(table, items), items)


def _row_upsert(store: Store, table: str, items: Items, _: str = "") -> tuple[Store, Response]:
    return store.put_row(_key(table, items), items)


def _row_delete(store: Store, table: str, items: Items, etag: str) -> tuple[Store, Response]:
    refused = _row_refused(store, table, items, etag)
    if refused:
        return store, refused
    return replace(store, rows=_with(store.rows, _key(table, items), None)), Response("")


def _row_refused(store: Store, table: str, items: Items, etag: str) -> Response | None:
    there = store.row(*_key(table, items))
    if there is None:
        return Response(None, 404, "ResourceNotFound")
    return Response(None, 412, "UpdateConditionNotSatisfied") if etag and there.etag != etag else None


def _rows(store: Store, table: str, changes: tuple[tuple[str, Items, str], ...]) -> tuple[Store, Response]:
    """Carry out an entity-group transaction: all of it or nothing. An error's value is the index of the change."""
    if len(changes) > MAX_TRANSACTION_ROWS:
        return store, Response(0, 400, "InvalidInput")
    after, etags = store, []
    for index, (verb, items, etag) in enumerate(changes):
        after, response = _ROWS[verb](after, table, items, etag)
        if response.status != 200:
            return store, Response(index, response.status, response.code)
        etags.append(response.value)
    return after, Response(tuple(etags))


def _row_query(
    store: Store, table: str, query: tuple[tuple[str, str, Any], ...], limit: int, start: tuple[str, str]
) -> tuple[Store, Response]:
    """Find the rows for which all comparisons hold, from `start` on: a page of them, and the key of the next one."""
    matches: list[tuple[RowKey, Row]] = []
    for key, row in store.rows[_place(store.rows, (table, *start)) :]:
        if key[0] != table or len(matches) > limit:
            break
        values = dict(row.items)
        if all(name in values and _COMPARE[op](_comparable(values[name]), _comparable(to)) for name, op, to in query):
            matches.append((key, row))
    return store, Response(
        (tuple(row for _, row in matches[:limit]), matches[limit][0][1:] if len(matches) > limit else None)
    )


def _comparable(value: Any) -> Any:
    return utf16(value) if isinstance(value, str) else getattr(value, "value", value)


_COMPARE: dict[str, Any] = {
    "eq": lambda value, other: value == other,
    "ge": lambda value, other: value >= other,
    "gt": lambda value, other: value > other,
    "le": lambda value, other: value <= other,
    "lt": lambda value, other: value < other,
}
_ROWS: dict[str, Any] = {"create": _row_create, "update": _row_update, "upsert": _row_upsert, "delete": _row_delete}


def _key(table: str, items: Items) -> RowKey:
    fields = dict(items)
    return table, fields["PartitionKey"], fields["RowKey"]


# -- blobs -----------------------------------------------------------------------------------------------------------


def _blob_get(store: Store, path: str, condition: Op = NONE) -> tuple[Store, Response]:
    blob = store.blob(path)
    if blob is None:
        return store, Response(None, 404, "BlobNotFound")
    if condition[0] == "match" and condition[1] != blob.etag:
        return store, Response(None, 412, "ConditionNotMet")
    if condition[0] == "modified" and condition[1] == blob.etag:
        return store, Response(None, 304, "ConditionNotMet")
    return store, Response(blob)


def _refused(store: Store, path: str, condition: Op, lease: str) -> Response | None:
    """Return the error for a write that a condition or a lease forbids."""
    blob = store.blob(path)
    if condition[0] == "missing" and blob:
        return Response(None, 409, "BlobAlreadyExists")
    if condition[0] == "match" and (blob is None or condition[1] != blob.etag):
        return Response(None, 412, "ConditionNotMet")
    held = blob.lease if blob and blob.until > store.clock else ""
    if held and not lease:
        return Response(None, 412, "LeaseIdMissing")
    if held and held != lease:
        return Response(None, 412, "LeaseIdMismatchWithBlobOperation")
    if lease and not held:
        return Response(None, 412, "LeaseNotPresentWithBlobOperation")
    return None


def _blob_put(
    store: Store,
    path: str,
    data: bytes,
    metadata: Items,
    condition: Op = NONE,
    lease: str = "",
    headers: tuple[str, str | None] = DEFAULT_HEADERS,
) -> tuple[Store, Response]:
    refused = _refused(store, path, condition, lease)
    if refused:
        return store, refused
    before = store.last(path)
    # A write drops staged blocks. It also forgets a lease that has expired.
    kept: dict[str, Any] = {"lease": before.lease, "until": before.until} if before.until > store.clock else {}
    version = store.next_version(before.version)
    blob = Blob(version, data, metadata, headers=headers, modified=store.wall, **kept)
    return store.put_blob(path, blob), Response(blob.etag)


def _blob_block(store: Store, path: str, name: str, data: bytes) -> tuple[Store, Response]:
    blob = store.last(path)
    return store.put_blob(path, replace(blob, blocks=_with(blob.blocks, name, data))), Response()


def _blob_commit(
    store: Store,
    path: str,
    names: tuple[str, ...],
    metadata: Items,
    condition: Op = NONE,
    headers: tuple[str, str | None] = DEFAULT_HEADERS,
) -> tuple[Store, Response]:
    refused = _refused(store, path, condition, "")
    if refused:
        return store, refused
    there = store.last(path)
    blocks = {**dict(there.committed), **dict(there.blocks)}
    if any(name not in blocks for name in names):
        return store, Response(None, 400, "InvalidBlockList")
    data = b"".join(blocks[name] for name in names)
    store, response = _blob_put(store, path, data, metadata, condition, headers=headers)
    committed = tuple((name, blocks[name]) for name in sorted(set(names)))
    return store.put_blob(path, replace(store.last(path), committed=committed)), response


def _blob_delete(store: Store, path: str, condition: Op = NONE) -> tuple[Store, Response]:
    if store.blob(path) is None:
        return store, Response(None, 404, "BlobNotFound")
    refused = _refused(store, path, condition, "")
    return (store, refused) if refused else (store.written(path, None), Response())


def _blob_tags(store: Store, path: str, tags: Items) -> tuple[Store, Response]:
    blob = store.blob(path)
    if blob is None:
        return store, Response(None, 404, "BlobNotFound")
    return store.put_blob(path, replace(blob, tags=tags)), Response()


def _blob_list(store: Store, prefix: str, limit: int = 5000, start: str = "") -> tuple[Store, Response]:
    """List the blobs whose paths begin with `prefix`: (path, blob, leased) of a page, and the path of the next one."""
    blobs = store.blobs[_place(store.blobs, max(prefix, start, key=utf16)) :]
    there = [(path, blob) for path, blob in blobs if path.startswith(prefix) and blob.data is not None]
    page = tuple((path, blob, blob.until > store.clock) for path, blob in there[:limit])
    return store, Response((page, there[limit][0] if len(there) > limit else None))


def _lease_take(store: Store, path: str, lease: str, seconds: float) -> tuple[Store, Response]:
    blob = store.blob(path)
    if blob is None:
        return store, Response(None, 404, "BlobNotFound")
    if blob.until > store.clock and (blob.lease != lease or blob.broken):
        return store, Response(None, 409, "LeaseAlreadyPresent")
    blob = replace(blob, lease=lease, until=store.clock + seconds, broken=False)
    return store.put_blob(path, blob), Response(lease)


def _lease_renew(store: Store, path: str, lease: str, seconds: float) -> tuple[Store, Response]:
    """Renew a lease: also an expired one, as long as nothing has leased or written the blob since."""
    refused = _lease_refused(store, path, lease)
    if refused:
        return store, refused
    blob = store.last(path)
    if blob.broken:
        return store, Response(None, 409, "LeaseIsBrokenAndCannotBeRenewed")
    return store.put_blob(path, replace(blob, until=store.clock + seconds)), Response(lease)


def _lease_release(store: Store, path: str, lease: str) -> tuple[Store, Response]:
    refused = _lease_refused(store, path, lease)
    if refused:
        return store, refused
    return store.put_blob(path, replace(store.last(path), lease="", until=0, broken=False)), Response()


def _lease_break(store: Store, path: str, period: float) -> tuple[Store, Response]:
    """Break a lease: it stays for `period` seconds, at most until its end, and cannot be renewed."""
    blob = store.blob(path)
    if blob is None:
        return store, Response(None, 404, "BlobNotFound")
    if not blob.lease:
        return store, Response(None, 409, "LeaseNotPresentWithLeaseOperation")
    return store.put_blob(path, replace(blob, broken=True, until=min(blob.until, store.clock + period))), Response()


def _lease_refused(store: Store, path: str, lease: str) -> Response | None:
    blob = store.blob(path)
    if blob is None:
        return Response(None, 404, "BlobNotFound")
    return Response(None, 409, "LeaseIdMismatchWithLeaseOperation") if blob.lease != lease else None


# -- queues ----------------------------------------------------------------------------------------------------------


def _queue_send(store: Store, queue: str, body: bytes, delay: float) -> tuple[Store, Response]:
    return store.sent(queue, body, delay), Response()


def _queue_peek(store: Store, queue: str, count: int) -> tuple[Store, Response]:
    return store, Response(tuple(each for each in store.visible() if each.queue == queue)[:count])


def _queue_receive(store: Store, queue: str, count: int, seconds: float) -> tuple[Store, Response]:
    """Receive messages and hide them for some seconds. A receipt is good until the next delivery."""
    received = []
    for message in _queue_peek(store, queue, count)[1].value:
        deliveries = message.deliveries + 1
        receipt = f"{message.number}.{deliveries}"
        hidden = replace(message, visible=store.clock + seconds, deliveries=deliveries, receipt=receipt)
        store = store.without(message).with_message(hidden)
        received.append(hidden)
    return store, Response(tuple(received))


def _queue_delete(store: Store, queue: str, number: int, receipt: str) -> tuple[Store, Response]:
    message = next((each for each in store.messages if (each.queue, each.number) == (queue, number)), None)
    if message is None:
        return store, Response(None, 404, "MessageNotFound")
    if message.receipt != receipt:
        return store, Response(None, 400, "PopReceiptMismatch")
    return store.without(message), Response()


def _queue_count(store: Store, queue: str) -> tuple[Store, Response]:
    return store, Response(sum(message.queue == queue for message in store.messages))


_KINDS = {"blob": "Container", "lease": "Container", "row": "Table", "rows": "Table", "queue": "Queue", "place": ""}
_OPERATIONS: dict[str, Any] = {
    "place.create": _create_place,
    "place.delete": _delete_place,
    "row.get": _row_get,
    "row.create": _row_create,
    "row.update": _row_update,
    "row.delete": _row_delete,
    "row.query": _row_query,
    "rows": _rows,
    "blob.get": _blob_get,
    "blob.head": _blob_get,
    "blob.put": _blob_put,
    "blob.block": _blob_block,
    "blob.commit": _blob_commit,
    "blob.delete": _blob_delete,
    "blob.tags": _blob_tags,
    "blob.list": _blob_list,
    "lease.take": _lease_take,
    "lease.renew": _lease_renew,
    "lease.release": _lease_release,
    "lease.break": _lease_break,
    "queue.send": _queue_send,
    "queue.peek": _queue_peek,
    "queue.receive": _queue_receive,
    "queue.delete": _queue_delete,
    "queue.count": _queue_count,
}
