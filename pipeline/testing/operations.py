"""Operations on the in-memory storage account of `store`, with the service's conditions, leases, ETags and errors.

An operation is a tuple, so that a test can keep, compare, repeat or drop it. `apply` returns the next state and the
response. tests/testing makes the same calls on this and on Azurite.
"""

import operator
from dataclasses import replace
from typing import Any

from pipeline.testing.store import (
    DEFAULT_HEADERS,
    NONE,
    Blob,
    Headers,
    Items,
    Message,
    Op,
    Response,
    Row,
    RowKey,
    Store,
    find_index,
    utf16,
    with_value,
)

MAX_TRANSACTION_ROWS, MAX_PAGE_ROWS = 100, 1000
After = tuple[Store, Any]
"""The next state of the store, and the value of the response."""


class OperationError(Exception):
    """Refusal of an operation, with the response to it. The state stays as it was."""

    def __init__(self, status: int, code: str, value: Any = None) -> None:
        super().__init__(code)
        self.response = Response(value, status, code)


def apply(store: Store, op: Op) -> tuple[Store, Response]:
    """Carry out an operation: the next state of the store, and the response."""
    name, place, *_ = op
    kind = _KINDS[name.partition(".")[0]]
    exists = store.places is None or (kind, place.partition("/")[0]) in store.places
    if not exists and not name.startswith("place."):
        return store, Response(None, 404, f"{kind}NotFound")
    try:
        after, value = _OPERATIONS[name](store, *op[1:])
    except OperationError as error:
        return store, error.response
    return after, Response(value)


def _create_place(store: Store, name: str, kind: str) -> After:
    places = store.places or frozenset()
    if (kind, name) in places:
        raise OperationError(409, f"{kind}AlreadyExists")
    return replace(store, places=places | {(kind, name)}), None


def _delete_place(store: Store, name: str, kind: str) -> After:
    places = (store.places or frozenset()) - {(kind, name)}
    if kind == "Queue":
        left = tuple(message for message in store.messages if message.queue != name)
        metadata = with_value(store.queue_metadata, name, None)
        return replace(store, places=places, messages=left, queue_metadata=metadata), None
    blobs = tuple(pair for pair in store.blobs if kind != "Container" or not pair[0].startswith(f"{name}/"))
    return replace(store, places=places, blobs=blobs), None


def _list_places(store: Store, _: str, kind: str, prefix: str) -> After:
    places = store.places or frozenset()
    return store, sorted(name for each, name in places if each == kind and name.startswith(prefix))


# -- tables ----------------------------------------------------------------------------------------------------------


def _row_get(store: Store, *key: str) -> tuple[Store, Row]:
    row = store.row(*key)
    if row is None:
        raise OperationError(404, "ResourceNotFound")
    return store, row


def _row_create(store: Store, table: str, items: Items, _: str = "") -> After:
    if store.row(*_key(table, items)):
        raise OperationError(409, "EntityAlreadyExists")
    return store.put_row(_key(table, items), items)


def _row_update(store: Store, table: str, items: Items, etag: str) -> After:
    _check_row(store, table, items, etag)
    return store.put_row(_key(table, items), items)


def _row_upsert(store: Store, table: str, items: Items, _: str = "") -> After:
    return store.put_row(_key(table, items), items)


def _row_merge(store: Store, table: str, items: Items, etag: str) -> After:
    """Set some columns of a row that exists, and keep the others."""
    _check_row(store, table, items, etag)
    key = _key(table, items)
    return store.put_row(key, tuple({**dict(_row_get(store, *key)[1].items), **dict(items)}.items()))


def _row_upsert_merge(store: Store, table: str, items: Items, _: str = "") -> After:
    """Set some columns of a row; create it if it does not exist."""
    exists = store.row(*_key(table, items)) is not None
    return (_row_merge if exists else _row_upsert)(store, table, items, "")


def _row_delete(store: Store, table: str, items: Items, etag: str) -> After:
    _check_row(store, table, items, etag)
    return replace(store, rows=with_value(store.rows, _key(table, items), None)), ""


def _check_row(store: Store, table: str, items: Items, etag: str) -> None:
    """Check that a row exists, and that it has this ETag unless the ETag is empty."""
    _, row = _row_get(store, *_key(table, items))
    if etag and row.etag != etag:
        raise OperationError(412, "UpdateConditionNotSatisfied")


def _rows(store: Store, table: str, changes: tuple[tuple[str, Items, str], ...]) -> After:
    """Carry out an entity-group transaction: all of it or nothing. An error's value is the index of the change."""
    if len(changes) > MAX_TRANSACTION_ROWS:
        raise OperationError(400, "InvalidInput", 0)
    etags = []
    for index, (verb, items, etag) in enumerate(changes):
        try:
            store, written = _ROWS[verb](store, table, items, etag)
        except OperationError as error:
            raise OperationError(error.response.status, error.response.code, index) from error
        etags.append(written)
    return store, tuple(etags)


