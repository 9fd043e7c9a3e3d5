"""HEIF items: read the tables of a meta box (ISO/IEC 14496-12, 8.11; ISO/IEC 23008-12, 9.3)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice

from .boxes import Box, walk_boxes

MAX_ITEMS = 10_000

_FULL_BOX = 4
"""Bytes of version and flags."""


@dataclass
class Items:
    """The items of a file: the primary one, types and hidden marks by id, references, and properties.

    A reference is a kind, the item that refers, and the items it refers to. `associations` holds the numbers, from 1,
    of the properties of each item.
    """

    body: memoryview
    primary: int = 0
    types: dict[int, bytes] = field(default_factory=dict)
    hidden: set[int] = field(default_factory=set)
    references: list[tuple[bytes, int, tuple[int, ...]]] = field(default_factory=list)
    properties: list[Box] = field(default_factory=list)
    associations: dict[int, list[int]] = field(default_factory=dict)

    def properties_of(self, item: int) -> list[Box]:
        """Return the properties of an item."""
        numbers = self.associations.get(item, [])
        return [self.properties[number - 1] for number in numbers if 0 < number <= len(self.properties)]


def read_items(body: memoryview, meta: Box) -> Items:
    """Read the tables of a meta box. A damaged table counts up to the damage."""
    items = Items(body)
    readers = {b"pitm": _read_primary, b"iinf": _read_types, b"iref": _read_references, b"iprp": _read_properties}
    for box in walk_boxes(body, meta.start + _FULL_BOX, meta.end):
        if box.name in readers:
            with suppress(struct.error, IndexError):
                readers[box.name](items, box)
    return items


def _read_primary(items: Items, box: Box) -> None:
    """Read the number of the primary item."""
    body = items.body[: box.end]
    (items.primary,) = struct.unpack_from(">I" if body[box.start] else ">H", body, box.start + _FULL_BOX)


def _read_types(items: Items, box: Box) -> None:
    """Read the infe boxes of an iinf box, which follow their count."""
    body = items.body
    for entry in walk_boxes(body, box.start + (8 if body[box.start] else 6), box.end):
        if entry.name == b"infe" and body[entry.start] in (2, 3):
            # Version 2 has 2 bytes for the item's number, version 3 has 4; 2 bytes of protection follow.
            form = ">H2x4s" if body[entry.start] == 2 else ">I2x4s"
            item, kind = struct.unpack_from(form, body[: entry.end], entry.start + _FULL_BOX)
            items.types[item] = kind
            if body[entry.start + 3] & 1:
                items.hidden.add(item)


def _read_references(items: Items, box: Box) -> None:
    """Read the references in an iref box."""
    kind = "I" if items.body[box.start] else "H"
    width = struct.calcsize(kind)
    for each in walk_boxes(items.body, box.start + _FULL_BOX, box.end):
        item, count = struct.unpack_from(f">{kind}H", items.body, each.start)
        count = min(count, (each.end - each.start - width - 2) // width)
        targets = struct.unpack_from(f">{count}{kind}", items.body, each.start + width + 2)
        items.references.append((each.name, item, targets))


def _read_properties(items: Items, box: Box) -> None:
    """Read the properties in the ipco box of an iprp box, and the associations in its ipma boxes."""
    for part in walk_boxes(items.body, box.start, box.end):
        if part.name == b"ipco" and not items.properties:
            items.properties = list(walk_boxes(items.body, part.start, part.end))
        elif part.name == b"ipma":
            for item, numbers in _associations(items.body[part.start : part.end]):
                items.associations.setdefault(item, []).extend(numbers)


def _associations(table: memoryview) -> Iterator[tuple[int, list[int]]]:
    """Yield each item of an ipma box with the numbers of its properties."""
    kind, mask, width = ("H", 0x7FFF, 2) if table[3] & 1 else ("B", 0x7F, 1)
    head = struct.Struct(">IB" if table[0] else ">HB")
    (declared,) = struct.unpack_from(">I", table, _FULL_BOX)
    place = _FULL_BOX + 4
    for _ in islice(range(declared), MAX_ITEMS):
        item, count = head.unpack_from(table, place)
        numbers = struct.unpack_from(f">{count}{kind}", table, place + head.size)
        yield item, [number & mask for number in numbers]
        place += head.size + count * width
