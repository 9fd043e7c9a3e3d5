"""TIFF: walk and read directories of either byte order, without decoding pixels (TIFF 6.0, section 2; BigTIFF)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

MAX_DIRECTORIES = 200
MAX_ENTRIES = 4096
MAX_VALUES = 65_536

_ORDERS = {b"II": "<", b"MM": ">"}
_TYPES = {1: "B", 2: "s", 3: "H", 4: "I", 6: "b", 7: "s", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
"""Types of values, as `struct` names them. Values of other types are bytes."""


class Field(NamedTuple):
    """One field of a directory: the type of its values as `struct` names it, their number, the offset of the first."""

    form: str
    length: int
    offset: int


@dataclass(frozen=True)
class Directory:
    """The fields of one image by tag, and the offset of the next directory (0 at the end). The first of a tag counts.

    Values are read on demand.
    """

    body: memoryview
    order: str
    big: bool
    next: int = 0
    fields: dict[int, Field] = field(default_factory=dict)

    def numbers(self, tag: int) -> tuple[int, ...]:
        """Read the first `MAX_VALUES` whole numbers of a field; none when they are outside the file."""
        found = self.fields.get(tag)
        if found is None or found.form == "s":
            return ()
        layout = f"{self.order}{min(found.length, MAX_VALUES)}{found.form}"
        inside = found.offset + struct.calcsize(layout) <= len(self.body)
        return struct.unpack_from(layout, self.body, found.offset) if inside else ()

    def first(self, tag: int, default: int = 0) -> int:
        """Return the first whole number of a field."""
        return next(iter(self.numbers(tag)), default)

    def data(self, tag: int, limit: int) -> bytes:
        """Read at most `limit` bytes of a field of any type; none when there is no such field."""
        found = self.fields.get(tag)
        if found is None:
            return b""
        return bytes(self.body[found.offset :][: min(limit, found.length * struct.calcsize(f"={found.form}"))])


def read_directory(body: memoryview, offset: int | None = None) -> Directory | None:
    """Read the directory at `offset`, or the first one. Return None when the file ends before it, or is no TIFF."""
    order = _ORDERS.get(bytes(body[:2]))
    try:
        if order is None:
            return None
        big = struct.unpack_from(order + "H", body, 2)[0] == 43
        if offset is None:
            (offset,) = struct.unpack_from(order + ("Q" if big else "I"), body, 8 if big else 4)
        return _read(body, order, offset or 0, big=big)
    except (struct.error, OverflowError):
        return None


def walk_directories(body: memoryview) -> Iterator[Directory]:
    """Yield the directories, at most `MAX_DIRECTORIES`, each once."""
    directory, seen = read_directory(body), {0}
    while directory is not None:
        yield directory
        if directory.next in seen or len(seen) >= MAX_DIRECTORIES:
            return
        seen.add(directory.next)
        directory = read_directory(body, directory.next)


def _read(body: memoryview, order: str, offset: int, *, big: bool) -> Directory:
    """Read the entries of a directory."""
    count_form, entry_form, link = ("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")
    entry, room = struct.Struct(order + entry_form), struct.calcsize(link)
    (count,) = struct.unpack_from(order + count_form, body, offset)
    place = offset + struct.calcsize(order + count_form)
    fields: dict[int, Field] = {}
    for number in range(min(count, MAX_ENTRIES)):
        tag, kind, values, inline = entry.unpack_from(body, place + number * entry.size)
        form = _TYPES.get(kind, "s")
        if values and tag not in fields:
            inside = values * struct.calcsize(f"={form}") <= room
            start = place + (number + 1) * entry.size - room if inside else struct.unpack(order + link, inline)[0]
            fields[tag] = Field(form, values, start)
    end = place + count * entry.size
    following = struct.unpack_from(order + link, body, end)[0] if end + room <= len(body) else 0
    return Directory(body, order, big, following, fields)
