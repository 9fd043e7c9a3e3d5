"""Entity writes to tables, counted singly, with their sizes by Azure's formula."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from azure.data.tables import EntityProperty

from pipeline.testing.store import Op

_WRITES = {"row.create", "row.update", "row.merge", "row.delete"}
_FIXED_BYTES = {bool: 1, int: 4, float: 8, datetime: 8, EntityProperty: 8}


@dataclass(frozen=True)
class EntityWrite:
    """A write of one entity: `create`, `update`, `upsert`, `merge` or `delete`."""

    verb: str
    partition: str
    key: str
    size: int


def entity_size(row: Mapping[str, Any]) -> int:
    """Return the size of an entity in bytes by Azure's formula ("Understanding the Table service data model").

    4 bytes, 2 for each character of the keys, and for each property 8 bytes, 2 for each character of its name, and its
    value: 2 bytes for each character of a text, one for each byte of binary data, 4 more for either.
    """
    keys = ("PartitionKey", "RowKey")
    properties = {name: value for name, value in row.items() if name not in keys and value is not None}
    size = 4 + 2 * sum(_units(row[name]) for name in keys)
    return size + sum(8 + 2 * _units(name) + _value_size(value) for name, value in properties.items())


def entity_writes(operations: Iterable[Op], table: str) -> list[EntityWrite]:
    """Return the entity writes to a table among operations of a MemoryAccount, also those that were refused."""
    changes: list[tuple[str, Any]] = []
    for name, place, *values in operations:
        if place == table and name in _WRITES:
            changes.append((name.removeprefix("row."), values[0]))
        elif place == table and name == "rows":
            changes += [(verb, items) for verb, items, _ in values[0]]
    return [_write(verb, dict(items)) for verb, items in changes]


def _write(verb: str, row: dict[str, Any]) -> EntityWrite:
    return EntityWrite(verb, row["PartitionKey"], row["RowKey"], entity_size(row))


def _value_size(value: Any) -> int:
    if isinstance(value, str):
        return 4 + 2 * _units(value)
    if isinstance(value, bytes):
        return 4 + len(value)
    return next(size for kind, size in _FIXED_BYTES.items() if isinstance(value, kind))


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