def _row_query(
    store: Store, table: str, query: tuple[tuple[str, str, Any], ...], limit: int, start: tuple[str, str]
) -> After:
    """Find the rows for which all comparisons hold, from `start` on: a page of them, and the key of the next one."""
    matches: list[tuple[RowKey, Row]] = []
    partition = next((to for name, comparison, to in query if (name, comparison) == ("PartitionKey", "eq")), None)
    first = (table, *start) if partition is None else max((table, partition, ""), (table, *start), key=utf16)
    for key, row in store.rows[find_index(store.rows, first) :]:
        if key[0] != table or partition not in (None, key[1]) or len(matches) > limit:
            break
        values = dict(row.items)
        if all(
            name in values and getattr(operator, comparison)(_comparable(values[name]), _comparable(to))
            for name, comparison, to in query
        ):
            matches.append((key, row))
    return store, (tuple(row for _, row in matches[:limit]), matches[limit][0][1:] if len(matches) > limit else None)


def _comparable(value: Any) -> Any:
    return utf16(value) if isinstance(value, str) else getattr(value, "value", value)


_ROWS: dict[str, Any] = {
    "create": _row_create,
    "update": _row_update,
    "merge": _row_merge,
    "upsert": _row_upsert,
    "upsert_merge": _row_upsert_merge,
    "delete": _row_delete,
}


def _key(table: str, items: Items) -> RowKey:
    fields = dict(items)
    return table, fields["PartitionKey"], fields["RowKey"]


# -- blobs -----------------------------------------------------------------------------------------------------------


def _existing_blob(store: Store, path: str) -> Blob:
    blob = store.blob(path)
    if blob is None:
        raise OperationError(404, "BlobNotFound")
    return blob


def _blob_get(store: Store, path: str, condition: Op = NONE) -> After:
    blob = _existing_blob(store, path)
    if condition[0] == "match" and condition[1] != blob.etag:
        raise OperationError(412, "ConditionNotMet")
    if condition[0] == "modified" and condition[1] == blob.etag:
        raise OperationError(304, "ConditionNotMet")
    return store, blob


def _check_write(store: Store, path: str, condition: Op, lease: str) -> None:
    """Check that no condition and no lease forbids a write."""
    blob = store.blob(path)
    if condition[0] == "missing" and blob:
        raise OperationError(409, "BlobAlreadyExists")
    if condition[0] == "match" and (blob is None or condition[1] != blob.etag):
        raise OperationError(412, "ConditionNotMet")
    held = blob.lease if blob and blob.until > store.clock else ""
    if held and held != lease:
        raise OperationError(412, "LeaseIdMismatchWithBlobOperation" if lease else "LeaseIdMissing")
    if lease and not held:
        raise OperationError(412, "LeaseNotPresentWithBlobOperation")


def _blob_put(
    store: Store,
    path: str,
    data: bytes,
    metadata: Items,
    condition: Op = NONE,
    lease: str = "",
    headers: Headers = DEFAULT_HEADERS,
) -> After:
    _check_write(store, path, condition, lease)
    before = store.last(path)
    # A write drops staged blocks. It also forgets a lease that has expired.
    kept: dict[str, Any] = {"lease": before.lease, "until": before.until} if before.until > store.clock else {}
    version = store.next_version(before.version)
    blob = Blob(version, data, metadata, headers=headers, modified=store.wall, **kept)
    return store.put_blob(path, blob), blob.etag


def _blob_block(store: Store, path: str, name: str, data: bytes) -> After:
    blob = store.last(path)
    return store.put_blob(path, replace(blob, blocks=with_value(blob.blocks, name, data))), None


def _blob_commit(
    store: Store,
    path: str,
    names: tuple[str, ...],
    metadata: Items,
    condition: Op = NONE,
    headers: Headers = DEFAULT_HEADERS,
) -> After:
    _check_write(store, path, condition, "")
    before = store.last(path)
    blocks = {**dict(before.committed), **dict(before.blocks)}
    if any(name not in blocks for name in names):
        raise OperationError(400, "InvalidBlockList")
    data = b"".join(blocks[name] for name in names)
    store, etag = _blob_put(store, path, data, metadata, condition, headers=headers)
    committed = tuple((name, blocks[name]) for name in sorted(set(names)))
    return store.put_blob(path, replace(store.last(path), committed=committed)), etag


def _blob_delete(store: Store, path: str, condition: Op = NONE) -> After:
    _existing_blob(store, path)
    _check_write(store, path, condition, "")
    return store.written(path, None), None


def _blob_tags(store: Store, path: str, tags: Items) -> After:
    return store.put_blob(path, replace(_existing_blob(store, path), tags=tags)), None


def _blob_metadata(store: Store, path: str, metadata: Items, condition: Op = NONE) -> After:
    """Replace the metadata, which changes the ETag."""
    blob = _existing_blob(store, path)
    _check_write(store, path, condition, "")
    changed = replace(blob, version=store.next_version(blob.version), metadata=metadata, modified=store.wall)
    return store.put_blob(path, changed), changed.etag


