"""A storage account as a value: what it holds, and what each operation makes of it.

Operations are tuples, so that they can be kept, compared, sent twice or never. `apply` gives the next state and the
answer; conditions, leases and ETags follow the service, which `test_store.py` holds against a real emulator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

Op = tuple[Any, ...]
Items = tuple[tuple[str, Any], ...]
MISSING, NONE = ("missing",), ("none",)


@dataclass(frozen=True)
class Answer:
    """What the service says: a value, or an error by its status and code."""

    value: Any = None
    status: int = 200
    code: str = ""


@dataclass(frozen=True)
class Blob:
    """A blob, or where one was (`data` is None), so that its ETags are never used again."""

    version: int
    data: bytes | None
    metadata: Items = ()
    lease: str = ""
    until: int = 0
    blocks: tuple[tuple[str, bytes], ...] = ()
    committed: tuple[tuple[str, bytes], ...] = ()

    @property
    def etag(self) -> str:
        """As the service writes it."""
        return f'"{self.version}"'


@dataclass(frozen=True)
class Row:
    """An entity of a table; its keys are in `items`."""

    version: int
    items: Items

    @property
    def etag(self) -> str:
        """As the service writes it."""
        return f'W/"{self.version}"'


@dataclass(frozen=True)
class Store:
    """All of it, at `clock` (seconds). `messages` are (visible from, body)."""

    clock: int = 0
    rows: tuple[tuple[tuple[str, str], Row], ...] = ()
    blobs: tuple[tuple[str, Blob], ...] = ()
    messages: tuple[tuple[int, bytes], ...] = ()

    def __hash__(self) -> int:
        """Computed once: a search asks for it again and again."""
        known: int | None = self.__dict__.get("_hash")
        if known is None:
            known = hash((self.clock, self.rows, self.blobs, self.messages))
            object.__setattr__(self, "_hash", known)
        return known

    def row(self, recipe: str, key: str) -> Row | None:
        """An entity."""
        return dict(self.rows).get((recipe, key))

    def blob(self, path: str) -> Blob | None:
        """A blob by `container/name`; None where none is."""
        blob = dict(self.blobs).get(path)
        return blob if blob and blob.data is not None else None

    def later(self, seconds: int) -> Store:
        """The same, some time later."""
        return replace(self, clock=self.clock + seconds)

    def put_blob(self, path: str, blob: Blob) -> Store:
        """With another blob there."""
        return replace(self, blobs=_with(self.blobs, path, blob))

    def written(self, path: str, data: bytes | None, metadata: Mapping[str, str] | Items = ()) -> Store:
        """With a blob overwritten, or deleted when `data` is None, by somebody who asks for no condition."""
        version = _version(self, path) + 1
        return self.put_blob(path, Blob(version, data, tuple(sorted(dict(metadata).items()))))

    def visible(self) -> set[bytes]:
        """The messages that may be delivered now."""
        return {body for visible, body in self.messages if visible <= self.clock}

    def without(self, body: bytes) -> Store:
        """With one message less, which is the first of these to have become visible."""
        left = list(self.messages)
        left.remove(next(message for message in left if message[1] == body))
        return replace(self, messages=tuple(left))

    def sent(self, body: bytes, delay: int = 0) -> Store:
        """With one message more. One that is visible already is as good as one that has been so for long."""
        return replace(self, messages=tuple(sorted([*self.messages, (self.clock + delay if delay else 0, body)])))


def _with(pairs: tuple[tuple[Any, Any], ...], key: Any, value: Any) -> tuple[tuple[Any, Any], ...]:
    return tuple(sorted({**dict(pairs), key: value}.items(), key=lambda pair: pair[0]))


def _version(store: Store, path: str) -> int:
    blob = dict(store.blobs).get(path)
    return blob.version if blob else 0


def apply(store: Store, op: Op) -> tuple[Store, Answer]:
    """What an operation makes of a store, and its answer."""
    name, *arguments = op
    return _OPERATIONS[name](store, *arguments)


def changes(op: Op) -> bool:
    """Whether an operation can change anything."""
    return op[0] not in ("row.get", "blob.get", "blob.head", "blob.list", "sleep")


# -- tables ----------------------------------------------------------------------------------------------------------


def _row_get(store: Store, recipe: str, key: str) -> tuple[Store, Answer]:
    row = store.row(recipe, key)
    return store, Answer((row.items, row.etag)) if row else Answer(None, 404, "ResourceNotFound")


def _row_create(store: Store, items: Items) -> tuple[Store, Answer]:
    key = _key(items)
    if store.row(*key):
        return store, Answer(None, 409, "EntityAlreadyExists")
    row = Row(1, items)
    return replace(store, rows=_with(store.rows, key, row)), Answer(row.etag)


def _row_update(store: Store, items: Items, etag: str) -> tuple[Store, Answer]:
    key = _key(items)
    there = store.row(*key)
    if there is None:
        return store, Answer(None, 404, "ResourceNotFound")
    if there.etag != etag:
        return store, Answer(None, 412, "UpdateConditionNotSatisfied")
    row = Row(there.version + 1, items)
    return replace(store, rows=_with(store.rows, key, row)), Answer(row.etag)


def _rows(store: Store, changes: tuple[tuple[str, Items, str], ...]) -> tuple[Store, Answer]:
    """An entity-group transaction: all of it or nothing. The answer to a refusal is the place of what was refused."""
    after, etags = store, []
    for place, (verb, items, etag) in enumerate(changes):
        after, answer = _ROWS[verb](after, items, etag)
        if answer.status != 200:
            return store, Answer(place, answer.status, answer.code)
        etags.append(answer.value or "")
    return after, Answer(tuple(etags))


def _row_upsert(store: Store, items: Items) -> tuple[Store, Answer]:
    there = store.row(*_key(items))
    row = Row(there.version + 1 if there else 1, items)
    return replace(store, rows=_with(store.rows, _key(items), row)), Answer(row.etag)


def _row_delete(store: Store, items: Items, etag: str) -> tuple[Store, Answer]:
    there = store.row(*_key(items))
    if there is None:
        return store, Answer(None, 404, "ResourceNotFound")
    if etag and there.etag != etag:
        return store, Answer(None, 412, "UpdateConditionNotSatisfied")
    return replace(store, rows=tuple(pair for pair in store.rows if pair[0] != _key(items))), Answer()


_ROWS: dict[str, Any] = {
    "create": lambda store, items, _: _row_create(store, items),
    "update": _row_update,
    "upsert": lambda store, items, _: _row_upsert(store, items),
    "delete": _row_delete,
}


def _key(items: Items) -> tuple[str, str]:
    fields = dict(items)
    return fields["PartitionKey"], fields["RowKey"]


# -- blobs -----------------------------------------------------------------------------------------------------------


def _blob_get(store: Store, path: str, condition: Op = NONE) -> tuple[Store, Answer]:
    blob = store.blob(path)
    if blob is None:
        return store, Answer(None, 404, "BlobNotFound")
    if condition[0] == "match" and condition[1] != blob.etag:
        return store, Answer(None, 412, "ConditionNotMet")
    return store, Answer(blob)


def _refused(store: Store, path: str, condition: Op, lease: str) -> Answer | None:
    """Why a blob may not be written, if so."""
    blob = store.blob(path)
    if condition[0] == "missing" and blob:
        return Answer(None, 409, "BlobAlreadyExists")
    if condition[0] == "match" and (blob is None or condition[1] != blob.etag):
        return Answer(None, 412, "ConditionNotMet")
    held = blob.lease if blob and blob.until > store.clock else ""
    if held and not lease:
        return Answer(None, 412, "LeaseIdMissing")
    if held and held != lease:
        return Answer(None, 412, "LeaseIdMismatchWithBlobOperation")
    if lease and not held:
        return Answer(None, 412, "LeaseNotPresentWithBlobOperation")
    return None


def _blob_put(
    store: Store, path: str, data: bytes, metadata: Items, condition: Op = NONE, lease: str = ""
) -> tuple[Store, Answer]:
    refused = _refused(store, path, condition, lease)
    if refused:
        return store, refused
    before = store.blob(path)
    # Whatever was staged is gone; a lease that ran out is forgotten by the first write after it.
    kept = {"lease": before.lease, "until": before.until} if before and before.until > store.clock else {}
    blob = Blob(_version(store, path) + 1, data, metadata, **kept)
    return store.put_blob(path, blob), Answer(blob.etag)


def _blob_block(store: Store, path: str, name: str, data: bytes) -> tuple[Store, Answer]:
    blob = dict(store.blobs).get(path) or Blob(0, None)
    return store.put_blob(path, replace(blob, blocks=_with(blob.blocks, name, data))), Answer()


def _blob_commit(
    store: Store, path: str, names: tuple[str, ...], metadata: Items, condition: Op = NONE
) -> tuple[Store, Answer]:
    refused = _refused(store, path, condition, "")
    if refused:
        return store, refused
    there = dict(store.blobs).get(path) or Blob(0, None)
    blocks = {**dict(there.committed), **dict(there.blocks)}
    if any(name not in blocks for name in names):
        return store, Answer(None, 400, "InvalidBlockList")
    store, answer = _blob_put(store, path, b"".join(blocks[name] for name in names), metadata, condition)
    committed = tuple((name, blocks[name]) for name in sorted(set(names)))
    return store.put_blob(path, replace(dict(store.blobs)[path], committed=committed)), answer


def _blob_list(store: Store, prefix: str) -> tuple[Store, Answer]:
    found = [(path, blob) for path, blob in store.blobs if path.startswith(prefix) and blob.data is not None]
    return store, Answer(tuple((path, blob.until > store.clock) for path, blob in found))


def _lease_take(store: Store, path: str, lease: str, seconds: int) -> tuple[Store, Answer]:
    blob = store.blob(path)
    if blob is None:
        return store, Answer(None, 404, "BlobNotFound")
    if blob.until > store.clock and blob.lease != lease:
        return store, Answer(None, 409, "LeaseAlreadyPresent")
    return store.put_blob(path, replace(blob, lease=lease, until=store.clock + seconds)), Answer(lease)


def _lease_renew(store: Store, path: str, lease: str, seconds: int) -> tuple[Store, Answer]:
    """Also one that ran out, as long as nobody has taken or written the blob since."""
    blob = store.blob(path)
    if blob is None:
        return store, Answer(None, 404, "BlobNotFound")
    if blob.lease != lease:
        return store, Answer(None, 409, "LeaseIdMismatchWithLeaseOperation")
    return store.put_blob(path, replace(blob, until=store.clock + seconds)), Answer(lease)


def _lease_release(store: Store, path: str, lease: str) -> tuple[Store, Answer]:
    blob = store.blob(path)
    if blob is None:
        return store, Answer(None, 404, "BlobNotFound")
    if blob.lease != lease:
        return store, Answer(None, 409, "LeaseIdMismatchWithLeaseOperation")
    return store.put_blob(path, replace(blob, lease="", until=0)), Answer()


# -- the rest --------------------------------------------------------------------------------------------------------


def _queue_send(store: Store, message: bytes, delay: int) -> tuple[Store, Answer]:
    return store.sent(message, delay), Answer()


def _sleep(store: Store) -> tuple[Store, Answer]:
    return store, Answer()


_OPERATIONS: dict[str, Any] = {
    "row.get": _row_get,
    "row.create": _row_create,
    "row.update": _row_update,
    "rows": _rows,
    "blob.get": _blob_get,
    "blob.head": _blob_get,
    "blob.put": _blob_put,
    "blob.block": _blob_block,
    "blob.commit": _blob_commit,
    "blob.list": _blob_list,
    "lease.take": _lease_take,
    "lease.renew": _lease_renew,
    "lease.release": _lease_release,
    "queue.send": _queue_send,
    "sleep": _sleep,
}