def _blob_list(store: Store, prefix: str, limit: int = 5000, start: str = "") -> After:
    """List the blobs whose paths begin with `prefix`: (path, blob, leased) of a page, and the path of the next one."""
    blobs = store.blobs[find_index(store.blobs, max(prefix, start, key=utf16)) :]
    there = [(path, blob) for path, blob in blobs if path.startswith(prefix) and blob.data is not None]
    page = tuple((path, blob, blob.until > store.clock) for path, blob in there[:limit])
    return store, (page, there[limit][0] if len(there) > limit else None)


def _lease_take(store: Store, path: str, lease: str, seconds: float) -> After:
    blob = _existing_blob(store, path)
    if blob.until > store.clock and (blob.lease != lease or blob.broken):
        raise OperationError(409, "LeaseAlreadyPresent")
    return store.put_blob(path, replace(blob, lease=lease, until=store.clock + seconds, broken=False)), lease


def _lease_renew(store: Store, path: str, lease: str, seconds: float) -> After:
    """Renew a lease: also an expired one, as long as nothing has leased or written the blob since."""
    blob = _leased_blob(store, path, lease)
    if blob.broken:
        raise OperationError(409, "LeaseIsBrokenAndCannotBeRenewed")
    return store.put_blob(path, replace(blob, until=store.clock + seconds)), lease


def _lease_release(store: Store, path: str, lease: str) -> After:
    return store.put_blob(path, replace(_leased_blob(store, path, lease), lease="", until=0, broken=False)), None


def _lease_break(store: Store, path: str, period: float) -> After:
    """Break a lease: it stays for `period` seconds, at most until its end, and cannot be renewed."""
    blob = _existing_blob(store, path)
    if not blob.lease:
        raise OperationError(409, "LeaseNotPresentWithLeaseOperation")
    return store.put_blob(path, replace(blob, broken=True, until=min(blob.until, store.clock + period))), None


def _leased_blob(store: Store, path: str, lease: str) -> Blob:
    blob = _existing_blob(store, path)
    if blob.lease != lease:
        raise OperationError(409, "LeaseIdMismatchWithLeaseOperation")
    return blob


# -- queues ----------------------------------------------------------------------------------------------------------


def _queue_send(store: Store, queue: str, body: bytes, delay: float) -> After:
    store = store.sent(queue, body, delay)
    message = next(each for each in store.messages if each.number == store.serial and each.body == body)
    return store, message


def _queue_update(store: Store, queue: str, number: int, receipt: str, body: bytes, delay: float) -> After:
    """Replace the body of a message and hide it for some seconds, which changes its receipt."""
    message = _message(store, queue, number, receipt)
    changed = replace(message, body=body, visible=store.clock + delay, receipt=f"{message.receipt}+")
    return store.without(message).with_message(changed), changed


def _queue_peek(store: Store, queue: str, count: int) -> After:
    return store, tuple(each for each in store.visible() if each.queue == queue)[:count]


def _queue_receive(store: Store, queue: str, count: int, seconds: float) -> After:
    """Receive messages and hide them for some seconds. A receipt is good until the next delivery."""
    received = []
    for message in _queue_peek(store, queue, count)[1]:
        deliveries = message.deliveries + 1
        receipt = f"{message.number}.{deliveries}"
        hidden = replace(message, visible=store.clock + seconds, deliveries=deliveries, receipt=receipt)
        store = store.without(message).with_message(hidden)
        received.append(hidden)
    return store, tuple(received)


def _queue_delete(store: Store, queue: str, number: int, receipt: str) -> After:
    return store.without(_message(store, queue, number, receipt)), None


def _message(store: Store, queue: str, number: int, receipt: str) -> Message:
    message = next((each for each in store.messages if (each.queue, each.number) == (queue, number)), None)
    if message is None:
        raise OperationError(404, "MessageNotFound")
    if message.receipt != receipt:
        raise OperationError(400, "PopReceiptMismatch")
    return message


def _queue_properties(store: Store, queue: str) -> After:
    """Return the number of messages and the metadata."""
    return store, (sum(message.queue == queue for message in store.messages), store.metadata_of(queue))


def _queue_metadata(store: Store, queue: str, metadata: Items) -> After:
    return replace(store, queue_metadata=with_value(store.queue_metadata, queue, metadata or None)), None


_KINDS = {"blob": "Container", "lease": "Container", "row": "Table", "rows": "Table", "queue": "Queue", "place": ""}
_OPERATIONS: dict[str, Any] = {
    "place.create": _create_place,
    "place.delete": _delete_place,
    "place.list": _list_places,
    "row.get": _row_get,
    "row.create": _row_create,
    "row.update": _row_update,
    "row.merge": _row_merge,
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
    "blob.metadata": _blob_metadata,
    "blob.list": _blob_list,
    "lease.take": _lease_take,
    "lease.renew": _lease_renew,
    "lease.release": _lease_release,
    "lease.break": _lease_break,
    "queue.send": _queue_send,
    "queue.peek": _queue_peek,
    "queue.receive": _queue_receive,
    "queue.delete": _queue_delete,
    "queue.update": _queue_update,
    "queue.properties": _queue_properties,
    "queue.metadata": _queue_metadata,
}
